"""Banded hash tables over MinHash signatures: one table a band of r components, for rows that agree in all r.

A bucket is found by a 64-bit key. Up to r = 2 the key is the band itself. Beyond that two bands may share a key, so the
signature of the bucket's first row decides: buckets never merge, and the candidates are exactly those of a dictionary.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import uintp
from numpy.typing import NDArray

from retrieval_bench._compiled import njit
from retrieval_bench.search._handle import held
from retrieval_bench.search._prefetch import prefetch

SMALLEST = 16  # slots of a table
GROUP = 8  # bands whose keys are made at once
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
def band_key(signatures, row, begin, size):  # type: ignore[no-untyped-def]
    """64 bits of the `size` components from `begin` on of one line of signatures [n, p]."""
    key = np.uint64(signatures[row, begin])
    if size > 1:
        key = (key << np.uint64(32)) | np.uint64(signatures[row, begin + 1])
    for j in range(begin + 2, begin + size):
        key ^= key >> np.uint64(33)
        key *= np.uint64(0xFF51AFD7ED558CCD)
        key ^= key >> np.uint64(33)
        key ^= np.uint64(signatures[row, j])
    return key


@njit(nogil=True, cache=True)
def _slot(key, number):  # type: ignore[no-untyped-def]
    """Where to look first among so many slots, a power of two."""
    mixed = (key ^ (key >> np.uint64(32))) * GOLDEN
    return uintp(mixed >> np.uint64(32)) & uintp(number - 1)


@njit(nogil=True, cache=True)
def _agree(one, row, other, other_row, part):  # type: ignore[no-untyped-def]
    """Whether two lines of signatures have the same components from part[0] up to part[1]."""
    same = True
    for j in range(part[0], part[1]):
        same &= one[row, j] == other[other_row, j]
    return same


@njit(nogil=True, cache=True)
def _find(bands, band, key, at):  # type: ignore[no-untyped-def]
    """The next slot from `at` on that has the key or is free."""
    first, last = uintp(bands.offsets[band]), uintp(bands.offsets[band + 1] - bands.offsets[band] - 1)
    while bands.slots[first + at, 1] != 0 and bands.slots[first + at, 0] != key:
        at = uintp(at + uintp(1)) & last
    return at


@njit(nogil=True, cache=True)
def _content(bands, band, at):  # type: ignore[no-untyped-def]
    """Start and size of the bucket in a slot."""
    value = bands.slots[uintp(bands.offsets[band]) + at, 1]
    return np.int64(value >> np.uint64(32)), np.int64(value & np.uint64(0xFFFFFFFF))


@njit(nogil=True, cache=True)
def bucket(bands, band, signatures, row):  # type: ignore[no-untyped-def]
    """Start and size, in `bands.rows[band]`, of the bucket of one line of signatures; size 0 = none."""
    begin, last = band * bands.size, uintp(bands.offsets[band + 1] - bands.offsets[band] - 1)
    key = band_key(signatures, row, begin, bands.size)
    at = _slot(key, bands.offsets[band + 1] - bands.offsets[band])
    while True:
        at = _find(bands, band, key, at)
        start, size = _content(bands, band, at)
        if size == 0 or bands.size <= EXACT_ROWS:
            return start, size
        if _agree(bands.signatures, bands.rows[band, start], signatures, row, (begin, begin + bands.size)):
            return start, size
        at = uintp(at + uintp(1)) & last


@njit(nogil=True, cache=True)
def _put_anew(slots, number):  # type: ignore[no-untyped-def]
    """The same numbered keys in so many slots."""
    out = np.zeros((number, 2), np.uint64)
    for old in range(slots.shape[0]):
        if slots[old, 1] != 0:
            at = _slot(slots[old, 0], number)
            while out[at, 1] != 0:
                at = uintp(at + uintp(1)) & uintp(number - 1)
            out[at, 0], out[at, 1] = slots[old, 0], slots[old, 1]
    return out


@njit(nogil=True, cache=True)
def _keys(signatures, first, size, keys):  # type: ignore[no-untyped-def]
    """Keys [bands, n] of the bands from `first` on, for every row; a row is read once for all of them."""
    for i in range(signatures.shape[0]):
        for band in range(keys.shape[0]):
            keys[band, i] = band_key(signatures, i, (first + band) * size, size)


@njit(nogil=True, cache=True)
def _number_buckets(signatures, part, keys, slots, buckets):  # type: ignore[no-untyped-def]
    """Number a band's buckets by first occurrence: `buckets` [n] of each row; slots (key, number + 1) and how many."""
    n, number, found = keys.size, slots.shape[0], 0
    proof = part[1] - part[0] > EXACT_ROWS
    firsts = np.empty(n, np.int32)
    for i in range(n):
        if 2 * found >= number:
            number *= 2
            slots = _put_anew(slots, number)
        key = keys[i]
        at = _slot(key, number)
        while slots[at, 1] != 0:
            known = np.int64(slots[at, 1]) - 1
            if slots[at, 0] == key and (not proof or _agree(signatures, firsts[known], signatures, i, part)):
                break
            at = uintp(at + uintp(1)) & uintp(number - 1)
        if slots[at, 1] == 0:
            firsts[found] = i
            found += 1
            slots[at, 0], slots[at, 1] = key, np.uint64(found)
        buckets[i] = np.int64(slots[at, 1]) - 1
    return slots, found


