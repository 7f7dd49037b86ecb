"""Compiled scores of single pairs for `nearest.py`: exact ones, and rough ones in the whole search of one query."""

from __future__ import annotations

import numpy as np
from numba import uintp

from retrieval_bench._compiled import njit
from retrieval_bench._tiles import SORTED, SPAN, Best, close, consider

DEEPEST = 512  # of `search_one`, which sorts by insertion


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
