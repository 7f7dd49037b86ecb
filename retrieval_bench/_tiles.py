"""Compiled inner loops of `nearest.py`: tiles of scores, exact scores of pairs, the whole search of one query.

Compiled on first use (cached on disk), never at import. Indices are unsigned where a loop must become vector
instructions: numba's wrap-around of negative indices keeps the compiler from doing so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, uintp
from numpy.typing import NDArray

SPAN = 64  # columns compared with the limit at once
SORTED = 64  # candidates are kept in order up to this number; more are cut now and then
DEEPEST = 512  # of `search_one`, which sorts by insertion


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


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def _pair(left, right, kind):  # type: ignore[no-untyped-def]
    """Score of two vectors in float64: one function, so that a pair has one score wherever it is asked for."""
    product, left_square, right_square = 0.0, 0.0, 0.0
    if kind == 2:
        for d in range(uintp(left.size)):
            difference = left[d] - np.float64(right[d])
            product += difference * difference
        return -np.sqrt(product)
    if kind == 1:
        for d in range(uintp(left.size)):
            product += left[d] * np.float64(right[d])
        return product
    for d in range(uintp(left.size)):
        x = np.float64(right[d])
        product += left[d] * x
        left_square += left[d] * left[d]
        right_square += x * x
    if left_square == 0.0 or right_square == 0.0:
        return 0.0
    return product / (np.sqrt(left_square) * np.sqrt(right_square))


@njit(nogil=True, cache=True)
def pair_scores(queries, vectors, places, kind, out):  # type: ignore[no-untyped-def]
    """out[i, j] = score of queries[i] (float64) and vectors[places[i, j]]; -inf where the place is negative.

    kind 0: cosine (0 for a zero vector), 1: dot, 2: negative euclidean distance.
    """
    for i in range(places.shape[0]):
        for j in range(places.shape[1]):
            place = places[i, j]
            out[i, j] = _pair(queries[i], vectors[place], kind) if place >= 0 else -np.inf


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _rough(query, vector, kind):  # type: ignore[no-untyped-def]
    """Score in float32 (euclidean: negative squared distance; cosine: times the query's norm)."""
    total, square = np.float32(0), np.float32(0)
    if kind == 2:
        for d in range(uintp(query.size)):
            difference = query[d] - np.float32(vector[d])
            total += difference * difference
        return -total
    for d in range(uintp(query.size)):
        x = np.float32(vector[d])
        total += query[d] * x
        square += x * x
    if kind == 0 and square > 0:
        total = total / np.sqrt(square)
    return total


@njit(nogil=True, cache=True)
def _offer_all(query, vectors, kind, best):  # type: ignore[no-untyped-def]
    """Offer every row to search 0."""
    n = vectors.shape[0]
    span = np.empty(SPAN, np.float32)
    for b in range(0, n, SPAN):
        width = min(SPAN, n - b)
        for j in range(width):
            span[j] = _rough(query, vectors[b + j], kind)
        limit = best.limits[0]
        some = False
        for j in range(uintp(width)):
            some |= span[j] >= limit
        if some:
            for j in range(width):
                if span[j] >= best.limits[0]:
                    consider(best, 0, span[j], b + j)


@njit(nogil=True, cache=True)
def search_one(query, vectors, kind, rows, scores):  # type: ignore[no-untyped-def]
    """Write the nearest rows [k] and scores [k] of one float32 query among vectors [n, dim].

    kind: see `pair_scores`. Vectors of float32 or a small integer dtype, which float32 holds exactly; k ≤ n.
    """
    k, n = rows.size, vectors.shape[0]
    keep = min(n, k + max(8, k // 8))
    capacity = keep if keep <= SORTED or keep == n else 2 * keep
    best = Best(
        np.empty((1, capacity), np.float32),
        np.empty((1, capacity), np.int32),
        np.zeros(1, np.int32),
        np.full(1, -np.inf, np.float32),
        np.full(1, np.iinfo(np.int32).max, np.int32),
        keep,
    )
    _offer_all(query, vectors, kind, best)
    close(best)
    count = best.counts[0]
    wide = query.astype(np.float64)
    values, places = np.empty(keep), np.empty(keep, np.int64)
    for c in range(count):
        place = best.rows[0, c]
        value = _pair(wide, vectors[place], kind)
        at = c
        while at > 0 and (values[at - 1] < value or (values[at - 1] == value and places[at - 1] > place)):
            values[at], places[at] = values[at - 1], places[at - 1]
            at -= 1
        values[at], places[at] = value, place
    for j in range(k):
        rows[j], scores[j] = (places[j], values[j]) if j < count else (-1, -np.inf)
