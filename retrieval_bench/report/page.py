"""One self-contained HTML page from finished runs: it opens offline and needs no script."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from matplotlib.figure import Figure

from retrieval_bench.collisions import collision_curves
from retrieval_bench.record import RunRecord, written_whole
from retrieval_bench.report import text
from retrieval_bench.report.break_even import break_even, hint
from retrieval_bench.report.families import COLOURS, by_family
from retrieval_bench.report.figure import pareto_figure
from retrieval_bench.report.lsh import collision_figure
from retrieval_bench.report.remarks import run_facts
from retrieval_bench.report.rows import (
    Row,
    depth,
    distinct,
    effort_label,
    failed,
    interval,
    label,
    metric_names,
    number,
    operating_points,
    panel_name,
    panels,
)
from retrieval_bench.report.table import RunFacts

Written = Callable[[float, float, float], str]  # value and its interval


@dataclass(frozen=True)
class Cell:
    """A column of the page's table: what it is called, what it means, and how a row shows it."""

    title: str
    meaning: str
    column: str
    written: Written

    def __call__(self, row: Row) -> str:
        """What stands in the table."""
        return self.written(*interval(row, self.column))


def _count(value: float, low: float, high: float) -> str:
    return text.count(value)


def _size(value: float, low: float, high: float) -> str:
    return text.size(value)


def _percent(value: float, low: float, high: float) -> str:
    return f"{100 * value:.3g}" if isfinite(value) else text.BLANK


def _seconds(value: float, low: float, high: float) -> str:
    return f"{value:.3g}" if isfinite(value) else text.BLANK


def write_page(records: Sequence[RunRecord], path: Path) -> Path:
    """Write the page of these runs, whole or not at all.

    Args:
        records: finished runs, each a section of its own: unlike protocols never share a table.
    """
    with written_whole(path) as file:
        file.write(page(records))
    return path