@njit(nogil=True, cache=True)
def _fill(slots, found, buckets, rows):  # type: ignore[no-untyped-def]
    """Rows bucket by bucket; the numbers in the slots become starts and sizes."""
    counts, starts = np.zeros(found, np.int64), np.zeros(found, np.int64)
    for i in range(buckets.size):
        counts[buckets[i]] += 1
    for b in range(1, found):
        starts[b] = starts[b - 1] + counts[b - 1]
    for at in range(slots.shape[0]):
        if slots[at, 1] != 0:
            known = np.int64(slots[at, 1]) - 1
            slots[at, 1] = (np.uint64(starts[known]) << np.uint64(32)) | np.uint64(counts[known])
    for i in range(buckets.size):
        rows[starts[buckets[i]]] = i
        starts[buckets[i]] += 1


def build(signatures: NDArray[np.uint32], bands: int, size: int) -> Bands:
    """Tables over the first bands · size components of signatures [n, p], n < 2^31."""
    n = len(signatures)
    rows, buckets = np.empty((bands, n), np.int32), np.empty(n, np.int32)
    parts: list[NDArray[np.uint64]] = []
    number = SMALLEST
    for first in range(0, bands, GROUP):
        keys = np.empty((min(GROUP, bands - first), n), np.uint64)
        _keys(signatures, first, size, keys)
        for band, line in enumerate(keys, first):
            empty, part = np.zeros((number, 2), np.uint64), (band * size, band * size + size)
            slots, found = _number_buckets(signatures, part, line, empty, buckets)
            _fill(slots, found, buckets, rows[band])
            parts.append(slots)
            number = max(SMALLEST, 1 << (2 * found - 1).bit_length())  # the next band is much like this one
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    kept = signatures[:, : bands * size] if size > EXACT_ROWS else np.empty((0, 0), np.uint32)
    return Bands(rows, np.concatenate(parts), offsets, np.ascontiguousarray(kept), size)


@njit(nogil=True, cache=True)
def _locate(bands, signatures, row, starts, sizes):  # type: ignore[no-untyped-def]
    """`bucket` of every band at once, in steps, each of which asks for the memory of the next."""
    tables, size = starts.size, bands.size
    keys, places = np.empty(tables, np.uint64), np.empty(tables, np.uint64)
    slots, lines = uintp(bands.slots.ctypes.data), uintp(bands.rows.ctypes.data)
    wide = uintp(4 * bands.rows.shape[1])
    for band in range(tables):
        keys[band] = band_key(signatures, row, band * size, size)
        places[band] = _slot(keys[band], bands.offsets[band + 1] - bands.offsets[band])
        prefetch(slots + (uintp(bands.offsets[band]) + places[band]) * uintp(16))
    for band in range(tables):
        starts[band], sizes[band] = _content(bands, band, _find(bands, band, keys[band], places[band]))
        prefetch(lines + uintp(band) * wide + uintp(4 * starts[band]))
    if size > EXACT_ROWS:
        kept, width = uintp(bands.signatures.ctypes.data), bands.signatures.shape[1]
        for band in range(tables):
            if sizes[band] > 0:
                prefetch(kept + uintp(4 * (bands.rows[band, starts[band]] * width + band * size)))
        for band in range(tables):
            part = (band * size, band * size + size)
            if sizes[band] > 0 and not _agree(bands.signatures, bands.rows[band, starts[band]], signatures, row, part):
                starts[band], sizes[band] = bucket(bands, band, signatures, row)


@njit(nogil=True, cache=True)
def gather(bands, signatures, row, seen, found, tables):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Write the rows of the first `tables` bands' buckets, each once, into `found` [n + 1]; how many.

    The signature asked for is line `row` of `signatures`. `seen` [n] is zero before and after.
    """
    starts, sizes = np.empty(tables, np.int64), np.empty(tables, np.int64)
    _locate(bands, signatures, row, starts, sizes)
    count = 0
    for band in range(tables):
        for at in range(uintp(starts[band]), uintp(starts[band] + sizes[band])):
            place = bands.rows[band, at]
            found[count] = place  # overwritten by the next if seen before: no branch to mispredict
            count += 1 - seen[place]
            seen[place] = 1
        if count == seen.size:
            break
    for i in range(count):
        seen[found[i]] = 0
    return count


@njit(nogil=True, cache=True)
def _gather_all(handle, signatures, seen, found, tables):  # type: ignore[no-untyped-def]
    """The rows of all queries, one after the other, and [q + 1] where each query's begin."""
    bands = handle.parts
    offsets = np.zeros(signatures.shape[0] + 1, np.int64)
    out = np.empty(0, np.int32)
    for i in range(signatures.shape[0]):
        count, start = gather(bands, signatures, i, seen, found, tables), offsets[i]
        if start + count > out.size:
            longer = np.empty(2 * (start + count) if i + 1 < signatures.shape[0] else start + count, np.int32)
            for j in range(start):  # assignments of slices take two seconds to compile
                longer[j] = out[j]
            out = longer
        for j in range(count):
            out[start + j] = found[j]
        offsets[i + 1] = start + count
    return out, offsets


class Lookup:
    """Candidates by signature. Not for concurrent callers: working memory is shared."""

    def __init__(self, bands: Bands) -> None:
        n = bands.rows.shape[1]
        self._handle, self._tables = held(bands), len(bands.rows)
        self._seen, self._found = np.zeros(n, np.uint8), np.empty(n + 1, np.int32)

    def __call__(self, signatures: NDArray[np.uint32], tables: int | None = None) -> list[NDArray[np.int32]]:
        """For each signature [q, p] the rows in its buckets of the first `tables` bands (none: of all), each once."""
        tables = self._tables if tables is None else tables
        rows, offsets = _gather_all(self._handle, signatures, self._seen, self._found, tables)
        bounds = offsets.tolist()
        return [rows[start:stop] for start, stop in pairwise(bounds)]
