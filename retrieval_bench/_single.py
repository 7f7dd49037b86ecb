"""The exact search of one query, compiled as a whole: no tiles, threads or arrays around the product."""

from __future__ import annotations

import numpy as np
from numba import njit, uintp

from retrieval_bench._tiles import SPAN, Best, _consider, _pair, close

DEEPEST = 512  # the kept candidates are sorted by insertion


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _rough(query, vector, kind):  # type: ignore[no-untyped-def]
    """Score in float32 (euclidean: negative squared distance; cosine: times the query's norm), and the squared norm."""
    total, square = np.float32(0), np.float32(0)
    if kind == 2:
        for d in range(uintp(query.size)):
            difference = query[d] - np.float32(vector[d])
            total += difference * difference
        return -total, square
    for d in range(uintp(query.size)):
        x = np.float32(vector[d])
        total += query[d] * x
        square += x * x
    if kind == 0 and square > 0:
        total = total / np.sqrt(square)
    return total, square


@njit(nogil=True, cache=True)
def _offer_all(query, vectors, kind, best):  # type: ignore[no-untyped-def]
    """Offer every row to search 0; the largest squared norm."""
    n = vectors.shape[0]
    span = np.empty(SPAN, np.float32)
    largest = np.float32(0)
    for b in range(0, n, SPAN):
        width = min(SPAN, n - b)
        for j in range(width):
            span[j], square = _rough(query, vectors[b + j], kind)
            largest = max(largest, square)
        limit = best.limits[0]
        some = False
        for j in range(uintp(width)):
            some |= span[j] >= limit
        if some:
            for j in range(width):
                if span[j] >= best.limits[0]:
                    _consider(best, 0, span[j], b + j)
    return largest


@njit(nogil=True, cache=True)
def _proven(query, kind, kth, limit, largest):  # type: ignore[no-untyped-def]
    """Whether the k-th exact score is beyond whatever was turned away, by the rounding bound of `_rough`."""
    unit = (query.size + 8) * 2.0**-23
    if kind == 2:
        return -limit > 1e-30 and kth * kth < -limit * (1 - unit)
    norm = 0.0
    for d in range(query.size):
        norm += np.float64(query[d]) * np.float64(query[d])
    norm = np.sqrt(norm)
    if kind == 1:
        return kth > limit + unit * norm * np.sqrt(largest) * (1 + unit) + 1e-30
    return norm > 1e-12 and kth * norm > limit + 2 * unit * norm


@njit(nogil=True, cache=True)
def search_one(query, vectors, kind, rows, scores):  # type: ignore[no-untyped-def]
    """Write the nearest rows [k] and scores [k] of one float32 query among vectors [n, dim]; whether they are proven.

    kind: see `pair_scores`. Vectors of float32 or a small integer dtype, which float32 holds exactly; k ≤ n.
    """
    k, n = rows.size, vectors.shape[0]
    keep = min(n, k + max(8, k // 8))
    capacity = n if keep == n else 2 * keep
    best = Best(
        np.empty((1, capacity), np.float32),
        np.empty((1, capacity), np.int32),
        np.zeros(1, np.int32),
        np.full(1, -np.inf, np.float32),
        np.full(1, np.iinfo(np.int32).max, np.int32),
        keep,
    )
    largest = _offer_all(query, vectors, kind, best)
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
    if count < k:
        return False
    for j in range(k):
        rows[j], scores[j] = places[j], values[j]
    return keep == n or _proven(query, kind, values[k - 1], np.float64(best.limits[0]), np.float64(largest))
