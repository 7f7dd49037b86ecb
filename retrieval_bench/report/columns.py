"""The index table: one line an operating point, and as many columns as the terminal has room for, the others below."""

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
from retrieval_bench.report.families import NOT_RANKED, by_family, family, functional
from retrieval_bench.report.rows import Row, depth, effort_label, failed, interval, label, number

Cell = Callable[[Row], str]
EMPTY = {text.BLANK, "0"}
FEW = 4  # indexes that need no headings
ALWAYS = 90  # columns to be kept at any width
FOLDED_BEFORE = 45  # a column of this `keep` gives way only after build parameters stand below names


@dataclass(frozen=True)
class Column:
    """A column of the index table.

    Attributes:
        keep: where the terminal is narrow, the column with the smallest gives way first.
        short: what a column that gives way shows instead; nothing where it goes whole.
        short_keep: the short form's own place in that order.
        again: goes into a further table where the first has no room for it; else it stands elsewhere anyhow.
    """

    header: str
    cell: Cell
    keep: int
    short: Cell | None = None
    short_keep: int = 0
    again: bool = True


def simple() -> Table:
    """A table without a frame."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def width_of(renderable: RenderableType) -> int:
    """Columns that a renderable takes where it has room."""
    console = Console(width=10_000)
    return Measurement.get(console, console.options, renderable).maximum


def index_tables(group: Sequence[Row], metric: str | None, width: int) -> list[Table]:
    """The operating points of one stage and depth: one table, and others of the columns that found no room in it.

    Args:
        group: rows of one panel.
        metric: label metric that is shown through the index, if any.
        width: columns of the terminal. What does not fit gives way: columns by their `keep`; before the better ones
            of them, the build parameters beside a name, which then stand below it.
    """
    group = [row for _, members in by_family(group) for row in members]
    measured = [row for row in group if not failed(row)]
    columns = [
        column
        for column in _columns(depth(group), metric)
        if max(column.keep, column.short_keep) >= ALWAYS or any(column.cell(row) not in EMPTY for row in measured)
    ]
    table, left = _fitted(columns, group, width)
    tables = [table]
    while again := [column for column in left if column.again]:
        table, left = _fitted([columns[0], *again], measured, width)
        if len(left) == len(again):  # a terminal that has no room for one column
            break
        tables.append(table)
    return tables


def metric_table(rows: Sequence[Row], names: Sequence[str], width: int) -> Table:
    """Some metrics of operating points, each with its interval where there is room for it."""

    def column(name: str, keep: int) -> Column:
        return Column(
            folded_name(name),
            lambda row: text.quality(*interval(row, name)), FOLDED_BEFORE + keep,
            lambda row: text.quality(number(row, name)), ALWAYS + keep,
        )  # fmt: skip

    columns = [Column("effort", _effort, 98), *(column(name, at) for at, name in enumerate(reversed(names)))][::-1]
    return _fitted([columns[-1], *columns[:-1]], rows, width)[0]


def folded_name(name: str, width: int = 13) -> str:
    """A long name on several lines, broken behind underscores.

    >>> folded_name("moment_hit_rate_iou0.5@1"), folded_name("map_at_r")
    ('moment_hit_\\nrate_iou0.5@1', 'map_at_r')
    """
    lines = [""]
    for part in name.replace("_", "_ ").split():
        lines = [*lines[:-1], lines[-1] + part] if len(lines[-1] + part) <= width else [*lines, part]
    return "\n".join(line for line in lines if line)


def _fitted(columns: Sequence[Column], group: Sequence[Row], width: int) -> tuple[Table, list[Column]]:
    """A table that fits, and the columns that gave way."""
    left, columns = [], list(columns)
    folded = False
    table = _filled(columns, group, folded)
    while width_of(table) > width:
        weakest = min(columns, key=lambda column: column.keep)
        if not folded and weakest.keep >= FOLDED_BEFORE and any(label(row) != row["index"] for row in group):
            folded = True
        elif weakest.keep < ALWAYS:
            at = columns.index(weakest)
            less = replace(weakest, cell=weakest.short, keep=weakest.short_keep, short=None) if weakest.short else None
            columns[at : at + 1] = [less] if less else []
            left += [] if less else [weakest]
        else:
            break
        table = _filled(columns, group, folded)
    left.sort(key=lambda column: column.keep, reverse=True)
    return table, left


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
        Column("p50\nms", lambda row: text.milliseconds(*interval(row, "latency_p50_ms")), 46, _p50, 96),
        Column("p95\nms", lambda row: tail(row, "latency_p95_ms"), 30, _p95, 60),
        Column("p99\nms", lambda row: tail(row, "latency_p99_ms"), 28, _p99, 54),
        Column("QPS\nsingle", lambda row: text.count(number(row, "qps_single")), 44),
        Column("QPS\nbatch", lambda row: text.count(number(row, "qps_batch")), 43),
        Column("QPS\nclients", lambda row: text.count(number(row, "qps_clients")), 42),
        Column("p99\nclients", lambda row: text.milliseconds(number(row, "clients_p99_ms")), 41),
        Column("scanned\n%", lambda row: _percent(number(row, "candidate_fraction")), 40),
        Column("empty\n%", lambda row: _percent(number(row, "empty_rate")), 20),
        Column("size", lambda row: text.size(number(row, "index_bytes")), 15, again=False),
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
    return tail(row, "latency_p95_ms").partition(" ")[0]


def _p99(row: Row) -> str:
    return tail(row, "latency_p99_ms").partition(" ")[0]


def _effort(row: Row) -> str:
    told = effort_label(row) or ("failed" if failed(row) else "")
    return f"{told} {NOT_RANKED}" if functional(row) else told


def _percent(fraction: float) -> str:
    return text.BLANK if not isfinite(fraction) else f"{100 * fraction:.3g}"


def _filled(columns: Sequence[Column], group: Sequence[Row], folded: bool) -> Table:
    table = simple()
    table.add_column("index", no_wrap=True, vertical="top")
    for i, column in enumerate(columns):
        table.add_column(column.header, justify="left" if i == 0 else "right", no_wrap=True, vertical="top")
    heads = _heads(group)
    for row, name, head in zip(group, _names(group, folded), heads, strict=True):
        if head is not None:
            table.add_row(Text(head, "italic dim"))
        cells = [text.BLANK if failed(row) and i >= 1 else column.cell(row) for i, column in enumerate(columns)]
        table.add_row(*map(Text, (name, *cells)), style="red" if failed(row) else None)
    return table


def _heads(group: Sequence[Row]) -> list[str | None]:
    """The family above a line, where one begins and there are many indexes."""
    kinds = [str(family(row)) for row in group]
    if len({label(row) for row in group}) <= FEW:
        return [None] * len(kinds)
    return [kind if i == 0 or kinds[i - 1] != kind else None for i, kind in enumerate(kinds)]


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
