"""Runs that differ in their seed alone as one: every number a mean over seeds with Student's interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from retrieval_bench.report import text
from retrieval_bench.report.columns import simple
from retrieval_bench.report.rows import Row, effort_label, failed, label, metric_names, number, operating_points
from retrieval_bench.runs import over_seeds

POINT = ("settings", "stage", "label", "effort_label", "k")
COSTS = ("latency_p50_ms", "latency_p95_ms", "build_s")


def seed_rows(runs: Sequence[tuple[str, Any, pd.DataFrame]]) -> pd.DataFrame:
    """One row an operating point of each group, in order.

    Args:
        runs: of each run its group (what is equal in runs that differ in their seed alone, in words), its seed, and its
            points as in `points.parquet`.

    Returns:
        Columns POINT, seeds, and of each label metric (through the index and `exact_`), ann_recall and COSTS the mean
        and its `_lo`, `_hi`: over seeds where there are several, else those of the run itself. Build seeds are merged
        before. What failed is left out. `.attrs["metrics"]`: the label metrics.
    """
    rows: list[dict[str, Any]] = []
    metrics: dict[str, None] = {}
    for settings, seed, points in runs:
        metrics |= dict.fromkeys(metric_names(points))
        for row in operating_points(points) if len(points) else []:
            if not failed(row):
                told = {"settings": settings, "seed": seed, "label": label(row), "effort_label": effort_label(row)}
                rows.append({**row, **told})
    names = [name for name in _columns(list(metrics)) if any(name in row for row in rows)]
    table = pd.DataFrame(rows)
    if not rows:
        return table
    table = table.drop_duplicates([*POINT, "seed"], keep="last").reindex(
        columns=list(dict.fromkeys([*table.columns, *(f"{name}{end}" for name in names for end in ("_lo", "_hi"))]))
    )
    found = over_seeds(table.drop(columns=["half"], errors="ignore"), names, POINT)
    alone = table.drop_duplicates(POINT).reset_index(drop=True)
    for name in names:  # the order of both is that of the first appearance
        for end in ("_lo", "_hi"):
            found[f"{name}{end}"] = found[f"{name}{end}"].where(found["seeds"] > 1, alone[f"{name}{end}"])
    found.attrs["metrics"] = [name for name in metrics if name in found and found[name].notna().any()]
    return found


def _columns(metrics: Sequence[str]) -> list[str]:
    return [*metrics, *(f"exact_{name}" for name in metrics), "ann_recall", *COSTS]


def seed_table(found: pd.DataFrame, metric: str | None = None) -> Table:
    """The rows for a terminal: a label metric through the index and with exact search, ann_recall and two latencies.

    Args:
        found: of `seed_rows`. metric: a label metric; the first that the runs have if none is named.
    """
    metric = metric or next(iter(found.attrs["metrics"]), None)
    table = simple()
    table.add_column("", overflow="fold")
    told = [metric, "exact"] if metric else []
    for name in ("k", "seeds", *told, "ann_recall", "p50 ms", "p95 ms"):
        table.add_column(name, justify="right", no_wrap=True)
    before = ""
    records: list[Row] = found.to_dict("records")  # type: ignore[assignment]
    for row in records:
        head = " · ".join(str(row[name]) for name in ("settings", "stage") if row[name])
        if head != before:
            table.add_row(Text(head, "bold"))
            before = head
        cells = [_quality(row, metric), _quality(row, f"exact_{metric}")] if metric else []
        cells += [_quality(row, "ann_recall"), *(text.milliseconds(*_interval(row, name)) for name in COSTS[:2])]
        counts = f"  {row['label']} {row['effort_label']}", f"{number(row, 'k'):.0f}", str(row["seeds"])
        table.add_row(*map(Text, (*counts, *cells)))
    return table


def _quality(row: Mapping[str, Any], name: str) -> str:
    return text.quality(*_interval(row, name)) if isfinite(number(row, name)) else text.BLANK


def _interval(row: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    value, low, high = (number(row, f"{name}{end}") for end in ("", "_lo", "_hi"))
    return value, low if isfinite(low) else nan, high
