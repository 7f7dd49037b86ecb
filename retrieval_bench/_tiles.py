"""Compiled inner loops of `nearest.py`: the best candidates so far, and the scan of tiles of scores for better ones.

Compiled on first use (cached on disk), never at import. Indices are unsigned where a loop must become vector
instructions: numba's wrap-around of negative indices keeps the compiler from doing so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import uintp
from numpy.typing import NDArray

from retrieval_bench._compiled import njit

SPAN = 64  # columns compared with the limit at once
SORTED = 64  # candidates are kept in order up to this number; more are cut now and then


class Best(NamedTuple):
    """The best candidates so far of m searches, unordered.

    `values` and `rows` are [m, capacity]; a full line is cut to its best `keep`, and `limits`, `limit_rows` then hold
    the worst of those. Better means a larger value, and the smaller row among equal values: a total order, so the
    outcome does not depend on the order in which candidates arrive.
    """

    values: NDArray[np.floating]
    rows: NDArray[np.int32]
    counts: NDArray[np.int32]
    limits: NDArray[np.floating]
    limit_rows: NDArray[np.int32]
    keep: int


def empty_best(searches: int, keep: int, n: int, dtype: type[np.floating]) -> Best:
    """Nothing found yet: `keep` candidates for each of so many searches among n rows."""
    capacity = keep if keep <= SORTED or keep == n else 2 * keep
    return Best(
        np.empty((searches, capacity), dtype),
        np.empty((searches, capacity), np.int32),
        np.zeros(searches, np.int32),
        np.full(searches, -np.inf, dtype),
        np.full(searches, np.iinfo(np.int32).max, np.int32),
        keep,
    )


@njit(nogil=True, cache=True)
def _cut(values, rows, size, keep):  # type: ignore[no-untyped-def]
    """Quickselect: afterwards the first `keep` are the best and the last of them is the worst of these."""
    low, high = 0, size - 1
    while low < high:
        middle = (low + high) // 2
        value, row = values[middle], rows[middle]
        i, j = low, high
        while i <= j:
            while values[i] > value or (values[i] == value and rows[i] < row):
                i += 1
            while values[j] < value or (values[j] == value and rows[j] > row):
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                rows[i], rows[j] = rows[j], rows[i]
                i += 1
                j -= 1
        if keep - 1 <= j:
            high = j
        elif keep - 1 >= i:
            low = i
        else:
            break


@njit(nogil=True, cache=True)
def consider(best, search, value, row):  # type: ignore[no-untyped-def]
    """Take a candidate if it is better than the limit."""
    limit = best.limits[search]
    if value < limit or (value == limit and row >= best.limit_rows[search]):
        return
    values, rows, i = best.values, best.rows, uintp(search)  # by index: a slice is as dear as the rest
    count, keep = best.counts[i], best.keep
    if keep <= SORTED:
        place = uintp(0)
        for j in range(uintp(count)):  # counted, because a search along the line mispredicts its end
            better = (values[i, j] > value) | ((values[i, j] == value) & (rows[i, j] < row))
            place += uintp(better)
        at = uintp(min(count, keep - 1))
        while at > place:
            values[i, at], rows[i, at] = values[i, at - uintp(1)], rows[i, at - uintp(1)]
            at -= uintp(1)
        values[i, place], rows[i, place] = value, row
        count = min(count + 1, keep)
        if count == keep:
            best.limits[i], best.limit_rows[i] = values[i, keep - 1], rows[i, keep - 1]
    else:
        values[i, count], rows[i, count] = value, row
        count += 1
        if count == values.shape[1]:
            _cut(values[i], rows[i], count, keep)
            count = keep
            best.limits[i], best.limit_rows[i] = values[i, keep - 1], rows[i, keep - 1]
    best.counts[i] = count


@njit(nogil=True, cache=True)
def scan_rows(tile, half, first, best, start):  # type: ignore[no-untyped-def]
    """Offer tile[i, j] - half[j], whose gallery row is first + j, to search start + i."""
    m, c = tile.shape
    flat = tile.reshape(m * c)
    columns = np.empty(SPAN, np.int32)
    for i in range(m):
        search = start + i
        for b in range(0, c, SPAN):
            limit = best.limits[search]
            width = uintp(min(SPAN, c - b))
            cell, column = uintp(i * c + b), uintp(b)
            some = False
            for j in range(width):
                some |= flat[cell + j] - half[column + j] >= limit
            if some:
                found = uintp(0)
                for j in range(width):  # no branch to mispredict
                    columns[found] = b + j
                    found += uintp(flat[cell + j] - half[column + j] >= limit)
                for j in columns[:found]:
                    consider(best, search, tile[i, j] - half[j], first + j)


@njit(nogil=True, cache=True)
def scan_columns(tile, half, first, best, start):  # type: ignore[no-untyped-def]
    """Offer tile[i, j] - half[i], whose gallery row is first + i, to search start + j."""
    m, c = tile.shape
    flat = tile.reshape(m * c)
    columns = np.empty(SPAN, np.int32)
    for i in range(m):
        shift = half[i]
        for b in range(0, c, SPAN):
            width = uintp(min(SPAN, c - b))
            cell, column = uintp(i * c + b), uintp(start + b)
            some = False
            for j in range(width):
                some |= flat[cell + j] - shift >= best.limits[column + j]
            if some:
                found = uintp(0)
                for j in range(width):
                    columns[found] = b + j
                    found += uintp(flat[cell + j] - shift >= best.limits[column + j])
                for j in columns[:found]:
                    consider(best, start + j, tile[i, j] - shift, first + i)


@njit(nogil=True, cache=True)
def first_limits(tile, half, best, start):  # type: ignore[no-untyped-def]
    """Begin with the worst of the best `keep` among some gallery rows as limit: most of the rest is then turned away.

    Saves half of the candidates that a search would take in while it knows little. As many groups of columns as are
    kept have as many best scores, so their worst is a limit already; what reaches it is sorted out.
    """
    m, c = tile.shape
    keep = best.keep
    if c <= 2 * keep:
        return
    width = c // keep
    scores, reach, places = np.empty(c, tile.dtype), np.empty(c, tile.dtype), np.empty(c, np.int32)
    for i in range(m):
        for j in range(uintp(c)):
            scores[j] = tile[i, j] - half[j]
        bound = scores[0]
        for g in range(keep):
            most = scores[g * width]
            for j in range(uintp(g * width), uintp((g + 1) * width)):
                most = max(most, scores[j])
            bound = most if g == 0 else min(bound, most)
        found = uintp(0)
        for j in range(uintp(c)):
            reach[found], places[found] = scores[j], j
            found += uintp(scores[j] >= bound)
        _cut(reach, places, np.int64(found), keep)
        best.limits[start + i] = reach[keep - 1]


@njit(nogil=True, cache=True)
def close(best):  # type: ignore[no-untyped-def]
    """Cut every line to its best `keep`; `limits` become the worst kept, -inf where nothing was turned away."""
    keep = best.keep
    for search in range(best.counts.size):
        if best.counts[search] > keep:
            _cut(best.values[search], best.rows[search], best.counts[search], keep)
            best.counts[search] = keep
            best.limits[search] = best.values[search, keep - 1]
