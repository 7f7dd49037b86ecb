"""Operating points of many runs as one table a protocol: for the page, and for papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pandas as pd

from retrieval_bench.naming import training_parts
from retrieval_bench.record import RunRecord, digest
from retrieval_bench.report import text
from retrieval_bench.report.cells import Cell, index_cells
from retrieval_bench.report.rows import (
    Row,
    distinct,
    effort_label,
    failed,
    interval,
    label,
    metric_names,
    number,
    operating_points,
)
from retrieval_bench.runs import one_a_seed, over_seeds, seed_groups

SHOWN = ("p50 ms", "p95 ms", "build s", "size")  # columns beside those of quality
PARTS = ("encoder", "loss", "head", "dim", "seed")  # what runs of one protocol are told apart by


@dataclass(frozen=True)
class Line:
    """An operating point: what tells its run apart, and its numbers."""

    parts: list[str]
    row: Row
    anchor: str
    run_id: str


@dataclass(frozen=True)
class PointsTable:
    """All operating points under one protocol.

    Attributes:
        title: the data. parts: names of `Line.parts`. cells: columns of numbers.
    """

    title: str
    parts: list[str]
    cells: list[Cell]
    lines: list[Line]

    def names(self, line: Line) -> list[str]:
        """What stands before the numbers: parts, stage, index, effort and depth."""
        row = line.row
        k = number(row, "k")
        effort = "failed" if failed(row) else effort_label(row)
        return [*line.parts, str(row["stage"]), label(row), effort, f"{k:.0f}" if isfinite(k) else text.BLANK]

    @property
    def heads(self) -> list[str]:
        """Titles of `names`."""
        return [*self.parts, "stage", "index", "effort", "k"]


def points_tables(runs: Sequence[tuple[RunRecord, str]]) -> list[PointsTable]:
    """A table a protocol, for unlike protocols never share one.

    Args:
        runs: records with their anchors on the page.
    """
    alike: dict[str, list[tuple[RunRecord, str]]] = {}
    for record, anchor in runs:
        if record.rows:
            alike.setdefault(digest(record.protocol, record.data_fingerprint), []).append((record, anchor))
    return [_points_table(group) for group in alike.values()]


def _points_table(runs: Sequence[tuple[RunRecord, str]]) -> PointsTable:
    found, metrics = [], []
    for record, anchor in runs:
        points = record.points
        metrics += metric_names(points)
        for row in operating_points(points):
            found.append((_parts(record, row), row, anchor, record.run_id))
    named = [name for name in PARTS if len({parts[name] for parts, _, _, _ in found}) > 1]
    lines = [Line([parts[name] for name in named], row, anchor, run) for parts, row, anchor, run in found]
    rows = [line.row for line in lines]
    metric = [name for name in dict.fromkeys(metrics) if any(isfinite(number(row, name)) for row in rows)][:1]
    cells = [cell for cell in index_cells(metric, None) if cell.title in SHOWN or cell.column.endswith(tuple(metric))
             or cell.column == "ann_recall"]  # fmt: skip
    cells = [cell for cell in cells if any(cell(row) != text.BLANK for row in rows)]
    title = str(runs[0][0].protocol.get("data", runs[0][0].name))
    return PointsTable(title, named, cells, lines)


def _parts(record: RunRecord, row: Row) -> dict[str, str]:
    dim = number(row, "dim")
    parts: dict[str, Any] = {"encoder": row.get("encoder"), **training_parts(record.config, str(row["stage"]))}
    parts |= {"dim": f"{dim:.0f}" if isfinite(dim) else None, "seed": record.seeds.get("run")}
    return {name: text.BLANK if parts.get(name) is None else str(parts[name]) for name in PARTS}


@dataclass(frozen=True)
class SeedsTable:
    """Runs that differ in their seed alone, averaged: lines of names, and of cells with the number they sort by."""

    title: str
    runs: int
    heads: list[str]
    lines: list[tuple[list[str], list[tuple[str, str]]]]


def seeds_tables(records: Sequence[RunRecord]) -> list[SeedsTable]:
    """Mean and 95 % t-interval over the seeds of each group of runs; groups of one run have none."""
    groups = [one_a_seed(group) for group in seed_groups([record for record in records if record.rows])]
    return [_seeds_table(group) for group in groups if len(group) > 1]


def _seeds_table(group: Sequence[RunRecord]) -> SeedsTable:
    rows = [row for record in group for row in operating_points(record.points) if not failed(row)]
    points = pd.DataFrame(rows)
    known = [name for name in metric_names(points) if points[f"exact_{name}"].notna().all()][:1]
    metrics = [f"exact_{name}" for name in known] + [name for name in known if points[name].notna().all()]
    metrics += [name for name in ("ann_recall", "latency_p50_ms") if name in points and points[name].notna().all()]
    lines = []
    averaged: list[Row] = over_seeds(points.assign(index=points["label"], half="all"), metrics).to_dict("records")  # type: ignore[assignment]
    for row in averaged:
        knob = next((r.get("knob") for r in rows if label(r) == row["index"]), None)
        effort = effort_label({"knob": knob, "effort": row["effort"]})
        written = [text.milliseconds if name == "latency_p50_ms" else text.quality for name in metrics]
        cells = [
            (write(*interval(row, name)), f"{number(row, name):.6g}")
            for write, name in zip(written, metrics, strict=True)
        ]
        lines.append(([str(row["stage"]), str(row["index"]), effort, f"{row['k']:.0f}", str(row["seeds"])], cells))
    heads = ["p50 ms" if name == "latency_p50_ms" else name for name in metrics]
    seeds = ", ".join(sorted({str(record.seeds.get("run")) for record in group}))
    names = distinct([{"data": str(row.get("data"))} for row in rows], "data")
    return SeedsTable(f"{', '.join(names)}, seeds {seeds}", len(group), heads, lines)
