"""Runs that differ in their seed alone as one: every number a mean over seeds with Student's interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import Any

import pandas as pd
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from retrieval_bench.moment_points import HEADLINE
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


def seed_tables(found: pd.DataFrame, metric: str | None = None) -> list[RenderableType]:
    """The rows for a terminal, a table for each group and stage under a line that says what all of its rows share.

    A row has a label metric through the index, ann_recall and two latencies; 80 columns hold it. What does not differ
    between rows (depth, number of seeds, the metric with exact search) stands in the line above.

    Args:
        found: of `seed_rows`. metric: a label metric; if none is named, of moments their hit rate, else the first that
            the runs have.
    """
    shown: list[RenderableType] = []
    for (settings, stage), group in found.groupby(["settings", "stage"], sort=False):
        records: list[Row] = group.to_dict("records")  # type: ignore[assignment]
        known = (name for name in (*HEADLINE, *found.attrs["metrics"]) if name in group and group[name].notna().any())
        told = metric or next(known, None)
        head = " · ".join(str(part) for part in (settings, stage) if part)
        shown += [Text("\n" + head, "bold"), Text(", ".join(_shared(records, told)), "dim"), _table(records, told)]
    return shown


def _shared(rows: Sequence[Row], metric: str | None) -> list[str]:
    """What is equal in all rows, in words."""
    told = []
    if metric and len(exact := {_quality(row, f"exact_{metric}") for row in rows}) == 1:
        told.append(f"{metric} {exact.pop()} with exact search")
    elif metric:
        told.append(metric)
    for name, words in (("k", "k = {:.0f}"), ("seeds", "seeds: {:.0f}")):
        if len(values := {number(row, name) for row in rows}) == 1:
            told.append(words.format(values.pop()))
    return told


def _table(rows: Sequence[Row], metric: str | None) -> Table:
    table = simple()
    names = [f"{row['label']} {row['effort_label']}".strip() for row in rows]
    table.add_column("index", no_wrap=True, min_width=min(24, max(map(len, names))))
    exact = metric is not None and len({_quality(row, f"exact_{metric}") for row in rows}) > 1
    counts = [name for name in ("k", "seeds") if len({number(row, name) for row in rows}) > 1]
    told = [*(["via index"] if metric else []), *(["exact"] if exact else []), "ann_recall", "p50 ms", "p95 ms"]
    for name in (*counts, *told):
        table.add_column(name, justify="right", overflow="fold")
    for name, row in zip(names, rows, strict=True):
        cells = [f"{number(row, count):.0f}" for count in counts]
        cells += [_quality(row, metric)] if metric else []
        cells += [_quality(row, f"exact_{metric}")] if exact else []
        cells += [_quality(row, "ann_recall"), *(text.milliseconds(*_interval(row, cost)) for cost in COSTS[:2])]
        table.add_row(*map(Text, (name, *cells)))
    return table


def _quality(row: Mapping[str, Any], name: str) -> str:
    return text.quality(*_interval(row, name)) if isfinite(number(row, name)) else text.BLANK


def _interval(row: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    value, low, high = (number(row, f"{name}{end}") for end in ("", "_lo", "_hi"))
    return value, low if isfinite(low) else nan, high
