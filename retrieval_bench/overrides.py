"""What a user's overrides say, apart from what Hydra composes of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from retrieval_bench.errors import BadConfig

_LISTS = frozenset({"k", "cuts", "stage", "search", "metric", "transform", "logger", "allow"})


def allowed(parsed: Sequence[Any]) -> tuple[str, ...]:
    """The targets that Hydra's parsed overrides of the command line allow: nothing else counts as permission."""
    typed = [override for override in parsed if override.key_or_group == "allow" and not override.is_delete()]
    for override in typed:
        if not isinstance(override.value(), list):
            raise BadConfig(f"{override.input_line}: one list is needed, for instance allow=[my_index.MyIndex]")
    return tuple(str(target) for override in typed for target in override.value())


def sweeps(parsed: Sequence[Any], folders: Sequence[Path]) -> list[list[str]]:
    """Overrides of all that a sweep composes: every combination of swept groups, with the first of swept values.

    `parsed` are Hydra's overrides (an interval has no first value and is left out); groups lie in `folders`.
    """
    choices: dict[str, list[str]] = {}  # a later override of the same key wins, as in Hydra
    for override in parsed:
        key, homes = override.get_key_element(), [folder / override.key_or_group for folder in folders]
        if override.is_choice_sweep() and override.value_type.name == "GLOB_CHOICE_SWEEP":
            names = override.value().filter(sorted({file.stem for home in homes for file in home.glob("*.yaml")}))
            choices[key] = [f"{key}={name}" for name in names]
        elif override.is_discrete_sweep():
            swept = [f"{key}={value}" for value in override.sweep_string_iterator()]
            choices[key] = swept if any(home.is_dir() for home in homes) else swept[:1]
        elif not override.is_sweep_override():
            choices[key] = [str(override.input_line)]
    return [list(combination) for combination in product(*choices.values())]


def origin_run(overrides: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The run that `from=RUN` names, if one does, and the other overrides.

    Raises:
        BadConfig: there are two, or none is named.

    >>> origin_run(["from=runs/adhoc/1a2b", "k=[5]"])[1]
    ['k=[5]']
    """
    given = [text.partition("=")[2].strip("'\"") for text in overrides if text.startswith(("from=", "+from="))]
    rest = [text for text in overrides if not text.startswith(("from=", "+from="))]
    if len(given) > 1 or (given and "," in given[0] and not Path(given[0]).exists()):
        raise BadConfig("from= takes one run, in a sweep too; give each run a command of its own")
    if given and not given[0]:
        raise BadConfig("from= names no run; type from=runs/NAME/RUN, the folder that is printed at the end of a run")
    return (Path(given[0]) if given else None), rest


def refuse_sweeps(parsed: Sequence[Any]) -> None:
    """Commas outside brackets sweep, which one run cannot. `parsed` are Hydra's overrides. Raises BadConfig."""
    for override in parsed:
        if not override.is_sweep_override():
            continue
        key, value = override.key_or_group, str(override.input_line).partition("=")[2]
        many = key in _LISTS or key.endswith((".efforts", ".build_seeds"))
        listed = f"write {key}=[{value}] for one run with all of them, or " if many and "(" not in value else ""
        raise BadConfig(f"{override.input_line} is a sweep: {listed}add -m to run each of them")
