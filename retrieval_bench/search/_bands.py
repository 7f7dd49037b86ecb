"""Banded hash tables over MinHash signatures: one table a band of r components, for rows that agree in all r.

A bucket is found by a 64-bit key. Up to r = 2 the key is the band itself. Beyond that two bands may share a key, so the
signature of the bucket's first row decides: buckets never merge, and the candidates are exactly those of a dictionary.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, uintp
from numpy.typing import NDArray

SMALLEST = 16  # slots of a table
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
EXACT_ROWS = 2  # components that fit a key


class Bands(NamedTuple):
    """The tables of L bands over n rows.

    Attributes:
        rows: [L, n] row numbers, bucket by bucket, rising within a bucket.
        slots: [slots, 2] of all tables: key, and start · 2^32 + size of the bucket in the band's `rows`; 0 = free.
        offsets: [L + 1] where each table's slots begin; their number is a power of two.
        signatures: [n, L·r] where keys need the proof, else [0, 0].
        size: r.
    """

    rows: NDArray[np.int32]
    slots: NDArray[np.uint64]
    offsets: NDArray[np.int64]
    signatures: NDArray[np.uint32]
    size: int


@njit(nogil=True, cache=True)
def band_key(signature, start, size):  # type: ignore[no-untyped-def]
    """64 bits of `size` components from `start` on."""
    key = np.uint64(signature[start])
    if size > 1:
        key = (key << np.uint64(32)) | np.uint64(signature[start + 1])
    for j in range(start + 2, start + size):
        key ^= key >> np.uint64(33)
        key *= np.uint64(0xFF51AFD7ED558CCD)
        key ^= key >> np.uint64(33)
        key ^= np.uint64(signature[j])
    return key


@njit(nogil=True, cache=True)
def _slot(key, number):  # type: ignore[no-untyped-def]
    """Where to look first among so many slots, a power of two."""
    mixed = (key ^ (key >> np.uint64(32))) * GOLDEN
    return uintp(mixed >> np.uint64(32)) & uintp(number - 1)


@njit(nogil=True, cache=True)
def _same(one, other, start, size):  # type: ignore[no-untyped-def]
    same = True
    for j in range(start, start + size):
        same &= one[j] == other[j]
    return same


@njit(nogil=True, cache=True)
def bucket(bands, band, signature):  # type: ignore[no-untyped-def]
    """Start and size, in `bands.rows[band]`, of the bucket that a signature falls into; size 0 = none."""
    first = bands.offsets[band]
    number = bands.offsets[band + 1] - first
    begin = band * bands.size
    key = band_key(signature, begin, bands.size)
    at = _slot(key, number)
    while True:
        value = bands.slots[first + at, 1]
        start, count = np.int64(value >> np.uint64(32)), np.int64(value & np.uint64(0xFFFFFFFF))
        if count == 0:
            return start, count
        if bands.slots[first + at, 0] == key and (
            bands.size <= EXACT_ROWS or _same(bands.signatures[bands.rows[band, start]], signature, begin, bands.size)
        ):
            return start, count
        at = uintp(at + 1) & uintp(number - 1)


@njit(nogil=True, cache=True)
def _number_buckets(signatures, begin, size, buckets, firsts):  # type: ignore[no-untyped-def]
    """Number the buckets of a band by first occurrence: buckets [n] of each row, firsts of each bucket; how many."""
    number, found = SMALLEST, 0
    keys, ids = np.empty(number, np.uint64), np.full(number, -1, np.int32)
    for i in range(signatures.shape[0]):
        if 2 * found >= number:  # twice as many slots, and every bucket put anew
            number *= 2
            keys, ids = np.empty(number, np.uint64), np.full(number, -1, np.int32)
            for b in range(found):
                key = band_key(signatures[firsts[b]], begin, size)
                at = _slot(key, number)
                while ids[at] >= 0:
                    at = uintp(at + 1) & uintp(number - 1)
                keys[at], ids[at] = key, b
        key = band_key(signatures[i], begin, size)
        at = _slot(key, number)
        while ids[at] >= 0 and not (
            keys[at] == key and (size <= EXACT_ROWS or _same(signatures[firsts[ids[at]]], signatures[i], begin, size))
        ):
            at = uintp(at + 1) & uintp(number - 1)
        if ids[at] < 0:
            keys[at], ids[at], firsts[found] = key, found, i
            found += 1
        buckets[i] = ids[at]
    return found


@njit(nogil=True, cache=True)
def _fill(signatures, begin, size, buckets, firsts, rows):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Rows bucket by bucket, and the band's slots."""
    found = firsts.size
    counts, starts = np.zeros(found, np.int64), np.zeros(found, np.int64)
    for i in range(buckets.size):
        counts[buckets[i]] += 1
    for b in range(1, found):
        starts[b] = starts[b - 1] + counts[b - 1]
    number = SMALLEST
    while number < 2 * found:
        number *= 2
    slots = np.zeros((number, 2), np.uint64)
    for b in range(found):
        key = band_key(signatures[firsts[b]], begin, size)
        at = _slot(key, number)
        while slots[at, 1] != 0:
            at = uintp(at + 1) & uintp(number - 1)
        slots[at, 0] = key
        slots[at, 1] = (np.uint64(starts[b]) << np.uint64(32)) | np.uint64(counts[b])
    for i in range(buckets.size):
        rows[starts[buckets[i]]] = i
        starts[buckets[i]] += 1
    return slots


def build(signatures: NDArray[np.uint32], bands: int, size: int) -> Bands:
    """Tables over the first bands · size components of signatures [n, p], n < 2^31."""
    n = len(signatures)
    rows = np.empty((bands, n), np.int32)
    buckets, firsts = np.empty(n, np.int32), np.empty(n, np.int32)
    parts = []
    for band in range(bands):
        found = _number_buckets(signatures, band * size, size, buckets, firsts)
        parts.append(_fill(signatures, band * size, size, buckets, firsts[:found], rows[band]))
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    kept = signatures[:, : bands * size] if size > EXACT_ROWS else np.empty((0, 0), np.uint32)
    return Bands(rows, np.concatenate(parts), offsets, np.ascontiguousarray(kept), size)


@njit(nogil=True, cache=True)
def gather(bands, signature, tables, seen, found):  # type: ignore[no-untyped-def]
    """Write the rows of the first `tables` bands' buckets, each once, into `found` [n + 1]; how many.

    `seen` [n] is zero before and after.
    """
    count = 0
    n = seen.size
    starts, sizes = np.empty(tables, np.int64), np.empty(tables, np.int64)
    for band in range(tables):  # apart from the reading, so that these jumps through memory overlap
        starts[band], sizes[band] = bucket(bands, band, signature)
    for band in range(tables):
        line = bands.rows[band]
        for at in range(uintp(starts[band]), uintp(starts[band] + sizes[band])):
            row = line[at]
            found[count] = row  # overwritten by the next if seen before: no branch to mispredict
            count += 1 - seen[row]
            seen[row] = 1
        if count == n:
            break
    for i in range(count):
        seen[found[i]] = 0
    return count