def page(records: Sequence[RunRecord]) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=PackageLoader("retrieval_bench.report", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    runs = [_section(record, number) for number, record in enumerate(records)]
    return environment.get_template("page.html").render(runs=runs, blank=text.BLANK)


def _section(record: RunRecord, number_of: int) -> dict[str, Any]:
    points = record.points
    rows = operating_points(points)
    metrics = [name for name in metric_names(points) if any(isfinite(number(row, f"exact_{name}")) for row in rows)]
    facts = run_facts(record)
    halves = [{_place(group): group for group in panels(operating_points(points, half))} for half in ("tune", "report")]
    return {
        "record": record,
        "heading": _heading(rows),
        "encoder": _encoder_part(rows, metrics),
        "panels": [_panel(group, metrics, halves) for group in panels(rows)],
        "builds": _builds(rows),
        "figures": _figures(record, points, f"run{number_of}"),
        "notes": _notes(facts),
        "errors": sorted({(label(row), str(row.get("error"))) for row in rows if failed(row)}),
        "facts": _facts(record),
        "command": _command(record),
    }


def _place(group: Sequence[Row]) -> tuple[Any, int | None]:
    return group[0]["stage"], depth(group)


def _heading(rows: Sequence[Row]) -> dict[str, str]:
    if not rows:
        return {}
    row = rows[0]
    return {
        "data": str(row["data"]),
        "encoder": f"{row['encoder']}, {number(row, 'dim'):.0f}-d",
        "similarity": str(row["similarity"]),
        "size": f"{text.count(number(row, 'n_queries'))} queries × {text.count(number(row, 'n_gallery'))} gallery",
    }


def _encoder_part(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, Any]:
    """Label metrics with exact search, a line a metric and a column a stage."""
    stages = distinct(rows, "stage")
    first = {stage: [row for row in rows if row["stage"] == stage and not failed(row)] for stage in stages}
    lines = []
    for name in metrics:
        cells = []
        for stage in stages:
            known = [row for row in first[stage] if isfinite(number(row, f"exact_{name}"))]
            cells.append(text.quality(*interval(known[0], f"exact_{name}")) if known else text.BLANK)
        lines.append((name, cells))
    return {"stages": stages, "lines": lines}


def _cells(metric: str | None, k: int | None) -> list[Cell]:
    judged = [] if metric is None else [
        Cell(f"exact {metric}", "the encoder's own, with exact search", f"exact_{metric}", text.quality),
        Cell(f"{metric} via index", "what a user of this index gets", metric, text.quality),
        Cell("ANN loss", "the difference of the two", f"ann_loss_{metric}", text.quality),
    ]  # fmt: skip
    return [
        *judged,
        Cell(f"ann_recall@{k or 'k'}", "overlap with exact search", "ann_recall", text.quality),
        Cell("p50 ms", "median of single queries, one thread", "latency_p50_ms", text.milliseconds),
        Cell("p95 ms", "of single queries", "latency_p95_ms", text.milliseconds),
        Cell("p99 ms", "of single queries", "latency_p99_ms", text.milliseconds),
        Cell("QPS single", "one query at a time, one thread", "qps_single", _count),
        Cell("QPS batch", "all queries at once, all threads", "qps_batch", _count),
        Cell("QPS clients", "closed loop of concurrent clients", "qps_clients", _count),
        Cell("p99 clients", "milliseconds, closed loop of concurrent clients", "clients_p99_ms", text.milliseconds),
        Cell("scanned %", "vectors scored / gallery", "candidate_fraction", _percent),
        Cell("empty %", "queries without any answer", "empty_rate", _percent),
        Cell("build s", "seconds to build", "build_s", _seconds),
        Cell("size", "bytes of the saved index", "index_bytes", _size),
        Cell("peak memory", "of the process, above its imports", "peak_rss_bytes", _size),
    ]


def _panel(group: Sequence[Row], metrics: Sequence[str], halves: Sequence[Mapping[Any, list[Row]]]) -> dict[str, Any]:
    """One stage and depth: families, their rows and cells; columns that are empty everywhere are left out."""
    metric = next((name for name in metrics if any(isfinite(number(row, name)) for row in group)), None)
    shown = [c for c in _cells(metric, depth(group)) if any(isfinite(number(row, c.column)) for row in group)]
    families = [
        (
            family,
            COLOURS[family],
            [(label(row), effort_label(row), failed(row), [cell(row) for cell in shown]) for row in rows],
        )
        for family, rows in by_family(group)
    ]
    tune, report = (half.get(_place(group), list(group)) for half in halves)
    floors = [value for row in group if isfinite(value := number(row, "latency_floor_ms"))]
    return {
        "name": panel_name(group),
        "cells": shown,
        "families": families,
        "hint": hint(break_even(tune, report)),
        "floor": text.milliseconds(max(floors)) if floors else text.BLANK,
    }


def _builds(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Index and its build parameters."""
    return sorted({(label(row), str(row.get("index_params", "{}"))) for row in rows})


def _figures(record: RunRecord, points: pd.DataFrame, salt: str) -> list[tuple[str, Markup]]:
    found = []
    if (points["status"] == "ok").any():
        found.append(("Quality against latency", svg(pareto_figure(points), f"{salt}-pareto")))
    file = record.folder / "collisions.parquet"
    if file.exists() and len(table := pd.read_parquet(file)):
        found.append(("LSH: theory and practice", svg(collision_figure(collision_curves(table)), f"{salt}-lsh")))
    return found


def svg(figure: Figure, salt: str) -> Markup:
    """A figure as inline SVG; `salt` keeps its ids apart from those of other figures on the page."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    return Markup(drawn[drawn.index("<svg") :])


def _notes(facts: RunFacts) -> list[str]:
    notes = list(facts.remarks)
    if facts.nothing_relevant:
        notes.append(f"{facts.nothing_relevant:,} queries have nothing relevant: not in the label metrics.")
    if facts.unreadable:
        notes.append(f"{facts.unreadable:,} items could not be read and are left out; unreadable.csv names them.")
    return notes


def _facts(record: RunRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    """Protocol, machine and versions as tables."""
    told = {"Protocol": record.protocol, "Environment": record.environment, "Seeds": record.seeds}
    return [(name, [(str(key), _plain(value)) for key, value in values.items()]) for name, values in told.items()]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _command(record: RunRecord) -> str:
    return f"retrieval-bench run from={record.folder.as_posix() if not record.folder.is_absolute() else record.run_id}"
