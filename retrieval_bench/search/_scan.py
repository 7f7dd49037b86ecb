"""From the buckets of a query to its neighbours: sketches sieve what the buckets hold, the best are scored exactly."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit, types, uintp
from numba.extending import overload
from numpy.typing import NDArray

from retrieval_bench._simd import dot_u8, squared_u8
from retrieval_bench.search._bits import BLOCK, at_most, lowest_bit, popcount, prefetch

SORTED = 64  # depths up to this keep their list sorted
AHEAD = 8  # vectors asked for before they are scored
LINE = 64  # bytes
WORDS = (0, 1, 2, 4)  # 64-bit words of a sketch


class Store(NamedTuple):
    """The gallery as a search reads it: in the order of the buckets, so that a bucket is one stretch of memory."""

    vectors: NDArray[Any]  # [n, dim] uint8 or float32, in the order of table 0
    rows: NDArray[np.int32]  # [n]: gallery row of each vector
    places: NDArray[np.int32]  # [tables - 1, n]: vector of each entry of a further table
    sketches: NDArray[np.uint64]  # [tables, words, n], in the order of each table
    euclidean: bool
    rerank: int  # vectors scored exactly for each neighbour asked for …
    share: float  # … and this share of what the buckets hold


def _score(left: Any, right: Any, euclidean: bool) -> float:
    """Score of two vectors, larger = closer; squared distances stay negative squares."""
    raise NotImplementedError("compiled code only")


@overload(_score, jit_options={"fastmath": {"reassoc", "contract"}}, inline="never")
def _compiled_score(left, right, euclidean):  # type: ignore[no-untyped-def]
    if left.dtype is types.uint8 and right.dtype is types.uint8:

        def of_bytes(left, right, euclidean):  # type: ignore[no-untyped-def]
            return np.float64(-squared_u8(left, right) if euclidean else dot_u8(left, right))

        return of_bytes

    def of_floats(left, right, euclidean):  # type: ignore[no-untyped-def]
        total = np.float32(0)
        if euclidean:
            for d in range(uintp(left.size)):
                difference = left[d] - np.float32(right[d])
                total += difference * difference
            return -np.float64(total)
        for d in range(uintp(left.size)):
            total += left[d] * np.float32(right[d])
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
def _compare(sketches, start, asked, out):  # type: ignore[no-untyped-def]
    """out [m] = different bits between the query's sketch and those of the m vectors from `start`, at most 255."""
    words = asked.size
    if words == 2:
        first, second = sketches[0, start : start + out.size], sketches[1, start : start + out.size]
        a, b = asked[0], asked[1]
        for j in range(uintp(out.size)):
            out[j] = np.uint8(popcount(first[j] ^ a) + popcount(second[j] ^ b))
        return
    if words == 4:
        first, second = sketches[0, start : start + out.size], sketches[1, start : start + out.size]
        third, fourth = sketches[2, start : start + out.size], sketches[3, start : start + out.size]
        a, b, c, e = asked[0], asked[1], asked[2], asked[3]
        for j in range(uintp(out.size)):
            near = popcount(first[j] ^ a) + popcount(second[j] ^ b)
            far = popcount(third[j] ^ c) + popcount(fourth[j] ^ e)
            out[j] = np.uint8(min(near + far, np.uint64(255)))
        return
    for j in range(uintp(out.size)):
        out[j] = np.uint8(popcount(sketches[0, start + j] ^ asked[0])) if words == 1 else np.uint8(0)


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
def _sift(store, probes, asked, depth):  # type: ignore[no-untyped-def]
    """Places of the vectors, among those in the probed buckets, whose sketches are nearest to the query's."""
    tables, count = probes.keys.shape
    total = 0
    for t in range(tables):
        for p in range(count):
            total += probes.stops[t, p] - probes.starts[t, p]
    distances = np.empty(total + BLOCK, np.uint8)
    end = 0
    for t in range(tables):
        for p in range(count):
            start, stop = probes.starts[t, p], probes.stops[t, p]
            if stop > start:
                _compare(store.sketches[t], start, asked, distances[end : end + stop - start])
                end += stop - start
    padded = distances[: (total + BLOCK - 1) // BLOCK * BLOCK]
    padded[total:] = 255
    wanted = store.rerank * depth + int(store.share * total)
    limit = 254 if wanted >= total else _limit(padded, wanted)
    return _chosen(store, probes, padded, total, limit)


@njit(nogil=True, cache=True)
def _chosen(store, probes, distances, total, limit):  # type: ignore[no-untyped-def]
    """Places whose distance is within the limit; each once."""
    tables, count = probes.keys.shape
    address, within = uintp(distances.ctypes.data), np.uint64(0)
    for b in range(uintp(0), uintp(distances.size), uintp(BLOCK)):
        within += popcount(at_most(address + b, np.uint8(limit)))
    places = np.empty(np.int64(within), np.int32)
    found, probe, first, table = 0, -1, 0, 0
    start, end = 0, 0  # of the probe in the order of its table, and where its distances end
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
                first = end
                start = probes.starts[table, probe - table * count]
                end += probes.stops[table, probe - table * count] - start
            place = start + j - first
            places[found] = place if table == 0 else store.places[table - 1, place]
            found += 1
    if tables == 1:
        return places[:found]
    return np.unique(places[:found])


@njit(nogil=True, cache=True)
def _fetch(vectors, place):  # type: ignore[no-untyped-def]
    size = uintp(vectors.shape[1] * vectors.itemsize)
    address = uintp(vectors.ctypes.data) + uintp(place) * size
    for line in range(uintp(0), size, uintp(LINE)):
        prefetch(address + line)


@njit(nogil=True, cache=True)
def _best(query, store, places, rows, scores):  # type: ignore[no-untyped-def]
    """Score the places and write the best rows [k] and scores [k]."""
    k, count = rows.size, places.size
    values = np.empty(count if k > SORTED else k, np.float64)
    chosen = np.empty(values.size, np.int32)
    found = 0
    for i in range(min(AHEAD, count)):
        _fetch(store.vectors, places[i])
    for i in range(count):
        if i + AHEAD < count:
            _fetch(store.vectors, places[i + AHEAD])
        value = _score(query, store.vectors[places[i]], store.euclidean)
        if k > SORTED:
            values[i], chosen[i] = value, places[i]
            continue
        if found == k and value <= values[k - 1]:
            continue
        at = min(found, k - 1)
        while at > 0 and values[at - 1] < value:
            values[at], chosen[at] = values[at - 1], chosen[at - 1]
            at -= 1
        values[at], chosen[at] = value, places[i]
        found = min(found + 1, k)
    if k > SORTED:
        order = np.argsort(-values, kind="mergesort")
        values, chosen, found = values[order], chosen[order], min(k, count)
    for j in range(k):
        rows[j], scores[j] = -1, -np.inf
    for j in range(found):
        rows[j] = store.rows[chosen[j]]
        scores[j] = -np.sqrt(-values[j]) if store.euclidean else values[j]


@njit(nogil=True, cache=True)
def as_bytes(query, out):  # type: ignore[no-untyped-def]
    """out [dim] uint8 = query, if all its components are whole numbers in 0…255; else false."""
    whole = True
    for d in range(uintp(query.size)):
        value = np.int32(min(max(query[d], np.float32(0)), np.float32(255)))
        out[d] = np.uint8(value)
        whole &= np.float32(value) == query[d]
    return whole


@njit(nogil=True, cache=True)
def answer(query, projections, store, probes, rows, scores):  # type: ignore[no-untyped-def]
    """Write the rows [k] and scores [k] of one query, whose sketch are the signs of its projections [64 · words]."""
    asked = np.empty(store.sketches.shape[1], np.uint64)
    signs(projections, asked)
    places = _sift(store, probes, asked, rows.size)
    if store.vectors.itemsize == 1:
        small = np.empty(query.size, np.uint8)
        if as_bytes(query, small):
            _best(small, store, places, rows, scores)
            return
    _best(query, store, places, rows, scores)
