"""What runs on one page share: their tables, cut where they are too long; and runs that cannot be told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import isfinite
from typing import Any, TypeVar

from retrieval_bench.record import RunRecord
from retrieval_bench.report import text
from retrieval_bench.report.break_even import COST
from retrieval_bench.report.everything import Line, PointsTable, SeedsTable, points_tables, seeds_tables
from retrieval_bench.report.figure import pareto_front, ranked
from retrieval_bench.report.overview import trained_tables
from retrieval_bench.report.rows import failed, number

Runs = Sequence[tuple[RunRecord, str]]  # records with their anchors on the page
Made = TypeVar("Made")


@dataclass(frozen=True)
class Common:
    """The tables that runs share.

    Attributes:
        trained: encoders. points: a table a protocol. seeds: means over seeds.
    """

    trained: list[dict[str, Any]]
    points: list[PointsTable]
    seeds: list[SeedsTable]

    @property
    def shown(self) -> int:
        """Operating points in the tables."""
        return sum(len(table.lines) for table in self.points)

    @property
    def fronts(self) -> Common:
        """The same with those points alone that a run's Pareto fronts have, and what failed."""
        return replace(self, points=[replace(table, lines=_on_fronts(table.lines)) for table in self.points])


def common_tables(runs: Runs, skipped: list[str] | None = None) -> Common:
    """The tables of several runs; of one there is nothing to share.

    Args:
        skipped: gets why a table or a run in it was left out; none = that is an error.
    """
    if len(runs) < 2:
        return Common([], [], [])
    return Common(
        told_of(trained_tables, runs, skipped),
        told_of(points_tables, runs, skipped),
        told_of(lambda some: seeds_tables([record for record, _ in some]), runs, skipped),
    )


def told_of(make: Callable[[Runs], list[Made]], runs: Runs, skipped: list[str] | None) -> list[Made]:
    """Tables; where one cannot be made, without the runs of which none can be made even alone.

    Args:
        skipped: gets why a table or a run in it was left out; none = that is an error.
    """
    try:
        return make(runs)
    except Exception:
        if skipped is None:
            raise
    sound = [run for run in runs if attempt(run[0], lambda run=run: make([run]), skipped) is not None]  # type: ignore[misc]
    try:
        return make(sound)
    except Exception as error:  # noqa: BLE001  # whatever is odd about them together, the rest of the page is told
        skipped.append(f"a table of all runs ({type(error).__name__}: {error}); name fewer of them")
        return []


def attempt(record: RunRecord, make: Callable[[], Made], skipped: list[str] | None) -> Made | None:
    """What is told of a run; none where that fails.

    Args:
        skipped: gets why; none = that is an error.
    """
    try:
        return make()
    except Exception as error:  # whatever is odd about one record, the others are told
        if skipped is None:
            raise
        reason = not_told(record, error)
        if reason not in skipped:
            skipped.append(reason)
        return None


def not_told(record: RunRecord, error: Exception) -> str:
    """Why a run is left out, and what to do."""
    return (
        f"{record.folder} cannot be told ({type(error).__name__}: {error}); if another version wrote it, run it again"
        " with force=true"
    )


def _on_fronts(lines: Sequence[Line]) -> list[Line]:
    """Lines that no other of their run, stage and depth beats in both ann_recall and latency, and what failed."""
    kept = set[int]()
    for _, group in groupby(sorted(lines, key=_panel), key=_panel):
        kept |= {id(row) for row in pareto_front(ranked([line.row for line in group], COST), "ann_recall", COST)}
    return [line for line in lines if failed(line.row) or id(line.row) in kept]


def _panel(line: Line) -> tuple[str, str, str]:
    return line.anchor, str(line.row["stage"]), f"{number(line.row, 'k'):g}"


def many_lines(table: PointsTable) -> dict[str, Any]:
    """A table of all runs' operating points as plain values: of each cell what stands there, and what it sorts by."""
    lines = []
    for line in table.lines:
        row, numbers = line.row, (number(line.row, "effort"), number(line.row, "k"))
        names = table.names(line)
        sorts: list[str | None] = [None] * (len(names) - 2)
        sorts += [f"{value:g}" if isfinite(value) else "" for value in numbers]
        gone = failed(row)
        cells = [(text.BLANK, "") if gone else (cell(row), cell.value(row)) for cell in table.cells]
        lines.append({"names": list(zip(names, sorts, strict=True)), "cells": cells, "failed": gone,
                      "anchor": line.anchor, "run_id": line.run_id})  # fmt: skip
    return {"title": table.title, "heads": table.heads, "cells": table.cells, "lines": lines}
