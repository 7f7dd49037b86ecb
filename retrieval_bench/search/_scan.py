"""From the buckets of a query to its neighbours: sketches sieve what the buckets hold, the best are scored exactly."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import carray, types, uintp  # type: ignore[attr-defined]
from numba.extending import overload
from numpy.typing import NDArray

from retrieval_bench._compiled import njit
from retrieval_bench._simd import dot_u8, squared_u8
from retrieval_bench.search._bits import BLOCK, at_most, bytes_at, lowest_bit, popcount, prefetch

SORTED = 64  # depths up to this keep their list sorted
AHEAD = 8  # vectors asked for before they are scored
LINE = 64  # bytes
WORDS = (0, 1, 2, 4)  # 64-bit words of a sketch
FARTHEST = 254  # bits that differ, at most: 255 is padding


class Store(NamedTuple):
    """The gallery as a search reads it: in the order of the buckets, so that a bucket is one stretch of memory."""

    vectors: NDArray[Any]  # [n, dim] uint8 or float32, in the order of table 0
    rows: NDArray[np.int32]  # [n]: gallery row of each vector
    places: NDArray[np.int32]  # [tables - 1, n]: vector of each entry of a further table
    sketches: NDArray[np.uint64]  # [tables, words, n], in the order of each table
    euclidean: bool
    rerank: int  # vectors scored exactly for each neighbour asked for …
    share: float  # … and this share of what the buckets hold


def _score(query: Any, vectors: Any, place: int, euclidean: bool) -> float:
    """Score of a query and one of the vectors, larger = closer; squared distances stay negative squares."""
    raise NotImplementedError("compiled code only")


@overload(_score, jit_options={"fastmath": {"reassoc", "contract"}})
def _compiled_score(query, vectors, place, euclidean):  # type: ignore[no-untyped-def]
    if query.dtype is types.uint8 and vectors.dtype is types.uint8:

        def of_bytes(query, vectors, place, euclidean):  # type: ignore[no-untyped-def]
            size = uintp(vectors.shape[1])
            row = carray(bytes_at(uintp(vectors.ctypes.data) + uintp(place) * size), (vectors.shape[1],))
            return np.float64(-squared_u8(query, row) if euclidean else dot_u8(query, row))

        return of_bytes

    def of_floats(query, vectors, place, euclidean):  # type: ignore[no-untyped-def]
        total, at = np.float32(0), uintp(place)
        if euclidean:
            for d in range(uintp(query.size)):
                difference = query[d] - np.float32(vectors[at, d])
                total += difference * difference
            return -np.float64(total)
        for d in range(uintp(query.size)):
            total += query[d] * np.float32(vectors[at, d])
        return np.float64(total)

    return of_floats


@njit(nogil=True, cache=True)
def signs(values, words):  # type: ignore[no-untyped-def]
    """Pack the signs of values [64 · w] into words [w]."""
    for w in range(words.size):
        word = np.uint64(0)
        for b in range(64):
            word |= np.uint64(values[w * 64 + b] > 0) << np.uint64(b)
        words[w] = word


@njit(nogil=True, cache=True)
def all_signs(values, words):  # type: ignore[no-untyped-def]
    """`signs` of each row."""
    for i in range(len(values)):
        signs(values[i], words[i])


@njit(nogil=True, cache=True)
def _compare(sketches, start, asked, out, end, width):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Write to out[end:end + width] how many bits, at most FARTHEST, differ from the query's sketch from `start` on.

    sketches: [words, n] of one table. Plain loops: a view of an array costs as much as a short bucket.
    """
    words = asked.size
    at, to, wide = uintp(start), uintp(end), uintp(width)
    if words == 2:
        a, b = asked[0], asked[1]
        for j in range(wide):
            out[to + j] = np.uint8(popcount(sketches[0, at + j] ^ a) + popcount(sketches[1, at + j] ^ b))
    elif words == 4:
        a, b, c, e = asked[0], asked[1], asked[2], asked[3]
        for j in range(wide):
            near = popcount(sketches[0, at + j] ^ a) + popcount(sketches[1, at + j] ^ b)
            far = popcount(sketches[2, at + j] ^ c) + popcount(sketches[3, at + j] ^ e)
            out[to + j] = np.uint8(min(near + far, np.uint64(FARTHEST)))
    else:
        for j in range(wide):
            out[to + j] = np.uint8(popcount(sketches[0, at + j] ^ asked[0])) if words == 1 else np.uint8(0)


@njit(nogil=True, cache=True)
def _limit(distances, wanted):  # type: ignore[no-untyped-def]
    """Smallest limit that at least `wanted` of the distances (padded with 255 to whole blocks) do not exceed."""
    low, high = 0, 255
    address = uintp(distances.ctypes.data)
    while low < high:
        middle = (low + high) // 2
        count = np.uint64(0)
        for b in range(uintp(0), uintp(distances.size), uintp(BLOCK)):
            count += popcount(at_most(address + b, np.uint8(middle)))
        if count >= np.uint64(wanted):
            high = middle
        else:
            low = middle + 1
    return low


