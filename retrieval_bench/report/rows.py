"""Points as plain rows: one an operating point, build seeds merged; tables and figures read the same numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, nan, sqrt
from typing import Any

import pandas as pd

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


def metric_names(points: pd.DataFrame) -> list[str]:
    """Label metrics in the order of their columns."""
    exact = [str(c).removeprefix("exact_") for c in points.columns if str(c).startswith("exact_")]
    return [name for name in exact if not name.endswith(INTERVAL)]


def distinct(rows: Iterable[Row], column: str) -> list[Any]:
    """Values of a column in order of appearance."""
    return list(dict.fromkeys(row.get(column) for row in rows))


def operating_points(points: pd.DataFrame) -> list[Row]:
    """Rows to show: no floor index; the report half where queries were split; build seeds merged.

    Over several build seeds every number is the mean, and its interval a t-interval over the seeds (MEASURING.md §3).

    Args:
        points: one row per (stage, index, build seed, effort, k), as in `points.parquet`.
    """
    keys = [key for key in POINT if key in points.columns]
    shown = points[points["index"] != FLOOR_INDEX]
    if "half" in shown.columns:
        for half in ("all", "report"):
            if (shown["half"] == half).any():
                shown = shown[shown["half"] == half]
                break
    rows: list[Row] = []
    for _, group in shown.groupby(keys, dropna=False, sort=False):
        measured = group if "status" not in group.columns else group[group["status"] != FAILED]
        records: list[dict[str, Any]] = [{str(k): v for k, v in r.items()} for r in group.to_dict("records")]
        rows.append(records[0] if len(measured) < 2 else _merged(measured))
        if len(measured) == 1 and len(group) > 1:
            rows[-1] = {str(k): v for k, v in measured.iloc[0].to_dict().items()}
    return rows


def _merged(group: pd.DataFrame) -> Row:
    from scipy.stats import t

    row: dict[str, Any] = {str(k): v for k, v in group.iloc[0].to_dict().items()}
    for column in group.columns:
        name = str(column)
        if name in POINT or name.endswith(INTERVAL) or not pd.api.types.is_numeric_dtype(group[column]):
            continue
        values = group[column].astype(float)
        row[name] = float(values.mean())
        if f"{name}_lo" in row:
            half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / sqrt(len(values)))
            row[f"{name}_lo"], row[f"{name}_hi"] = row[name] - half, row[name] + half
    row["n_build_seeds"] = len(group)
    return row


def best_of(rows: Sequence[Row], column: str) -> Row | None:
    """The row with the smallest finite number in a column."""
    finite = [row for row in rows if isfinite(number(row, column))]
    return min(finite, key=lambda row: number(row, column)) if finite else None
