"""What a query's class does to its result: one line a class, one column a stage, for as many classes as can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
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


def class_table_of_runs(runs: Mapping[str, RunRecord]) -> ClassTable | None:
    """Of several runs over the same classes: a column a run and stage; none where fewer than two have them.

    Args:
        runs: name → run; what all names begin with is left out. The first run that tells its classes decides which.
    """
    found = {
        name if len(run.stages) == 1 else f"{name} {stage}": facts["by_class"]
        for name, run in runs.items()
        for stage, facts in run.stages.items()
        if facts.get("by_class")
    }
    first = next(iter(found.values()), None)
    alike = {
        name: each
        for name, each in found.items()
        if first is not None and (each["metric"], each["classes"]) == (first["metric"], first["classes"])
    }
    if first is None or len(alike) < 2:
        return None
    short = len(commonprefix(list(alike)))  # noqa: RUF071 (of names, not of paths)
    lines = [
        (str(name), text.count(first["n_queries"][i]), [_cell(each, i) for each in alike.values()])
        for i, name in enumerate(first["classes"])
    ]
    return ClassTable(str(first["metric"]), [name[short:] or name for name in alike], lines)


def render_classes(found: ClassTable, counts: bool = True) -> Table:
    """For a terminal; `counts`: with the number of queries."""
    table = simple()
    table.add_column("class", no_wrap=True)
    if counts:
        table.add_column("queries", justify="right")
    for stage in found.stages:
        table.add_column(stage, justify="right", no_wrap=True)
    for name, n, cells in found.lines:
        table.add_row(name, *([n] if counts else []), *cells)
    return table


def _cell(found: Mapping[str, Any], i: int) -> str:
    values = [found[name][i] for name in ("value", "lo", "hi")]
    return text.BLANK if values[0] is None else text.quality(*values)
