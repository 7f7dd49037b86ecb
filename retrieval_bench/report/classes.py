"""What a query's class does to its result: one line a class, one column a stage, for as many classes as can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from retrieval_bench.record import RunRecord
from retrieval_bench.report import text
from retrieval_bench.report.columns import simple


@dataclass(frozen=True)
class ClassTable:
    """Metric by class.

    Attributes:
        metric: what is told. stages: its columns. lines: (class, queries, a cell a stage).
    """

    metric: str
    stages: Sequence[str]
    lines: Sequence[tuple[str, str, Sequence[str]]]


def class_table(record: RunRecord) -> ClassTable | None:
    """Of the stages' facts; none where a run has too many classes, or no labels."""
    of = {stage: facts["by_class"] for stage, facts in record.stages.items() if facts.get("by_class")}
    if not of:
        return None
    first = next(iter(of.values()))
    lines = []
    for i, name in enumerate(first["classes"]):
        cells = [_cell(found, i) for found in of.values()]
        lines.append((str(name), text.count(first["n_queries"][i]), cells))
    return ClassTable(str(first["metric"]), list(of), lines)


def render_classes(found: ClassTable) -> Table:
    """For a terminal."""
    table = simple()
    table.add_column("class", no_wrap=True)
    table.add_column("queries", justify="right")
    for stage in found.stages:
        table.add_column(stage, justify="right", no_wrap=True)
    for name, n, cells in found.lines:
        table.add_row(name, n, *cells)
    return table


def _cell(found: Mapping[str, Any], i: int) -> str:
    values = [found[name][i] for name in ("value", "lo", "hi")]
    return text.BLANK if values[0] is None else text.quality(*values)
