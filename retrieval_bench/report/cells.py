"""The page's tables as plain values: what stands in every cell, before any HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from retrieval_bench.moment_points import HEADLINE
from retrieval_bench.naming import is_moment
from retrieval_bench.report import text
from retrieval_bench.report.break_even import COST, break_even, hint
from retrieval_bench.report.columns import tail
from retrieval_bench.report.families import COLOURS, NOT_RANKED, by_family, functional
from retrieval_bench.report.figure import pareto_front, ranked
from retrieval_bench.report.rows import (
    Row,
    depth,
    distinct,
    effort_label,
    failed,
    interval,
    label,
    number,
    panel_name,
    point_key,
)
from retrieval_bench.search.base import Family

FULL = "full depth"  # heads metrics that have no cut-off


@dataclass(frozen=True)
class Cell:
    """A column of the page's index table: what it is called, what it means, and how a row shows it."""

    title: str
    meaning: str
    column: str
    written: Callable[[Row, str], str]

    def __call__(self, row: Row) -> str:
        """What stands in the table."""
        return self.written(row, self.column)

    def value(self, row: Row) -> str:
        """The number that lines are sorted by; nothing where there is none."""
        value = number(row, self.column)
        return f"{value:.6g}" if isfinite(value) and self(row) != text.BLANK else ""


def _quality(row: Row, column: str) -> str:
    return text.quality(*interval(row, column))


def _milliseconds(row: Row, column: str) -> str:
    return text.milliseconds(*interval(row, column))


def _count(row: Row, column: str) -> str:
    return text.count(number(row, column))


def _size(row: Row, column: str) -> str:
    return text.size(number(row, column))


def _percent(row: Row, column: str) -> str:
    value = number(row, column)
    return f"{100 * value:.3g}" if isfinite(value) else text.BLANK


def _seconds(row: Row, column: str) -> str:
    value = number(row, column)
    return f"{value:.3g}" if isfinite(value) else text.BLANK


def index_cells(metrics: Sequence[str], k: int | None) -> list[Cell]:
    """Columns of the index table.

    Args:
        metrics: those that are shown through the index.
        k: depth of the lists; none where nothing was measured.
    """
    judged = []
    for metric in metrics:
        judged += [
            Cell(f"{metric} exact", "the encoder's own, with exact search", f"exact_{metric}", _quality),
            Cell(f"{metric} via index", "what a user of this index gets", metric, _quality),
            Cell("ANN loss", "the difference of the two", f"ann_loss_{metric}", _quality),
        ]
    return [
        Cell(f"ann_recall@{k or 'k'}", "overlap with exact search", "ann_recall", _quality),
        *judged,
        Cell("p50 ms", "median of single queries, one thread", "latency_p50_ms", _milliseconds),
        Cell("p95 ms", "of single queries", "latency_p95_ms", tail),
        Cell("p99 ms", "of single queries", "latency_p99_ms", tail),
        Cell("QPS single", "one query at a time, one thread", "qps_single", _count),
        Cell("QPS batch", "all queries at once, all threads", "qps_batch", _count),
        Cell("QPS clients", "closed loop of concurrent clients", "qps_clients", _count),
        Cell("p99 clients, ms", "closed loop of concurrent clients", "clients_p99_ms", _milliseconds),
        Cell("scanned %", "vectors scored, of the gallery", "candidate_fraction", _percent),
        Cell("empty %", "queries without any answer", "empty_rate", _percent),
        Cell("build s", "seconds to build", "build_s", _seconds),
        Cell("size", "bytes of the saved index", "index_bytes", _size),
        Cell("size an hour", "bytes of the saved index for an hour of video", "bytes_per_hour", _size),
        Cell("peak memory", "of the process, above its imports", "peak_rss_bytes", _size),
    ]


def panel(group: Sequence[Row], metrics: Sequence[str], halves: tuple[Sequence[Row], Sequence[Row]]) -> dict[str, Any]:
    """One stage and depth: families, their rows and cells; columns that are empty everywhere are left out.

    Args:
        group: rows of all queries. metrics: label metrics, of which the first that this depth has is shown, or
            those of moments that tell most.
        halves: rows of the tuning and of the reporting half.
    """
    known = [name for name in metrics if any(isfinite(number(row, name)) for row in group)]
    headline = [name for name in HEADLINE if name in known]
    shown = [
        cell
        for cell in index_cells(headline or known[:1], depth(group))
        if any(cell(row) != text.BLANK for row in group) and not (cell.title == "empty %" and _never(group))
    ]
    front = {id(row) for row in pareto_front(ranked(group, COST), "ann_recall", COST)}
    families = []
    for kind, rows in by_family(group):
        first = {id(next(row for row in rows if label(row) == name)) for name in distinct(rows, "label")}
        lines = [_index_line(row, shown) | {"again": id(row) not in first, "front": id(row) in front} for row in rows]
        families.append({"name": str(kind), "colour": COLOURS[kind], "rows": lines})
    return {
        "name": panel_name(group),
        "cells": shown,
        "families": families,
        "hint": hint(break_even(*halves)),
        "aside": any(functional(row) for row in group),
        "moments": encoder_part(group, [name for name in known if is_moment(name)]),
    }


