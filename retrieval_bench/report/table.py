"""The table that nobody else prints: what the encoder gives, what the index loses, and what both cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from retrieval_bench.naming import is_moment
from retrieval_bench.report import text
from retrieval_bench.report.break_even import break_even, hint
from retrieval_bench.report.classes import ClassTable, render_classes
from retrieval_bench.report.columns import index_tables, simple, width_of
from retrieval_bench.report.families import NOT_RANKED, by_family, functional
from retrieval_bench.report.moments import asked, meaning, moment_table, told_sizes
from retrieval_bench.report.rows import (
    Row,
    depth,
    dims,
    distinct,
    failed,
    interval,
    label,
    metric_names,
    number,
    operating_points,
    panel_name,
    panels,
)
from retrieval_bench.report.video import per_hour
from retrieval_bench.stats import QUANTILES, least_queries

IN_HEADING = ("data", "n_queries", "n_gallery", "similarity", "k", "cuts")  # the protocol's line need not repeat them
GAP = 4  # between two tables side by side


@dataclass(frozen=True)
class RunFacts:
    """What the table says beside the points.

    Attributes:
        protocol: the data set's protocol (split, crop, self rule, sizes, …), as in the record.
        nothing_relevant: queries without anything relevant, left out of the label metrics.
        queries: what they are called, one and many.
        lost_classes: the classes of these queries.
        unreadable: items that could not be read.
        remarks: findings that belong beside the numbers, one line each.
        classes: what each class of queries gives, where they are few.
        files: what the run wrote, relative to where the user stands.
    """

    protocol: Mapping[str, Any] = field(default_factory=dict)
    nothing_relevant: int = 0
    queries: tuple[str, str] = ("query", "queries")
    lost_classes: Sequence[str] = ()
    unreadable: int = 0
    remarks: Sequence[str] = ()
    files: Sequence[str] = ()
    classes: ClassTable | None = None


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
    parts: list[RenderableType] = [_heading(rows, facts), Text()]
    metrics = [name for name in metric_names(points) if any(isfinite(number(row, f"exact_{name}")) for row in rows)]
    moments, metrics = asked(rows), [name for name in metrics if not is_moment(name)]
    if metrics:
        what = "label metrics of windows" if moments else "label metrics"
        parts.append(_titled(f"The encoder's part: {what} with exact search", _encoder(rows, metrics, width)))
    if facts.classes is not None:
        title = f"The encoder's part by class: {facts.classes.metric} with exact search"
        parts.append(_titled(title, render_classes(facts.classes)))
    halves = [_by_panel(operating_points(points, half)) for half in ("tune", "report")]
    for group in panels(rows):
        tune, report = (half.get((group[0]["stage"], depth(group)), group) for half in halves)
        metric = next((name for name in metrics if any(isfinite(number(row, name)) for row in group)), None)
        found = break_even(tune, report, recall)
        tables = index_tables(group, None if moments else metric, width)
        if moments and not all(map(failed, group)):
            parts += [_titled(f"Moments through each index: {panel_name(group)}", moment_table(group, width))]
        parts += [_titled(f"The index's part: {panel_name(group)}", tables[0])]
        parts += [_titled("Tails, throughput and what was scanned", table) for table in tables[1:]]
        parts += [Text(hint(found, recall), "italic"), Text()]
    parts += [_build_part(rows), _notes(rows, facts)]
    return Group(*parts)


def _by_panel(rows: Sequence[Row]) -> dict[tuple[Any, int | None], list[Row]]:
    return {(group[0]["stage"], depth(group)): group for group in panels(rows)}


def _heading(rows: Sequence[Row], facts: RunFacts) -> RenderableType:
    row = rows[0]
    first = Text(f"{row['data']}", "bold")
    first.append(
        f" · {told_sizes(row)}"
        f" · {', '.join(told for told in (str(row['encoder']), dims(rows)) if told)} · {row['similarity']}",
        "not bold",
    )
    told = [f"{key}: {value}" for key, value in facts.protocol.items() if key not in IN_HEADING]
    return Group(first, _hanging("protocol", Text(" · ".join(told), "dim"))) if told else first


def _hanging(word: str, body: RenderableType) -> Table:
    """A word and what belongs to it, whose further lines stand below its own first."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row(Text(word, "dim"), body)
    return table


def _titled(title: str, body: RenderableType) -> Group:
    return Group(Text(title, "bold"), body, Text())


