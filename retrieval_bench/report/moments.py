"""Moments in tables: metrics through each index beside those by exact lists, and by the length of the moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

from rich.table import Table

from retrieval_bench.moment_points import HEADLINE
from retrieval_bench.moment_truth import MomentLength
from retrieval_bench.report import text
from retrieval_bench.report.columns import metric_table
from retrieval_bench.report.rows import Row, depth, failed, interval, number, panels
from retrieval_bench.report.video import per_hour
from retrieval_bench.search.base import Family

BY_LENGTH = ("moment_hit_rate_iou0.5_{}@1", "moment_average_precision_{}")
EXACT = "exact lists"  # in place of an index


def asked(rows: Sequence[Row]) -> int:
    """How many moment queries there are; 0 where single vectors are searched."""
    return int(max((n for row in rows if isfinite(n := number(row, "n_moments"))), default=0))


def told_sizes(row: Row) -> str:
    """Queries and gallery in words.

    >>> told_sizes({"n_queries": 1300, "n_gallery": 2000, "n_moments": 72})
    '72 queries of 1,300 windows × 2,000 gallery windows'
    >>> told_sizes({"n_queries": 5, "n_gallery": 9})
    '5 queries × 9 gallery'
    """
    queries, gallery, moments = (text.count(number(row, name)) for name in ("n_queries", "n_gallery", "n_moments"))
    return f"{moments} queries of {queries} windows × {gallery} gallery windows" if asked([row]) else (
        f"{queries} queries × {gallery} gallery"
    )  # fmt: skip


def by_exact_lists(row: Row) -> Row:
    """A row that shows, as if through an index, what exact lists of its depth give."""
    own = {name.removeprefix("exact_"): value for name, value in row.items() if name.startswith("exact_")}
    kind = {"label": EXACT, "index": EXACT, "family": str(Family.EXACT), "functional": False}
    return {**row, **own, **kind, "effort": None, "knob": None}


def moment_table(group: Sequence[Row], width: int) -> Table:
    """The moment metrics of one stage and depth: exact lists first, then a line an operating point."""
    rows = [row for row in group if not failed(row)]
    names = [name for name in HEADLINE if any(isfinite(number(row, name)) for row in rows)]
    return metric_table([by_exact_lists(rows[0]), *rows], names, width)


def moment_remarks(rows: Sequence[Row]) -> Iterator[str]:
    """By the length of the moment; and what the times and sizes of a run over moments hold.

    Args:
        rows: operating points of all queries.
    """
    measured = [row for row in rows if not failed(row)]
    if not asked(measured):
        return
    for group in panels(measured):
        for pattern in BY_LENGTH:
            found = []
            for length in MomentLength:
                value = interval(group[0], f"exact_{pattern.format(length)}")
                if isfinite(value[0]):
                    found.append(f"{length} {text.quality(*value)}")
            if found:
                where = f"{group[0]['stage']}, k = {depth(group)}, exact lists"
                yield f"{pattern.format('…')} ({where}): {', '.join(found)}."
    kept = max((n for row in measured if isfinite(n := number(row, "rerank_bytes"))), default=0.0)
    if kept:
        yield (
            f"The re-rank reads the gallery's vectors beside any index: {text.size(kept)}, mapped from their file, in"
            " neither its size nor its peak memory."
        )
    yield "QPS batch, scanned and empty count windows, without voting; QPS single and clients count whole queries."


def meaning(rows: Sequence[Row]) -> tuple[str, str, str]:
    """What is timed, what the floor is, and what is done on top, in words."""
    if asked(rows):
        return (
            "one query at a time (all its windows, voting and re-rank)",
            "an index that does nothing, its answers voted on like any",
            "reading and encoding one query (all its windows)",
        )
    on_top = "reading and encoding one query" if per_hour(rows) else "encoding one query"
    return "one query at a time", "an index that does nothing", on_top
