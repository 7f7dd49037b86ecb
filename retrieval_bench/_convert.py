"""Compiled reading of vectors for `nearest.py`: one pass over them instead of one a step."""

from __future__ import annotations

import numpy as np
from numba import uintp

from retrieval_bench._compiled import njit


@njit(nogil=True, cache=True)
def largest_bits(bits, mask):  # type: ignore[no-untyped-def]
    """Largest absolute value of a float vector seen as integers, `mask` being all but the sign.

    Positive floats and their bits have one order, and only the latter becomes vector instructions.
    """
    most = mask & 0
    for d in range(uintp(bits.size)):
        size = bits[d] & mask
        most = size if size > most else most
    return most


@njit(nogil=True, cache=True)
def extent(rows, bits, mask, whole):  # type: ignore[no-untyped-def]
    """Bits of the largest absolute component of finite vectors [n, dim], and whether all are integers.

    The latter is looked for while `whole`; `bits` are the vectors as integers, `mask` is all but the sign.
    """
    most = mask & 0
    for i in range(rows.shape[0]):
        most = max(most, largest_bits(bits[i], mask))
        if whole:
            row, fractions = rows[i], 0
            for d in range(uintp(row.size)):
                fractions += np.rint(row[d]) != row[d]
            whole = fractions == 0
    return most, whole


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def bring_rows(rows, kind, move, out, half):  # type: ignore[no-untyped-def]
    """Write vectors [n, dim] in a frame into `out`, and what a tile is lowered by for each into `half`.

    Kind 0: cosine, 1: dot, 2: euclidean; `move` is (scale, centre) of the frame. Float64 but for the rounding to `out`.

    Returns:
        the largest norm.
    """
    scale, centre = move
    largest = 0.0
    for i in range(rows.shape[0]):
        row, line = rows[i], out[i]
        length = 1.0
        if kind == 0:
            square = 0.0
            for d in range(uintp(row.size)):
                square += np.float64(row[d]) * np.float64(row[d])
            length = np.sqrt(square) if square > 0 else 1.0
        if kind == 0:
            for d in range(uintp(row.size)):
                line[d] = np.float64(row[d]) / length - centre[d]
        else:
            for d in range(uintp(row.size)):
                line[d] = np.float64(row[d]) * scale - centre[d]
        square, shift = 0.0, 0.0
        for d in range(uintp(row.size)):
            value = np.float64(line[d])
            square += value * value
            shift += value * centre[d]
        half[i] = -shift if kind == 1 else square / 2
        largest = max(largest, square)
    return np.sqrt(largest)