def _index_line(row: Row, shown: Sequence[Cell]) -> dict[str, Any]:
    """What a line of the index table holds, and the numbers that it is sorted by."""
    effort = number(row, "effort")
    return {
        "index": label(row),
        "effort": "failed" if failed(row) else effort_label(row),
        "failed": failed(row),
        "aside": NOT_RANKED if functional(row) else "",
        "point": point_key(row),
        "value": f"{effort:g}" if isfinite(effort) else "",
        "numbers": ["" if failed(row) else cell.value(row) for cell in shown],
        "cells": [text.BLANK if failed(row) else cell(row) for cell in shown],
    }


def _never(group: Sequence[Row]) -> bool:
    return not any(number(row, "empty_rate") > 0 for row in group)


def encoder_part(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, Any]:
    """Label metrics with exact search: a line a metric, and for every stage a column a cut-off.

    More than two stages side by side would not fit on a page: then there is a line a metric and cut-off.
    """
    stages = distinct(rows, "stage")
    best = {stage: [row for row in rows if row["stage"] == stage and not failed(row)] for stage in stages}
    if len(stages) > 2:
        lines = [(name, [_exact(best[stage], name, metrics) for stage in stages]) for name in metrics]
        return {"stages": stages, "cuts": [""], "lines": lines}
    kinds = list(dict.fromkeys(name.partition("@")[0] for name in metrics))
    cuts = sorted({name.partition("@")[2] for name in metrics}, key=lambda cut: (not cut, int(cut or 0)))
    lines = [
        (kind, [_exact(best[stage], f"{kind}@{cut}" if cut else kind, metrics) for stage in stages for cut in cuts])
        for kind in kinds
    ]
    return {"stages": stages, "cuts": [f"@{cut}" if cut else FULL for cut in cuts], "lines": lines}


def _exact(rows: Sequence[Row], name: str, metrics: Sequence[str]) -> str:
    """Blank where there is no such metric, a dash where it was not measured."""
    column = f"exact_{name}"
    known = next((row for row in rows if isfinite(number(row, column))), None)
    return text.quality(*interval(known, column)) if known else text.BLANK if name in metrics else ""


def chosen(choices: Sequence[Mapping[str, Any]], rows: Sequence[Row], stage: str) -> list[dict[str, Any]]:
    """What a target led to, a table a target and depth: of each index the effort and its numbers, fastest first.

    Args:
        choices: as in the record's facts of this stage.
        rows: operating points of the half that efforts were not chosen on.
    """
    here = [row for row in rows if row["stage"] == stage and not failed(row)]
    tables = []
    for target, k in dict.fromkeys((choice["target"], choice["k"]) for choice in choices):
        at_k = [row for row in here if number(row, "k") == k]
        pairs = [(row, None) for row in at_k if number(row, "exact") > 0]
        own = [choice for choice in choices if (choice["target"], choice["k"]) == (target, k)]
        pairs += [(row, choice) for choice in own for row in at_k if _is(row, choice)]  # type: ignore[misc]
        flat = sorted(
            (row for row, choice in pairs if choice is None), key=lambda row: row.get("family") != Family.EXACT
        )
        exact = number(flat[0], COST) if flat else float("nan")  # ours; a database's FLAT only where there is no other
        pairs.sort(
            key=lambda pair: (functional(pair[0]), pair[1] is not None and not pair[1]["reached"], _cost(pair[0]))
        )
        lines = [_choice_line(row, choice, exact) for row, choice in pairs]
        tables.append({"target": target, "k": k, "stage": stage, "lines": lines})
    return tables


def _cost(row: Row) -> float:
    cost = number(row, COST)
    return cost if isfinite(cost) else float("inf")


def _is(row: Row, choice: Mapping[str, Any]) -> bool:
    same = row["index"] == choice["index"] and row.get("index_params") == choice["index_params"]
    return bool(same and number(row, "effort") == choice["effort"])


def _choice_line(row: Row, choice: Mapping[str, Any] | None, exact: float) -> dict[str, Any]:
    cost = number(row, COST)
    times = exact / cost if cost > 0 else float("nan")
    reached = choice is None or bool(choice["reached"])
    return {
        "index": label(row),
        "effort": effort_label(row),
        "reached": reached,
        "aside": NOT_RANKED if functional(row) else "",
        "cells": [
            "exact" if choice is None else "met" if reached else "missed",
            _quality(row, "ann_recall"),
            _milliseconds(row, COST),
            f"{times:.3g} ×" if isfinite(times) and not functional(row) else text.BLANK,
            _count(row, "qps_single"),
            _percent(row, "candidate_fraction"),
        ],
    }
