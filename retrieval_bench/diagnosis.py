"""Turns Hydra's refusal of an override into one message that names the nearest valid groups, options or keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from retrieval_bench.binding import nearest, wrong_key


def diagnosed(
    parsed: Sequence[Any],
    options: Callable[[str], Sequence[str]],
    composed: Callable[[list[str]], Mapping[Any, Any]],
    groups: Sequence[str],
    refusal: type[Exception],
) -> str | None:
    """What is wrong, or none if Hydra's own words have to do.

    Args:
        parsed: Hydra's overrides. options: of a group. groups: their names.
        composed: the configuration of some overrides; raises `refusal`.
    """
    chosen = []
    for override in parsed:
        valid = options(override.key_or_group)
        if not valid:
            continue
        chosen.append(str(override.input_line))
        given = override.value()
        for value in given if isinstance(given, list) else [given]:
            if (override.key_or_group, str(value)) == ("hydra/launcher", "joblib") and "joblib" not in valid:
                return "hydra/launcher=joblib is not installed; type: pip install 'retrieval-bench[sweep]'"
            if value is not None and str(value) not in valid:
                return f"there is no {override.key_or_group}={value}; {nearest(str(value), valid)}"
    try:
        known = composed(chosen)
    except refusal:
        return None
    top = sorted({*map(str, known), *groups, "from"} - {"hydra"})  # from= is taken out before Hydra composes
    for override in parsed:
        if str(override.input_line) not in chosen and not override.is_add():
            wrong = wrong_key(override.key_or_group, known, top)
            if wrong:
                return wrong
    return None
