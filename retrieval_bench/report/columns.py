"""The index table: one line an operating point, and as many columns as the terminal has room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from rich import box
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from retrieval_bench.report import text
from retrieval_bench.report.rows import Row, depth, effort_label, failed, interval, label, number

Cell = Callable[[Row], str]
EMPTY = {text.BLANK, "0"}
ALWAYS = 90  # columns to be kept at any width


@dataclass(frozen=True)
class Column:
    """A column of the index table.

    Attributes:
        keep: where the terminal is narrow, the column with the smallest gives way first.
        short: what a column that gives way shows instead; nothing where it goes whole.
        short_keep: the short form's own place in that order.
    """

    header: str
    cell: Cell
    keep: int
    short: Cell | None = None
    short_keep: int = 0


def simple() -> Table:
    """A table without a frame."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def width_of(renderable: RenderableType) -> int:
    """Columns that a renderable takes where it has room."""
    console = Console(width=10_000)
    return Measurement.get(console, console.options, renderable).maximum


def index_table(group: Sequence[Row], metric: str | None, width: int) -> Table:
    """The operating points of one stage and depth.

    Args:
        group: rows of one panel.
        metric: label metric that is shown through the index, if any.
        width: columns of the terminal. What does not fit gives way: first the build parameters beside a name (they
            then stand below it), then columns by their `keep`; a line below the table names those that went.
    """
    measured = [row for row in group if not failed(row)]
    columns = [
        column
        for column in _columns(depth(group), metric)
        if max(column.keep, column.short_keep) >= ALWAYS or any(column.cell(row) not in EMPTY for row in measured)
    ]
    folded, gone = False, list[str]()
    table = _filled(columns, group, folded)
    while width_of(table) > width:
        weakest = min(columns, key=lambda column: column.keep)
        if not folded and any(label(row) != row["index"] for row in group):
            folded = True
        elif weakest.keep < ALWAYS:
            at = columns.index(weakest)
            less = replace(weakest, cell=weakest.short, keep=weakest.short_keep, short=None) if weakest.short else None
            columns[at : at + 1] = [less] if less else []
            gone += [] if less else [" ".join(weakest.header.split())]
        else:
            break
        table = _filled(columns, group, folded)
    if gone:
        table.caption = f"no room for {', '.join(reversed(gone))}; points.parquet has all"
        table.caption_justify = "left"
    return table


def _columns(k: int | None, metric: str | None) -> list[Column]:
    judged = [] if metric is None else [
        Column(f"{metric}\nvia index", lambda row: text.quality(number(row, metric)), 86),
        Column(
            "ANN loss",
            lambda row: text.quality(*interval(row, f"ann_loss_{metric}")), 80,
            lambda row: text.quality(number(row, f"ann_loss_{metric}")), 85,
        ),
    ]  # fmt: skip
    return [
        Column("effort", _effort, 98),
        *judged,
        Column(f"ann_recall\n@{k or 'k'}", lambda row: text.quality(*interval(row, "ann_recall")), 97),
        Column("p50\nms", lambda row: text.milliseconds(*interval(row, "latency_p50_ms")), 58, _p50, 96),
        Column("p95\nms", lambda row: tail(row, "latency_p95_ms"), 45, _p95, 60),
        Column("QPS\nbatch", lambda row: text.count(number(row, "qps_batch")), 50),
        Column("size", lambda row: text.size(number(row, "index_bytes")), 65),
        Column("scanned\n%", lambda row: _percent(number(row, "candidate_fraction")), 40),
        Column("empty\n%", lambda row: _percent(number(row, "empty_rate")), 20),
    ]


def tail(row: Row, column: str) -> str:
    """A high quantile of the times with its interval; a dash where too few queries were timed for it to have one."""
    value, low, high = interval(row, column)
    return text.milliseconds(value, low, high) if isfinite(low) and isfinite(high) else text.BLANK


def _p50(row: Row) -> str:
    """With the larger side of its interval only."""
    value, low, high = interval(row, "latency_p50_ms")
    half = max(value - low, high - value)
    return text.milliseconds(value, value - half, value + half)


def _p95(row: Row) -> str:
    told = tail(row, "latency_p95_ms")
    return told.partition(" ")[0]


def _effort(row: Row) -> str:
    return effort_label(row) or ("failed" if failed(row) else "")


def _percent(fraction: float) -> str:
    return text.BLANK if not isfinite(fraction) else f"{100 * fraction:.3g}"


def _filled(columns: Sequence[Column], group: Sequence[Row], folded: bool) -> Table:
    table = simple()
    table.add_column("index", no_wrap=True, vertical="top")
    for i, column in enumerate(columns):
        table.add_column(column.header, justify="left" if i == 0 else "right", no_wrap=True, vertical="top")
    for row, name in zip(group, _names(group, folded), strict=True):
        cells = [text.BLANK if failed(row) and i >= 1 else column.cell(row) for i, column in enumerate(columns)]
        table.add_row(*map(Text, (name, *cells)), style="red" if failed(row) else None)
    return table


def _names(group: Sequence[Row], folded: bool) -> list[str]:
    """The index of each line, where it begins; folded: its parameters below the name."""
    names = []
    lines = [label(row) for row in group]
    for i, name in enumerate(lines):
        line = i - lines.index(name)
        index = str(group[i]["index"])
        params = name.removeprefix(index).strip()
        if not folded or not params:
            names.append(name if line == 0 else "")
        elif lines.count(name) == 1:
            names.append(f"{index}\n {params}")
        else:
            names.append(index if line == 0 else f" {params}" if line == 1 else "")
    return names
