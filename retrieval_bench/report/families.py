"""Families of indexes: how tables are grouped and figures coloured."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval_bench.report.rows import Row
from retrieval_bench.search.base import Family

# Okabe and Ito's colours, told apart by colour-blind readers too; yellow is left out: too pale on white.
COLOURS = {
    Family.EXACT: "#000000",
    Family.GRAPH: "#0072B2",
    Family.INVERTED_LIST: "#D55E00",
    Family.QUANTISED: "#E69F00",
    Family.TREE: "#009E73",
    Family.LSH: "#CC79A7",
    Family.SERVER: "#56B4E9",
    Family.OTHER: "#7F7F7F",
}


def family(row: Row) -> Family:
    """The family of a row's index; `other` where an older version wrote none.

    >>> family({"family": "graph"}), family({"family": None})
    (<Family.GRAPH: 'graph'>, <Family.OTHER: 'other'>)
    """
    value = row.get("family")
    return Family(value) if isinstance(value, str) and value in set(Family) else Family.OTHER


def by_family(rows: Sequence[Row]) -> list[tuple[Family, list[Row]]]:
    """Families in their fixed order, each with its rows in the order given."""
    groups = [(one, [row for row in rows if family(row) is one]) for one in Family]
    return [(one, members) for one, members in groups if members]
