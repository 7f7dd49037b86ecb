"""Points as plain rows: one an operating point, build seeds merged; tables and figures read the same numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, isnan, nan
from typing import Any

import pandas as pd

from retrieval_bench.hashing import json_digest
from retrieval_bench.naming import index_labels
from retrieval_bench.seeds import combine_intervals, seed_interval
from retrieval_bench.stats import Interval

Row = Mapping[str, Any]
POINT = ("stage", "index", "index_params", "effort", "k")
FLOOR_INDEX = "null"  # the index that does nothing: measured as the floor, never shown as a choice
FAILED = "failed"
INTERVAL = ("_lo", "_hi")


def number(row: Row, column: str) -> float:
    """The number in a column; NaN where it is absent or blank.

    >>> number({"a": 2, "b": None}, "a"), number({"a": 2, "b": None}, "b")
    (2.0, nan)
    """
    value = row.get(column)
    return nan if value is None or pd.isna(value) else float(value)


def interval(row: Row, column: str) -> tuple[float, float, float]:
    """Value, lower and upper end of its 95 % interval."""
    return number(row, column), number(row, f"{column}_lo"), number(row, f"{column}_hi")


def effort_label(row: Row) -> str:
    """The knob and its value, or nothing for an index without a knob.

    >>> effort_label({"knob": "ef", "effort": 64.0}), effort_label({"knob": None, "effort": None})
    ('ef 64', '')
    """
    effort = number(row, "effort")
    return f"{row['knob']} {effort:g}" if isfinite(effort) else ""


def failed(row: Row) -> bool:
    """Whether nothing could be measured at this point."""
    return row.get("status") == FAILED


def point_key(row: Row) -> str:
    """Short digest of what tells an operating point from the others of a run: in tables and figures the same."""
    numbers = [f"{number(row, column):g}" for column in ("effort", "k")]
    return json_digest([str(row.get("stage")), str(row["index"]), str(row.get("index_params", "{}")), *numbers], 5)


def label(row: Row) -> str:
    """The index of a row, with those build parameters that tell it from another of the same backend."""
    return str(row.get("label", row["index"]))


def metric_names(points: pd.DataFrame) -> list[str]:
    """Label metrics in the order of their columns, each at its cut-offs by depth."""
    exact = [str(c).removeprefix("exact_") for c in points.columns if str(c).startswith("exact_")]
    return by_kind([name for name in exact if not name.endswith(INTERVAL)])


def by_kind(names: Sequence[str]) -> list[str]:
    """Metrics in order of appearance, each at all its cut-offs.

    >>> by_kind(["hit_rate@10", "map_at_r", "hit_rate@1"])
    ['hit_rate@1', 'hit_rate@10', 'map_at_r']
    """
    kinds = list(dict.fromkeys(name.partition("@")[0] for name in names))
    return sorted(names, key=lambda name: (kinds.index(name.partition("@")[0]), int(name.partition("@")[2] or 0)))


def distinct(rows: Iterable[Row], column: str) -> list[Any]:
    """Values of a column in order of appearance."""
    return list(dict.fromkeys(row.get(column) for row in rows))


def operating_points(points: pd.DataFrame, half: str = "all") -> list[Row]:
    """Rows to show: no floor index; of one half of the queries; build seeds merged; each with its `label`.

    They stand by stage, index and effort, stages and indexes in order of appearance. Over several build seeds every
    number is the mean; its interval covers the chance of the seeds and of the queries.

    Args:
        points: one row per (stage, index, build seed, effort, k, half), as in `points.parquet`.
        half: `all` queries, those that efforts are chosen on (`tune`) or the others (`report`). What failed has no
            halves and stands in each; where there are no rows of all queries, those of the report half stand for them.
    """
    keys = [key for key in POINT if key in points.columns]
    shown = points[points["index"] != FLOOR_INDEX]
    if "half" in shown.columns:
        if half == "all" and not (shown["half"] == "all").any():
            half = "report"
        gone = shown["status"] == FAILED if "status" in shown.columns else False
        shown = shown[(shown["half"] == half) | gone]
    groups: dict[tuple[Any, ...], list[Row]] = {}  # by hand: pandas takes 20 ms for each of so wide rows
    for row in shown.to_dict("records"):
        key = tuple(None if isinstance(row[name], float) and isnan(row[name]) else row[name] for name in keys)
        groups.setdefault(key, []).append({str(column): value for column, value in row.items()})
    numeric = [str(column) for column in shown.columns if pd.api.types.is_numeric_dtype(shown[column])]
    averaged = [name for name in numeric if name not in POINT and not name.endswith(INTERVAL)]
    rows = [_merged([row for row in group if not failed(row)] or group[:1], averaged) for group in groups.values()]
    return _labelled(rows)


def measured_points(rows: Sequence[Row]) -> list[Row]:
    """`operating_points` of rows as a job of a sweep gives them: no half and no build seed stands for itself."""
    return operating_points(pd.DataFrame(rows)) if rows else []


def _labelled(rows: Sequence[Row]) -> list[Row]:
    built = [(str(row["index"]), str(row.get("index_params", "{}"))) for row in rows]
    # Rows that an older version wrote have no backend.
    backends = {str(row["index"]): name for row in rows if isinstance(name := row.get("backend"), str)}
    labels = index_labels(built, backends)
    named = [{**row, "label": labels[key]} for row, key in zip(rows, built, strict=True)]
    stages, indexes = distinct(named, "stage"), distinct(named, "label")

    def place(row: Row) -> tuple[float, ...]:
        efforts = (value if isfinite(value := number(row, column)) else -1 for column in ("k", "effort"))
        return stages.index(row["stage"]), indexes.index(row["label"]), *efforts

    return sorted(named, key=place)


def _merged(each: Sequence[Row], averaged: Sequence[str]) -> Row:
    row: dict[str, Any] = dict(each[0])
    for name in averaged if len(each) > 1 else []:
        if f"{name}_lo" in row:
            found = combine_intervals([Interval(*interval(one, name)) for one in each], seed=0)
            row |= {name: found.value, f"{name}_lo": found.lo, f"{name}_hi": found.hi}
        else:
            row[name] = seed_interval([number(one, name) for one in each], seed=0).value
    row["n_build_seeds"] = len(each)
    return row


def dims(rows: Sequence[Row]) -> str:
    """Dimensions of the vectors; of each stage where stages differ.

    >>> dims([{"stage": "random", "dim": 1280}, {"stage": "trained", "dim": 128}]), dims([{"stage": "a", "dim": 64}])
    ('1280-d random, 128-d trained', '64-d')
    """
    found: dict[float, list[str]] = {}
    for stage in distinct(rows, "stage"):
        dim = next((d for row in rows if row["stage"] == stage and isfinite(d := number(row, "dim"))), nan)
        if isfinite(dim):
            found.setdefault(dim, []).append(str(stage))
    told = [f"{dim:.0f}-d" + (f" {' and '.join(stages)}" if len(found) > 1 else "") for dim, stages in found.items()]
    return ", ".join(told)


def panels(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of each stage and depth; an index that failed before any depth stands in all of its stage."""
    depths = sorted({number(row, "k") for row in rows if isfinite(number(row, "k"))})
    found = []
    for stage in distinct(rows, "stage"):
        of_stage = [row for row in rows if row["stage"] == stage]
        for k in depths or [nan]:
            group = [row for row in of_stage if not isfinite(number(row, "k")) or number(row, "k") == k]
            if group:
                found.append(group)
    return found


def panel_name(group: Sequence[Row]) -> str:
    """Stage and depth of a panel.

    >>> panel_name([{"stage": "random", "k": 10.0}]), panel_name([{"stage": "random", "k": None}])
    ('random weights, k = 10', 'random weights')
    """
    k = depth(group)
    what = "vectors" if group[0]["stage"] == "given" else "weights"
    return f"{group[0]['stage']} {what}" + (f", k = {k}" if k else "")


def depth(group: Sequence[Row]) -> int | None:
    """The depth k of a panel; none where nothing was measured."""
    return next((int(number(row, "k")) for row in group if isfinite(number(row, "k"))), None)


def best_of(rows: Sequence[Row], column: str) -> Row | None:
    """The row with the smallest finite number in a column."""
    finite = [row for row in rows if isfinite(number(row, column))]
    return min(finite, key=lambda row: number(row, column)) if finite else None
