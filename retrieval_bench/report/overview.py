"""Several runs on one page: what each is in a line, and a sweep over encoders, losses or heads as one table."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from retrieval_bench.naming import TRAINED_STAGE, training_parts
from retrieval_bench.record import RunRecord, digest
from retrieval_bench.report import text
from retrieval_bench.report.moments import told_sizes
from retrieval_bench.report.rows import (
    Row,
    dims,
    distinct,
    failed,
    interval,
    metric_names,
    number,
    operating_points,
)
from retrieval_bench.report.training import named_parts

PARTS = ("encoder", "loss", "head", "dim", "seed")  # what trainings are told apart by; runs of one group but the seed
METRICS = 5  # columns of a table


def heading(record: RunRecord, rows: Sequence[Row]) -> dict[str, Any]:
    """The run's title, and what of it is known in a line.

    Args:
        rows: its operating points.
    """
    if not rows:
        return {"title": str(record.protocol.get("data", record.name)), "told": ["nothing was measured"]}
    row = rows[0]
    told = [", ".join(part for part in (str(row.get("encoder")), dims(rows)) if part), str(row.get("similarity"))]
    if TRAINED_STAGE in distinct(rows, "stage"):
        parts = named_parts(record.config, TRAINED_STAGE)
        told[1:1] = [f"trained with {parts}"] if parts else []
    if isfinite(number(row, "n_queries")) and isfinite(number(row, "n_gallery")):
        told.append(told_sizes(row))
    return {"title": str(row.get("data", record.name)), "told": told}


def trained_tables(runs: Sequence[tuple[RunRecord, str]]) -> list[dict[str, Any]]:
    """A table of the trained encoders of all runs of one protocol, where there are several of them.

    A line a run, those that differ in their seed alone below one another; a column a part that differs.

    Args:
        runs: records with their anchors on the page.
    """
    alike: dict[str, list[dict[str, Any]]] = {}
    for record, anchor in runs:
        if (line := _line(record, anchor)) is not None:
            alike.setdefault(digest(record.protocol, record.data_fingerprint), []).append(line)
    return [_table(lines) for lines in alike.values() if len(lines) > 1]


def _line(record: RunRecord, anchor: str) -> dict[str, Any] | None:
    points = record.points
    rows = operating_points(points[points["stage"] == TRAINED_STAGE]) if len(points) else []
    row = next((row for row in rows if not failed(row)), None)
    if row is None:
        return None
    parts = {"encoder": str(row.get("encoder")), **training_parts(record.config, TRAINED_STAGE)}
    parts |= {"dim": f"{number(row, 'dim'):.0f}", "seed": str(record.seeds.get("run", text.BLANK))}
    values = {name: interval(row, f"exact_{name}") for name in metric_names(points)}
    return {
        "title": str(row.get("data", record.name)),
        "parts": {name: value or text.BLANK for name, value in parts.items()},
        "values": {name: value for name, value in values.items() if isfinite(value[0])},
        "anchor": anchor,
        "run_id": record.run_id,
    }


def _table(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    parts = [name for name in PARTS if len({line["parts"][name] for line in lines}) > 1]
    groups = [tuple(line["parts"][name] for name in parts if name != "seed") for line in lines]
    order = list(dict.fromkeys(groups))
    metrics = list(dict.fromkeys(name for line in lines for name in line["values"]))[:METRICS]
    shown: list[dict[str, Any]] = []
    for place in sorted(range(len(lines)), key=lambda place: order.index(groups[place])):
        line, before = lines[place], shown[-1] if shown else None
        own = [line["parts"][name] for name in parts]
        same = before is not None and before["group"] == groups[place]
        shown.append(
            {
                "group": groups[place],
                "begin": not same,
                "parts": own,
                "again": [same and name != "seed" for name in parts],
                "cells": [text.quality(*line["values"][m]) if m in line["values"] else text.BLANK for m in metrics],
                "anchor": line["anchor"],
                "run_id": line["run_id"],
            }
        )
    return {"title": lines[0]["title"], "parts": parts, "metrics": metrics, "lines": shown}