def _encoder(rows: Sequence[Row], metrics: Sequence[str], width: int) -> RenderableType:
    """Label metrics with exact search: one line a metric, one column a stage; side by side where two halves fit."""
    half = -(-len(metrics) // 2)
    tables = [_metric_table(rows, metrics[start : start + half]) for start in (0, half)]
    if len(metrics) <= GAP or sum(map(width_of, tables)) + GAP > width:
        return _metric_table(rows, metrics)
    return Columns(tables, padding=(0, GAP))


def _metric_table(rows: Sequence[Row], metrics: Sequence[str]) -> Table:
    stages = distinct(rows, "stage")
    table = simple()
    table.add_column("metric", no_wrap=True)
    for stage in stages:
        table.add_column(str(stage), justify="right", no_wrap=True)
    for name in metrics:
        table.add_row(name, *(_exact_cell(rows, stage, name) for stage in stages))
    return table


def _exact_cell(rows: Sequence[Row], stage: Any, name: str) -> str:
    column = f"exact_{name}"
    found = [row for row in rows if row["stage"] == stage and isfinite(number(row, column))]
    return text.quality(*interval(found[0], column)) if found else text.BLANK


def _build_part(rows: Sequence[Row]) -> RenderableType:
    """One line an index and stage: what it costs to build and keep."""
    table = simple()
    hourly = per_hour(rows)
    for header in ("index", "stage", "build s", "size", *(["an hour"] if hourly else []), "peak memory", "status"):
        table.add_column(header, justify="left" if header in {"index", "stage", "status"} else "right", no_wrap=True)
    table.columns[0].no_wrap = False
    seen: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = (label(row), row["stage"])
        if key not in seen or (failed(row) and not failed(seen[key])):
            seen[key] = row
    order = distinct([row for _, members in by_family(rows) for row in members], "label")
    previous = None
    for row in sorted(seen.values(), key=lambda row: order.index(label(row))):
        seconds = number(row, "build_s")
        cells = (
            "" if label(row) == previous else label(row),
            str(row["stage"]),
            f"{seconds:.2f}" if isfinite(seconds) else text.BLANK,
            text.size(number(row, "index_bytes")),
            *([text.size(number(row, "bytes_per_hour"))] if hourly else []),
            text.size(number(row, "peak_rss_bytes")),
            str(row.get("status", "ok")),
        )
        previous = label(row)
        table.add_row(*map(Text, cells), style="red" if failed(row) else None)
    hours = "; size for an hour of video" if hourly else ""
    return _titled(f"What an index costs to build and keep (peak memory above the bare process{hours})", table)


def _notes(rows: Sequence[Row], facts: RunFacts) -> RenderableType:
    """Floor, encode time, what was left out, errors and files: one remark each."""
    measured = [row for row in rows if not failed(row)]
    notes = [Text(line) for line in (*times(measured), *_signs(measured), *_left_out(facts), *facts.remarks)]
    if facts.unreadable:
        told = f"{facts.unreadable:,} items could not be read and are left out; unreadable.csv names them."
        notes.append(Text(told, "yellow"))
    for (index, error), stages in errors(rows).items():
        notes.append(Text(f"{index} failed ({', '.join(stages)}): {error}", "red"))
    return Group(*notes, *_written(facts.files))


def times(measured: Sequence[Row]) -> list[str]:
    """What a latency includes, what comes on top of it, and what too few queries do not tell."""
    lines = []
    what, idle, encoded = meaning(measured)
    floors = [value for row in measured if isfinite(value := number(row, "latency_floor_ms"))]
    if floors:
        floor = text.milliseconds(max(floors))
        lines.append(f"Latency: {what}, one thread; {floor} ms of it is the floor ({idle}).")
    encode = {row["stage"]: v for row in measured if isfinite(v := number(row, "encode_ms"))}
    if encode:
        times = ", ".join(f"{text.milliseconds(v)} ms ({stage})" for stage, v in encode.items())
        lines.append(f"On top of every latency: {encoded} takes {times}.")
    timed = [n for row in measured if isfinite(n := number(row, "n_timed"))]
    least = least_queries(QUANTILES["latency_p95_ms"])
    if timed and min(timed) < least:
        lines.append(f"p95 is told from {least} timed queries on; {min(timed):,.0f} were timed.")
    aside = distinct([row for row in measured if functional(row)], "label")
    if aside:
        lines.append(f"{NOT_RANKED} {', '.join(aside)}: shows that it works, not how fast it can be; never ranked.")
    return lines


def _signs(measured: Sequence[Row]) -> list[str]:
    """What the signs mean that stand in the table."""
    loss = any(name.startswith("ann_loss_") for row in measured for name in row) and not asked(measured)
    meaning = "ANN loss: label metric with exact search minus via index. " if loss else ""
    return [f"{meaning}± and −/+: 95 % interval (±: its larger side)."]


def _left_out(facts: RunFacts) -> list[str]:
    if not facts.nothing_relevant:
        return []
    shown = 8
    names, many = facts.lost_classes[:shown], len(facts.lost_classes)
    more = f", … {many - shown:,} more" if many > shown else ""
    classes = f" ({'class' if many == 1 else 'classes'} {', '.join(names)}{more})" if names else ""
    queries = f"{facts.queries[0]} has" if facts.nothing_relevant == 1 else f"{facts.queries[1]} have"
    return [f"{facts.nothing_relevant:,} {queries} nothing relevant{classes}: counted, left out of the means."]


def errors(rows: Sequence[Row]) -> dict[tuple[str, str], list[str]]:
    """(Index, error) → stages in which it failed so."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if failed(row):
            stages = found.setdefault((label(row), str(row.get("error"))), [])
            if str(row["stage"]) not in stages:
                stages.append(str(row["stage"]))
    return found


def _written(files: Sequence[str]) -> list[RenderableType]:
    """Where the files lie: a line a folder."""
    folders: dict[str, list[str]] = {}
    for file in map(Path, files):
        folders.setdefault(str(file.parent), []).append(file.name)
    return [Text(f"Written to {folder}: {', '.join(names)}") for folder, names in folders.items()]
