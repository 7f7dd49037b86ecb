"""Which pairs of queries and gallery vectors pass a threshold in 8 bits; for `_filter.py`."""

from __future__ import annotations

import numpy as np
from numba import uintp

from retrieval_bench._compiled import njit
from retrieval_bench._microkernel import block
from retrieval_bench._panels import BLOCK, PANEL
from retrieval_bench._simd import has_vnni


@njit(nogil=True, cache=True)
def masks_portable(rows, panels, place, side):  # type: ignore[no-untyped-def]
    """Bit j of out[p, i]: scale[j] · (codes of j · codes of i) + inverse[i] · lowered[p, j] >= threshold[p, i].

    For all rows i and `place`: the first panel and their number; `side` is (lowered [p, 64], threshold [p, 6b], out).
    """
    first, count = place
    lowered, threshold, out = side
    words, columns = rows.codes.view(np.int8), panels.codes.view(np.uint8)
    for p in range(count):
        at = first + p
        for i in range(out.shape[1]):
            out[p, i] = 0
            for j in range(PANEL):
                total = rows.begins[i]
                for s in range(columns.shape[1]):
                    for b in range(4):
                        word = np.int32(words[i // BLOCK, s, 4 * (i % BLOCK) + b])
                        total += np.int32(columns[at, s, 4 * j + b]) * word
                value = np.float32(total) * panels.scales[at, j] + rows.inverses[i] * lowered[p, j]
                if value >= threshold[p, i]:
                    out[p, i] |= np.uint64(1) << np.uint64(j)


@njit(nogil=True, cache=True)
def masks(rows, panels, place, side):  # type: ignore[no-untyped-def]
    """As `masks_portable`, by vector instruction where there is one."""
    if not has_vnni():  # type: ignore[call-arg]
        masks_portable(rows, panels, place, side)
        return
    for p in range(uintp(place[1])):
        for b in range(uintp(rows.codes.shape[0])):
            block((*_codes(rows, panels, place[0] + p, b), *_side(side, p, b)))


@njit(nogil=True, cache=True)
def masks_of_both(rows, panels, place, sides):  # type: ignore[no-untyped-def]
    """As `masks` for two sides, for the price of one product."""
    if not has_vnni():  # type: ignore[call-arg]
        masks_portable(rows, panels, place, sides[0])
        masks_portable(rows, panels, place, sides[1])
        return
    for p in range(uintp(place[1])):
        for b in range(uintp(rows.codes.shape[0])):
            block((*_codes(rows, panels, place[0] + p, b), *_side(sides[0], p, b), *_side(sides[1], p, b)))


@njit(nogil=True, cache=True, inline="always")
def _codes(rows, panels, panel, block):  # type: ignore[no-untyped-def]
    """Addresses, by arithmetic: slices of arrays would cost as much as a tenth of the products."""
    steps = uintp(rows.codes.shape[1])
    return (
        uintp(panels.codes.ctypes.data) + uintp(panel) * steps * uintp(4 * PANEL),
        uintp(rows.codes.ctypes.data) + uintp(block) * steps * uintp(4 * BLOCK),
        steps,
        uintp(rows.begins.ctypes.data) + uintp(block) * uintp(4 * BLOCK),
        uintp(panels.scales.ctypes.data) + uintp(panel) * uintp(4 * PANEL),
        uintp(rows.inverses.ctypes.data) + uintp(block) * uintp(4 * BLOCK),
    )


@njit(nogil=True, cache=True, inline="always")
def _side(side, p, block):  # type: ignore[no-untyped-def]
    cell = uintp(p) * uintp(side[1].shape[1]) + uintp(block) * uintp(BLOCK)
    return (
        uintp(side[0].ctypes.data) + uintp(p) * uintp(4 * PANEL),
        uintp(side[1].ctypes.data) + uintp(4) * cell,
        uintp(side[2].ctypes.data) + uintp(8) * cell,
    )