@njit(nogil=True, cache=True)
def _sift(store, spans, asked, depth):  # type: ignore[no-untyped-def]
    """Places of the vectors, among those in the probed buckets, whose sketches are nearest to the query's."""
    tables, count = spans.shape[0], spans.shape[1]
    total = 0
    for t in range(tables):
        for p in range(count):
            total += spans[t, p, 1] - spans[t, p, 0]
    distances = np.empty((total + BLOCK - 1) // BLOCK * BLOCK, np.uint8)
    end = 0
    for t in range(tables):
        sketches = store.sketches[t]
        for p in range(count):
            start, width = spans[t, p, 0], spans[t, p, 1] - spans[t, p, 0]
            if width > 0:
                _compare(sketches, start, asked, distances, end, width)
                end += width
    distances[total:] = 255
    wanted = store.rerank * depth + int(store.share * total)
    limit = FARTHEST if wanted >= total else _limit(distances, wanted)
    return _chosen(store.places, spans, distances, total, limit)


@njit(nogil=True, cache=True)
def _chosen(others, spans, distances, total, limit):  # type: ignore[no-untyped-def]
    """Places whose distance is within the limit; each once."""
    count = spans.shape[1]
    address, within = uintp(distances.ctypes.data), np.uint64(0)
    for b in range(uintp(0), uintp(distances.size), uintp(BLOCK)):
        within += popcount(at_most(address + b, np.uint8(limit)))
    places = np.empty(np.int64(within), np.int32)
    found, probe, table = 0, -1, 0
    shift, end = 0, 0  # from a number among the distances to a place in the table, and where that ends to hold
    for b in range(uintp(0), uintp(distances.size), uintp(BLOCK)):
        mask = at_most(address + b, np.uint8(limit))
        while mask:
            j = np.int64(b) + np.int64(lowest_bit(mask))
            mask &= mask - np.uint64(1)
            if j >= total:
                break
            while j >= end:
                probe += 1
                table = probe // count
                start = spans[table, probe - table * count, 0]
                shift = start - end
                end += spans[table, probe - table * count, 1] - start
            places[found] = j + shift if table == 0 else others[table - 1, j + shift]
            found += 1
    return places[:found] if spans.shape[0] == 1 else _once(places[:found])


@njit(nogil=True, cache=True)
def _once(places):  # type: ignore[no-untyped-def]
    """Each place once, in rising order."""
    places.sort()
    kept = 0
    for place in places:
        if kept == 0 or place != places[kept - 1]:
            places[kept] = place
            kept += 1
    return places[:kept]


@njit(nogil=True, cache=True)
def _fetch(address, size):  # type: ignore[no-untyped-def]
    for line in range(uintp(0), size, uintp(LINE)):
        prefetch(address + line)


@njit(nogil=True, cache=True)
def _scored(query, vectors, places, euclidean):  # type: ignore[no-untyped-def]
    """Scores [m] of the vectors at the places [m], asked for from memory before their turn."""
    count, size = places.size, uintp(vectors.shape[1] * vectors.itemsize)
    values, address = np.empty(count, np.float64), uintp(vectors.ctypes.data)
    for i in range(min(AHEAD, count)):
        _fetch(address + uintp(places[i]) * size, size)
    for i in range(count):
        if i + AHEAD < count:
            _fetch(address + uintp(places[i + AHEAD]) * size, size)
        values[i] = _score(query, vectors, places[i], euclidean)
    return values


@njit(nogil=True, cache=True)
def _best(query, store, places, rows, scores):  # type: ignore[no-untyped-def]
    """Score the places and write the best rows [k] and scores [k]."""
    k, count = rows.size, places.size
    euclidean, names = store.euclidean, store.rows
    values = _scored(query, store.vectors, places, euclidean)
    found = min(k, count)
    if k > SORTED:
        order = np.argsort(-values, kind="mergesort")
        values, places = values[order], places[order]
    else:
        for i in range(1, count):  # insertion into the k best, which stand at the front
            value, place = values[i], places[i]
            at = min(i, k)
            if at == k and value <= values[k - 1]:
                continue
            at = min(at, k - 1)
            while at > 0 and values[at - 1] < value:
                values[at], places[at] = values[at - 1], places[at - 1]
                at -= 1
            values[at], places[at] = value, place
    for j in range(found):
        rows[j] = names[places[j]]
        scores[j] = -np.sqrt(-values[j]) if euclidean else values[j]
    rows[found:] = -1
    scores[found:] = -np.inf


@njit(nogil=True, cache=True)
def as_bytes(query, out):  # type: ignore[no-untyped-def]
    """Write a query [dim] as uint8; false if its components are not all whole numbers in 0…255."""
    whole = True
    for d in range(uintp(query.size)):
        value = np.int32(min(max(query[d], np.float32(0)), np.float32(255)))
        out[d] = np.uint8(value)
        whole &= np.float32(value) == query[d]
    return whole


def _ranked(query: Any, store: Any, places: Any, rows: Any, scores: Any) -> None:
    """`_best`; of bytes in whole numbers, if the query is some."""
    raise NotImplementedError("compiled code only")


@overload(_ranked)
def _compiled_ranked(query, store, places, rows, scores):  # type: ignore[no-untyped-def]
    def of_floats(query, store, places, rows, scores):  # type: ignore[no-untyped-def]
        _best(query, store, places, rows, scores)

    def of_bytes(query, store, places, rows, scores):  # type: ignore[no-untyped-def]
        small = np.empty(query.size, np.uint8)
        if as_bytes(query, small):
            _best(small, store, places, rows, scores)
        else:
            _best(query, store, places, rows, scores)

    vectors = store.types[store.fields.index("vectors")]
    return of_bytes if vectors.dtype is types.uint8 else of_floats


@njit(nogil=True, cache=True)
def answer(query, projections, store, spans, rows, scores):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Write the rows [k] and scores [k] of one query, whose sketch are the signs of its projections [64 · words]."""
    asked = np.empty(store.sketches.shape[1], np.uint64)
    signs(projections, asked)
    _ranked(query, store, _sift(store, spans, asked, rows.size), rows, scores)
