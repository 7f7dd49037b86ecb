"""What two runs were measured with, and where that differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrieval_bench.record import RunRecord

Row = dict[str, Any]
_NOT_SCIENCE = ("name", "paths", "force", "strict", "allow", "logger")
# Not settings: counts and checks of the results, what was measured with the clock, and what a training found.
_FOUND: tuple[str, ...] = ("tie_bounds", "nothing_relevant", "unreadable", "stored_neighbours", "by_class")
_FOUND += ("encode_ms", "disagreement", "graph", "training", "truncated", "video", "collapse", "choices", "break_even")


def science(config: Mapping[str, Any]) -> Row:
    """What of a configuration decides numbers, with dotted keys."""
    return flattened({key: value for key, value in config.items() if key not in _NOT_SCIENCE})


def stage_settings(record: RunRecord, stage: str) -> Row:
    """What a stage was measured with: settings, no counts and nothing that a clock tells."""
    facts = flattened({"stage": record.stages.get(stage, {})})
    return {key: value for key, value in facts.items() if not set(key.split(".")) & set(_FOUND)}


def flattened(value: Mapping[str, Any], prefix: str = "") -> Row:
    """Nested mappings as one with dotted keys."""
    found: Row = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            found |= flattened(inner, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = list(inner) if isinstance(inner, tuple) else inner  # as JSON gives it back
    return found


def differences(a: Row, b: Row) -> dict[str, list[Any]]:
    """Key → [a's, b's] where they differ."""
    return {key: [a.get(key), b.get(key)] for key in {**a, **b} if a.get(key) != b.get(key)}
