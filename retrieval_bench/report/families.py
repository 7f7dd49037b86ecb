"""Families of indexes: how tables are grouped and figures coloured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.colors import to_hex, to_rgb

from retrieval_bench.report.rows import Row, distinct, label, number
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
MARKERS = "os^Dv*PX<>ph"
SHADES = (0.0, -0.38, 0.42, -0.62, -0.2)  # of one family's indexes: to black where negative, to white where positive
NOT_RANKED = "†"


@dataclass(frozen=True)
class Style:
    """How an index is drawn: its family's colour in a shade of its own, and a marker."""

    colour: str
    marker: str


def family(row: Row) -> Family:
    """The family of a row's index; `other` where an older version wrote none.

    >>> family({"family": "graph"}), family({"family": None})
    (<Family.GRAPH: 'graph'>, <Family.OTHER: 'other'>)
    """
    value = row.get("family")
    return Family(value) if isinstance(value, str) and value in set(Family) else Family.OTHER


def functional(row: Row) -> bool:
    """Whether the row shows that a backend works, and not how fast it can be: its latency is never ranked.

    >>> functional({"functional": True}), functional({"functional": None}), functional({})
    (True, False, False)
    """
    return number(row, "functional") > 0


def by_family(rows: Sequence[Row]) -> list[tuple[Family, list[Row]]]:
    """Families in their fixed order, each with its rows in the order given."""
    groups = [(one, [row for row in rows if family(row) is one]) for one in Family]
    return [(one, members) for one, members in groups if members]


def shade(colour: str, towards: float) -> str:
    """A colour mixed with black (down to -1) or white (up to 1).

    >>> shade("#0072B2", 0.0), shade("#0072B2", -1.0), shade("#808080", 1.0)
    ('#0072b2', '#000000', '#ffffff')
    """
    end = 1.0 if towards > 0 else 0.0
    red, green, blue = (part + abs(towards) * (end - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))


def styles(rows: Sequence[Row]) -> Mapping[str, Style]:
    """Label → style, in the order of families. Neighbours in a family never share a shade or a marker."""
    found: dict[str, Style] = {}
    for kind, members in by_family(rows):
        for i, index in enumerate(distinct(({"label": label(row)} for row in members), "label")):
            # Black has no darker shades: further exact indexes are greys.
            towards = abs(SHADES[i % len(SHADES)]) if kind is Family.EXACT else SHADES[i % len(SHADES)]
            found[index] = Style(shade(COLOURS[kind], towards), MARKERS[len(found) % len(MARKERS)])
    return found
