"""Which gallery rows could still be among the best, told from 8-bit products; for `nearest.py`.

A product of bytes costs a quarter of one of float32. It is compared with the limit of its query, lowered by the bound
of `_panels.py`: what does not pass is surely worse than the limit, what passes gets its float32 score and is offered as
ever. So the answer is that of the float32 product, and so is its proof.
"""

from __future__ import annotations

import numpy as np
from numba import types, uintp
from numba.extending import intrinsic

from retrieval_bench._compiled import njit
from retrieval_bench._masks import masks, masks_of_both
from retrieval_bench._panels import PANEL
from retrieval_bench._simd import has_vnni
from retrieval_bench._thresholds import SPAN, set_limits, set_thresholds
from retrieval_bench._tiles import consider

DENSE = 16  # where more than every 16th passes, one float32 product of all is cheaper than many of two vectors


@intrinsic
def _ones(typingctx, word):  # type: ignore[no-untyped-def]
    """Bits set in a uint64."""
    return types.uint64(types.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


@intrinsic
def _lowest(typingctx, word):  # type: ignore[no-untyped-def]
    """Place of the lowest bit set in a uint64."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], context.get_constant(types.boolean, False))

    return types.uint64(types.uint64), generate


@njit(nogil=True, cache=True)
def available():  # type: ignore[no-untyped-def]
    """Whether this processor has the instruction that makes the filter worth its while."""
    return has_vnni()  # type: ignore[call-arg]


def worth_while(queries: int, n: int, dim: int, keep: int) -> bool:
    """Whether to round a gallery to 8 bits for these many queries; sums of codes must fit into 32 bits."""
    return queries >= 32 and n >= 4 * SPAN and 8 <= dim <= 1 << 14 and keep * DENSE <= n and bool(available())


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _product(left, i, right, j):  # type: ignore[no-untyped-def]
    """left[i] · right[j], by index: a slice costs a fifth of the product."""
    total = np.float32(0)
    for d in range(uintp(left.shape[1])):
        total += left[uintp(i), d] * right[uintp(j), d]
    return total


@njit(nogil=True, cache=True)
def _count(masks, count):  # type: ignore[no-untyped-def]
    total = uintp(0)
    for p in range(count):
        for i in range(masks.shape[1]):
            total += _ones(masks[p, i])  # type: ignore[call-arg]
    return total


@njit(nogil=True, cache=True)
def scan_filtered(rows, panels, best, places, scratch):  # type: ignore[no-untyped-def]
    """Offer what passes to the searches from `start` on; `places` is (start, slab vectors column to last, origin).

    `origin` is the gallery row of the slab's first vector.

    Returns:
        how far it came: short of `last` where too much passes.
    """
    start, column, last, origin = places
    m = rows.vectors.shape[0]
    limits = best.limits[start : start + m]
    for first in range(column, last, SPAN):
        width = min(SPAN, last - first)
        place = (first // PANEL, (width + PANEL - 1) // PANEL)
        set_thresholds(rows, panels, place, (limits, scratch.thresholds), panels.heights[place[0] :])
        masks(rows, panels, place, (panels.halves[place[0] :], scratch.thresholds, scratch.masks))
        if _count(scratch.masks, place[1]) * DENSE > m * width:
            return first
        offer_rows(rows, panels, best, (start, first, last, origin), scratch)
    return last


@njit(nogil=True, cache=True)
def offer_rows(rows, panels, best, places, scratch):  # type: ignore[no-untyped-def]
    """Offer the slab vectors that pass, from `first` on, to the searches from `start` on."""
    start, first, last, origin = places
    for p in range((min(SPAN, last - first) + PANEL - 1) // PANEL):
        for i in range(rows.vectors.shape[0]):
            mask = scratch.masks[p, i]
            while mask:
                j = first + p * PANEL + np.int64(_lowest(mask))  # type: ignore[call-arg]
                mask &= mask - np.uint64(1)
                value = _product(rows.vectors, i, panels.vectors, j) - panels.half[j]
                if value >= best.limits[start + i]:
                    consider(best, start + i, value, origin + j)


@njit(nogil=True, cache=True)
def mask_both(rows, panels, best, places, scratch):  # type: ignore[no-untyped-def]
    """Masks of both sides for rows from `start` on and vectors from `first` on, of a slab that is all of the gallery.

    Returns:
        whether so few pass that offering them is worth while.
    """
    start, first, last, _ = places
    m, width = rows.vectors.shape[0], last - first
    place = (first // PANEL, (width + PANEL - 1) // PANEL)
    limits, half = best.limits[start : start + m], panels.half[start : start + m]
    set_thresholds(rows, panels, place, (limits, scratch.thresholds), panels.heights[place[0] :])
    set_limits(best.limits, first, scratch)
    set_thresholds(rows, panels, place, (half, scratch.other_thresholds), scratch.heights)
    one = (panels.halves[place[0] :], scratch.thresholds, scratch.masks)
    other = (scratch.limits, scratch.other_thresholds, scratch.other_masks)
    masks_of_both(rows, panels, place, (one, other))
    found = _count(scratch.masks, place[1]) + _count(scratch.other_masks, place[1])
    return found * DENSE <= 2 * m * width


@njit(nogil=True, cache=True)
def offer_columns(rows, panels, best, places, scratch):  # type: ignore[no-untyped-def]
    """Offer the rows that pass to the searches that the slab vectors from `first` on are."""
    start, first, last, _ = places
    for p in range((min(SPAN, last - first) + PANEL - 1) // PANEL):
        for i in range(rows.vectors.shape[0]):
            mask = scratch.other_masks[p, i]
            while mask:
                j = first + p * PANEL + np.int64(_lowest(mask))  # type: ignore[call-arg]
                mask &= mask - np.uint64(1)
                value = _product(rows.vectors, i, panels.vectors, j) - panels.half[start + i]
                if value >= best.limits[j]:
                    consider(best, j, value, start + i)
