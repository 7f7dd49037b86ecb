"""What an 8-bit product must reach so that a query may want the gallery vector; for `_filter.py`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import uintp
from numpy.typing import NDArray

from retrieval_bench._compiled import njit
from retrieval_bench._panels import PANEL, SLACK, Rows

SPAN = 512  # gallery vectors between two looks at the limits; what passes is counted for so many
TINY = np.float32(1e-30)  # above whatever a float32 product can lose below its smallest number
LOWEST = np.float32(-3e38)  # what a query without limit asks for; lines beyond the gallery are at -inf


class Scratch(NamedTuple):
    """What passes, for some panels and the queries of one scan; the second of each is for the other side."""

    thresholds: NDArray[np.float32]  # [panels, 6b]
    masks: NDArray[np.uint64]  # [panels, 6b], bit j = gallery vector j of the panel
    other_thresholds: NDArray[np.float32]
    other_masks: NDArray[np.uint64]
    limits: NDArray[np.float32]  # [panels, 64], of the searches that the gallery vectors are
    heights: NDArray[np.float32]  # [panels], their largest sizes


def empty_scratch(rows: Rows) -> Scratch:
    """Room for `SPAN` gallery vectors."""
    shape = (SPAN // PANEL, len(rows.begins))
    one, other = ((np.empty(shape, np.float32), np.empty(shape, np.uint64)) for _ in range(2))
    return Scratch(*one, *other, np.empty((shape[0], PANEL), np.float32), np.empty(shape[0], np.float32))


@njit(nogil=True, cache=True)
def set_thresholds(rows, panels, place, side, heights):  # type: ignore[no-untyped-def]
    """What product + inverse · (what a column is lowered by) must reach, `side` being (what for each row, out).

    `heights` are bounds on what a column is lowered by, for each panel of `place`; the bound is that of `_panels.py`.
    """
    levels, out = side
    m = uintp(levels.size)
    out[:, m:] = np.inf
    for p in range(uintp(place[1])):
        at = uintp(place[0]) + p
        rest, norm, height = panels.rests[at], panels.norms[at], SLACK * heights[p] + TINY
        line = out[p]
        for i in range(m):
            level = levels[i] - SLACK * abs(levels[i]) - height
            value = -rows.inverses[i] * level - rows.of_rests[i] * rest - rows.of_norms[i] * norm
            line[i] = value if value > LOWEST else LOWEST


@njit(nogil=True, cache=True)
def set_limits(limits, first, scratch):  # type: ignore[no-untyped-def]
    """Limits of the searches that the vectors from `first` on are; +inf, never reached, where there is none."""
    for p in range(scratch.limits.shape[0]):
        highest = np.float32(0)
        for j in range(PANEL):
            at = first + p * PANEL + j
            limit = limits[at] if at < limits.size else np.float32(np.inf)
            scratch.limits[p, j] = limit
            if abs(limit) < np.inf:
                highest = max(highest, abs(limit))
        scratch.heights[p] = highest
