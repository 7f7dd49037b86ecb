"""From which gallery size an index beats exact search: an estimate from one measured size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

from retrieval_bench.report.families import functional
from retrieval_bench.report.rows import POINT, Row, best_of, effort_label, failed, label, number

COST = "latency_p50_ms"


@dataclass(frozen=True)
class BreakEven:
    """Exact search beside the fastest index that finds enough of the true neighbours.

    Attributes:
        n: gallery size that was measured. exact_ms, index_ms: p50 of a single query, floor included.
        index: name and effort of that index; ann_recall: what it finds.
        size: estimated gallery size from which the index is faster; infinite if it is no faster than the floor allows.
    """

    n: int
    exact_ms: float
    index_ms: float
    index: str
    ann_recall: float
    size: float


def break_even(tune: Sequence[Row], report: Sequence[Row], recall: float = 0.95) -> BreakEven | None:
    """Compare exact search with the fastest index of at least this ann_recall, at one stage and depth.

    Args:
        tune: rows of the half of the queries on which index and effort are chosen.
        report: rows of the other half, whose numbers are given. Both the same where queries were not split.
        recall: the least ann_recall of the index.

    The estimate: what exact search takes above the floor grows in proportion to the gallery; the index's time stays.
    An index's time does grow a little, so the true size is somewhat larger.

    Returns:
        None where exact search or a good enough index was not measured.
    """
    good = [row for row in tune if row["index"] != "exact" and number(row, "ann_recall") >= recall and _ranked(row)]
    chosen = best_of(good, COST)
    exact = best_of([row for row in report if row["index"] == "exact" and not failed(row)], COST)
    if exact is None or chosen is None:
        return None
    fastest = best_of(
        [row for row in report if all(str(row.get(name)) == str(chosen.get(name)) for name in POINT)], COST
    )
    if fastest is None:
        return None
    above = [_above_floor(exact), _above_floor(fastest)]
    n = int(number(exact, "n_gallery"))
    return BreakEven(
        n=n,
        exact_ms=number(exact, COST),
        index_ms=number(fastest, COST),
        index=" ".join(filter(None, (label(fastest), effort_label(fastest)))),
        ann_recall=number(fastest, "ann_recall"),
        size=n * above[1] / above[0] if above[0] > 0 else inf,
    )


def _ranked(row: Row) -> bool:
    return not failed(row) and not functional(row)


def _above_floor(row: Row) -> float:
    floor = number(row, "latency_floor_ms")
    return max(0.0, number(row, COST) - (floor if isfinite(floor) else 0.0))


def round_size(value: float) -> str:
    """An estimate with two significant digits.

    >>> round_size(23_456.0), round_size(87.4)
    ('23,000', '87')
    """
    return f"{float(f'{value:.2g}'):,.0f}"


def hint(found: BreakEven | None, recall: float = 0.95) -> str:
    """The break-even in words."""
    if found is None:
        return (
            f"No break-even to tell: it takes `exact` and an index of ann_recall ≥ {recall:g};"
            " type search=[exact,hnsw], or higher efforts."
        )
    times = found.exact_ms / found.index_ms
    factor = round_size(times) if times >= 10 else f"{times:.2g}"
    beside = f"{found.index} (ann_recall {found.ann_recall:.3f}) takes {found.index_ms:.3g} ms"
    if times <= 1:
        pays = f" Estimate: an index pays from about {round_size(found.size)} vectors." if isfinite(found.size) else ""
        return (
            f"A gallery of {found.n:,} needs no index: exact search takes {found.exact_ms:.3g} ms a query,"
            f" while {beside}.{pays}"
        )
    same = (
        f" Estimate: below about {round_size(found.size)} vectors exact search is as fast." if found.size >= 10 else ""
    )
    return (
        f"At {found.n:,} vectors an index is {factor} × as fast as exact search ({found.exact_ms:.3g} ms a query)"
        f" at ann_recall ≥ {recall:g}: {beside}." + same
    )
