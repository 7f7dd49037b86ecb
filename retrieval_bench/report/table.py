"""The table that nobody else prints: what the encoder gives, what the index loses, and what both cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import pandas as pd
from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from retrieval_bench.report import text
from retrieval_bench.report.break_even import break_even, hint
from retrieval_bench.report.rows import (
    Row,
    depth,
    distinct,
    effort_label,
    failed,
    interval,
    metric_names,
    number,
    operating_points,
    panel_name,
    panels,
)

Cell = Callable[[Row], str]


@dataclass(frozen=True)
class RunFacts:
    """What the table says beside the points.

    Attributes:
        protocol: the data set's protocol (split, crop, self rule, sizes, …), as in the record.
        nothing_relevant: queries without anything relevant, left out of the label metrics.
        unreadable: items that could not be read.
        remarks: findings that belong beside the numbers, one line each.
        files: what the run wrote, relative to where the user stands.
    """

    protocol: Mapping[str, Any] = field(default_factory=dict)
    nothing_relevant: int = 0
    unreadable: int = 0
    remarks: Sequence[str] = ()
    files: Sequence[str] = ()


@dataclass(frozen=True)
class Column:
    """A column of the index table.

    Where the terminal is narrow, the one with the smallest `keep` gives way first: it takes its short form, if it
    has one, or left out.
    """

    header: str
    cell: Cell
    keep: int
    short: Cell | None = None


def render_table(points: pd.DataFrame, facts: RunFacts, width: int = 100, recall: float = 0.95) -> RenderableType:
    """The run's tables for a terminal.

    Args:
        points: as in `points.parquet`; rows of one data set and one encoder.
        facts: protocol, counts and files.
        width: columns of the terminal; 80 or more stay readable.
        recall: ann_recall that the break-even hint asks of an index.
    """
    rows = operating_points(points)
    if not rows:
        return Text("Nothing was measured: the run has no index. Type for instance search=[exact,hnsw].")
    parts: list[RenderableType] = [_heading(rows, facts)]
    metrics = [name for name in metric_names(points) if any(isfinite(number(row, f"exact_{name}")) for row in rows)]
    if metrics:
        parts.append(_encoder_part(rows, metrics))
    halves = [_by_panel(operating_points(points, half)) for half in ("tune", "report")]
    for group in panels(rows):
        tune, report = (half.get((group[0]["stage"], depth(group)), group) for half in halves)
        found = break_even(tune, report, recall)
        parts += [_index_part(group, metrics, width), Text(hint(found, recall), "italic"), Text()]
    parts += [_build_part(rows), _notes(rows, facts)]
    return Group(*parts)


def _by_panel(rows: Sequence[Row]) -> dict[tuple[Any, int | None], list[Row]]:
    return {(group[0]["stage"], depth(group)): group for group in panels(rows)}


def _heading(rows: Sequence[Row], facts: RunFacts) -> Text:
    row = rows[0]
    n, q = number(row, "n_gallery"), number(row, "n_queries")
    lines = Text()
    lines.append(f"{row['data']}", "bold")
    lines.append(
        f" · {text.count(q)} queries × {text.count(n)} gallery"
        f" · {row['encoder']}, {number(row, 'dim'):.0f}-d · {row['similarity']}\n"
    )
    if facts.protocol:
        lines.append(
            "protocol  " + " · ".join(f"{key}: {value}" for key, value in facts.protocol.items()) + "\n", "dim"
        )
    return lines


def _simple() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def _titled(title: str, body: RenderableType) -> Group:
    return Group(Text(title, "bold"), body, Text())


def _encoder_part(rows: Sequence[Row], metrics: Sequence[str]) -> RenderableType:
    """Label metrics with exact search: one line a metric, one column a stage, in two columns where they fit."""
    stages = distinct(rows, "stage")
    height = len(metrics) if len(metrics) <= 4 else -(-len(metrics) // 2)
    tables = []
    for start in range(0, len(metrics), height):
        table = _simple()
        table.add_column("metric", no_wrap=True)
        for stage in stages:
            table.add_column(str(stage), justify="right", no_wrap=True)
        for name in metrics[start : start + height]:
            table.add_row(name, *(_exact_cell(rows, stage, name) for stage in stages))
        tables.append(table)
    return _titled("The encoder's part: label metrics with exact search", Columns(tables, padding=(0, 4)))


def _exact_cell(rows: Sequence[Row], stage: Any, name: str) -> str:
    column = f"exact_{name}"
    found = [row for row in rows if row["stage"] == stage and isfinite(number(row, column))]
    return text.quality(*interval(found[0], column)) if found else text.BLANK


def _index_columns(k: int | None, metric: str | None) -> list[Column]:
    columns = [Column("index", lambda row: str(row["index"]), 99), Column("effort", _effort, 98)]
    if metric is not None:
        columns += [
            Column(f"{metric}\nvia index", lambda row: text.quality(number(row, metric)), 90),
            Column("ANN loss", lambda row: text.quality(*interval(row, f"ann_loss_{metric}")), 89),
        ]
    p50, p95 = "latency_p50_ms", "latency_p95_ms"
    return [
        *columns,
        Column(f"ann_recall\n@{k or 'k'}", lambda row: text.quality(*interval(row, "ann_recall")), 97),
        Column("p50\nms", lambda row: text.milliseconds(*interval(row, p50)), 96),
        Column(
            "p95\nms",
            lambda row: text.milliseconds(*interval(row, p95)),
            60,
            lambda row: text.milliseconds(number(row, p95)),
        ),
        Column("QPS\nbatch", lambda row: text.count(number(row, "qps_batch")), 50),
        Column("size", lambda row: text.size(number(row, "index_bytes")), 55),
        Column("scanned\n%", lambda row: _percent(number(row, "candidate_fraction")), 40),
        Column("empty\n%", lambda row: _percent(number(row, "empty_rate")), 20),
    ]


def _effort(row: Row) -> str:
    return effort_label(row) or ("failed" if failed(row) else "")


def _percent(fraction: float) -> str:
    return text.BLANK if not isfinite(fraction) else f"{100 * fraction:.3g}"


def _index_part(group: Sequence[Row], metrics: Sequence[str], width: int) -> RenderableType:
    """One line an operating point, of one stage and depth; as many columns as fit into `width`."""
    metric = next((name for name in metrics if any(isfinite(number(row, name)) for row in group)), None)
    columns = _index_columns(depth(group), metric)
    measured = [row for row in group if not failed(row)]
    columns = [c for c in columns if c.keep > 90 or any(c.cell(row) not in {text.BLANK, "0"} for row in measured)]
    console = Console(width=10 * width)
    table = _filled(columns, group)
    while Measurement.get(console, console.options, table).maximum > width and len(columns) > 4:
        weakest = min(columns, key=lambda column: column.keep)
        at = columns.index(weakest)
        columns[at : at + 1] = [replace(weakest, cell=weakest.short, keep=88, short=None)] if weakest.short else []
        table = _filled(columns, group)
    return _titled(f"The index's part: {panel_name(group)}", table)


def _filled(columns: Sequence[Column], group: Sequence[Row]) -> Table:
    table = _simple()
    for i, column in enumerate(columns):
        table.add_column(column.header, justify="left" if i < 2 else "right", no_wrap=True, vertical="bottom")
    previous = None
    for row in group:
        cells = [text.BLANK if failed(row) and i >= 2 else column.cell(row) for i, column in enumerate(columns)]
        if row["index"] == previous:
            cells[0] = ""
        previous = row["index"]
        table.add_row(*map(Text, cells), style="red" if failed(row) else None)
    return table


def _build_part(rows: Sequence[Row]) -> RenderableType:
    """One line an index: what it costs to build and keep."""
    table = _simple()
    for header in ("index", "stage", "build s", "size", "peak memory", "status"):
        table.add_column(header, justify="left" if header in {"index", "stage", "status"} else "right", no_wrap=True)
    seen: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = (row["index"], row.get("index_params"), row["stage"])
        if key not in seen or (failed(row) and not failed(seen[key])):
            seen[key] = row
    order = distinct(rows, "index")
    for row in sorted(seen.values(), key=lambda row: order.index(row["index"])):
        seconds = number(row, "build_s")
        cells = (
            str(row["index"]),
            str(row["stage"]),
            f"{seconds:.2f}" if isfinite(seconds) else text.BLANK,
            text.size(number(row, "index_bytes")),
            text.size(number(row, "peak_rss_bytes")),
            str(row.get("status", "ok")),
        )
        table.add_row(*map(Text, cells), style="red" if failed(row) else None)
    return _titled("What an index costs to build and keep (peak memory above the bare process)", table)


def _notes(rows: Sequence[Row], facts: RunFacts) -> Text:
    """Floor, encode time, what was left out, errors and files: one line each."""
    notes = Text()
    measured = [row for row in rows if not failed(row)]
    floors = [value for row in measured if isfinite(value := number(row, "latency_floor_ms"))]
    if floors:
        floor = text.milliseconds(max(floors))
        notes.append(
            f"Latency: one query at a time, one thread; {floor} ms of it is the floor (an index that does nothing).\n"
        )
    encode = {row["stage"]: v for row in measured if isfinite(v := number(row, "encode_ms"))}
    if encode:
        times = ", ".join(f"{text.milliseconds(v)} ms ({stage})" for stage, v in encode.items())
        notes.append(f"On top of every latency: encoding one query takes {times}.\n")
    notes.append("ANN loss: label metric with exact search minus via index. ±: larger side of the 95 % interval.\n")
    if facts.nothing_relevant:
        notes.append(
            f"{facts.nothing_relevant:,} queries have nothing relevant in the gallery: not in the label metrics.\n"
        )
    for remark in facts.remarks:
        notes.append(f"{remark}\n")
    if facts.unreadable:
        notes.append(
            f"{facts.unreadable:,} items could not be read and are left out; unreadable.csv names them.\n", "yellow"
        )
    for (index, error), stages in _errors(rows).items():
        notes.append(f"{index} failed ({', '.join(stages)}): {error}\n", "red")
    if facts.files:
        notes.append("Written: " + "\n         ".join(facts.files) + "\n")
    return notes


def _errors(rows: Sequence[Row]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if failed(row):
            stages = found.setdefault((str(row["index"]), str(row.get("error"))), [])
            if str(row["stage"]) not in stages:
                stages.append(str(row["stage"]))
    return found
