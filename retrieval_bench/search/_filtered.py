"""The exact k best of a list of gallery rows, with most exact scores spared by a bound from an 8-bit copy.

The copy x' of a vector has components low + step · code. Its distance from the query's copy q' is a sum over bytes, and
|q - x| >= |q' - x'| - |q - q'| - |x - x'|: a row whose bound lies beyond the k-th best so far cannot enter the list, so
the answer is that of scoring every row. A uint8 gallery is its own copy, without error, and so is a query of whole
numbers from 0 to 255: there the bytes give the scores themselves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import uintp
from numpy.typing import NDArray

from retrieval_bench._compiled import njit
from retrieval_bench._simd import _dot, _squared, has_vnni
from retrieval_bench.search._prefetch import prefetch
from retrieval_bench.types import Similarity

BLOCK_ROWS = 16_384
AHEAD = 8  # rows asked for before their turn
FETCHED = 512  # bytes of a row; the processor finds the rest by itself
WIDEST = 33_000  # components that a sum of 32 bits holds
SLACK = 1e-5  # relative, on the bound: more than float32 rounding errs


class Gallery(NamedTuple):
    """Vectors with their 8-bit copy.

    Attributes:
        vectors: [n, dim] float32 or uint8.
        codes: [n, dim] uint8; [0, dim] where dim is too large for them.
        low: [dim] smallest value of each component.
        step: between two codes.
        error: largest |x - x'|.
        longest: largest |x|².
        euclidean: negative distance instead of the product.
    """

    vectors: NDArray[np.generic]
    codes: NDArray[np.uint8]
    low: NDArray[np.float32]
    step: float
    error: float
    longest: float
    euclidean: bool


def gallery(vectors: NDArray[np.generic], similarity: Similarity) -> Gallery:
    """`vectors` [n, dim] are float32 or uint8, C-contiguous; they are held, not copied."""
    n, dim = vectors.shape
    euclidean = similarity is Similarity.EUCLIDEAN
    blocks = [slice(start, start + BLOCK_ROWS) for start in range(0, n, BLOCK_ROWS)]
    low = np.zeros(dim, np.float32)
    if dim > WIDEST:
        return Gallery(vectors, np.empty((0, dim), np.uint8), low, 1.0, 0.0, 0.0, euclidean)
    if vectors.dtype == np.uint8:
        longest = max(float((vectors[b].astype(np.float32) ** 2).sum(axis=1).max()) for b in blocks)
        return Gallery(vectors, vectors, low, 1.0, 0.0, longest, euclidean)  # type: ignore[arg-type]
    low = np.min([vectors[b].min(axis=0) for b in blocks], axis=0).astype(np.float32)
    high = np.max([vectors[b].max(axis=0) for b in blocks], axis=0)
    step = float((high.astype(np.float64) - low).max()) / 255 or 1.0
    codes = np.empty((n, dim), np.uint8)
    error = longest = 0.0
    for b in blocks:
        block = vectors[b].astype(np.float64)
        codes[b] = np.clip(np.rint((block - low) / step), 0, 255)
        error = max(error, float(((block - (low + step * codes[b])) ** 2).sum(axis=1).max()) ** 0.5)
        longest = max(longest, float((block**2).sum(axis=1).max()))
    return Gallery(vectors, codes, low, step, error, longest, euclidean)


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _value(query, vector, euclidean):  # type: ignore[no-untyped-def]
    """Product, or negative squared distance."""
    total = np.float32(0)
    if euclidean:
        for d in range(uintp(query.size)):
            difference = query[d] - np.float32(vector[d])
            total += difference * difference
        return -total
    for d in range(uintp(query.size)):
        total += query[d] * np.float32(vector[d])
    return total


@njit(nogil=True, cache=True)
def _encode(query, known, codes):  # type: ignore[no-untyped-def]
    """Write the query's codes; returns |q - q'| and |q|²."""
    error = length = 0.0
    for d in range(query.size):
        value = np.float64(query[d])
        code = np.rint((value - known.low[d]) / known.step)
        code = min(max(code, 0.0), 255.0)
        codes[d] = np.uint8(code)
        rest = value - (known.low[d] + known.step * code)
        error += rest * rest
        length += value * value
    return np.sqrt(error), length


@njit(nogil=True, cache=True)
def _worse(value, row, other, other_row):  # type: ignore[no-untyped-def]
    return value < other or (value == other and row > other_row)


@njit(nogil=True, cache=True)
def _replace_worst(values, rows, size, value, row):  # type: ignore[no-untyped-def]
    """Put a candidate in the place of the worst, which stands first in a heap of `size`."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _worse(values[child + 1], rows[child + 1], values[child], rows[child]):
            child += 1
        if not _worse(values[child], rows[child], value, row):
            break
        values[at], rows[at] = values[child], rows[child]
        at = child
    values[at], rows[at] = value, row


@njit(nogil=True, cache=True)
def _limit(known, worst, error, length):  # type: ignore[no-untyped-def]
    """Squared distance of copies, in steps, beyond which a row cannot beat the worst value of a full list."""
    square = -worst if known.euclidean else (length + known.longest) * (1 + SLACK) - 2 * worst
    reach = (np.sqrt(max(square, 0.0)) * (1 + SLACK) + error) / known.step
    return reach * reach * (1 + SLACK) + 1


@njit(nogil=True, cache=True)
def _fetch(table, row):  # type: ignore[no-untyped-def]
    """Ask for the bytes of a row, as far as it pays."""
    dim = uintp(table.shape[1])
    first = uintp(table.ctypes.data) + uintp(row) * dim
    for line in range(uintp(0), min(dim, uintp(FETCHED)), uintp(64)):
        prefetch(first + line)


@njit(nogil=True, cache=True)
def apart_portable(codes, table, row, euclidean):  # type: ignore[no-untyped-def]
    """As `apart`, on any processor."""
    total = np.int32(0)
    for d in range(uintp(codes.size)):
        one, other = np.int32(codes[d]), np.int32(table[row, d])
        total += (one - other) * (one - other) if euclidean else one * other
    return np.int64(total)


@njit(nogil=True, cache=True)
def apart(codes, table, row, euclidean):  # type: ignore[no-untyped-def]
    """Squared distance, or product, of the query's codes and a row's. By address: a slice costs more than the sum."""
    if has_vnni():  # type: ignore[call-arg]
        dim = uintp(codes.size)
        left, right = uintp(codes.ctypes.data), uintp(table.ctypes.data) + uintp(row) * dim
        return np.int64(_squared(left, right, dim) if euclidean else _dot(left, right, dim))
    return apart_portable(codes, table, row, euclidean)


@njit(nogil=True, cache=True)
def best(query, candidates, known, rows, values):  # type: ignore[no-untyped-def]
    """The best of the rows `candidates`, best first, into rows [k] and values [k]: scores; -1 and -inf at the end."""
    k, codes = rows.size, np.empty(query.size, np.uint8)
    coded, euclidean = known.codes.shape[0] > 0, known.euclidean
    error, length = _encode(query, known, codes) if coded else (0.0, 0.0)
    whole = coded and known.error == 0 and error == 0 and known.step == 1 and known.vectors.itemsize == 1
    error += known.error
    for j in range(k):
        rows[j], values[j] = -1, -np.inf
    table = known.codes
    limit = np.inf
    for i in range(candidates.size):
        row = candidates[i]
        if coded:
            _fetch(table, candidates[min(i + AHEAD, candidates.size - 1)])
        if whole:
            bytes_apart = apart(codes, table, row, euclidean)
            value = np.float64(-bytes_apart if euclidean else bytes_apart)
        else:
            if coded and limit < np.inf and apart(codes, table, row, True) > limit:
                continue
            value = np.float64(_value(query, known.vectors[row], euclidean))
        if value > values[0] or (value == values[0] and row < rows[0]):
            _replace_worst(values, rows, k, value, row)
            if not whole and values[0] > -np.inf:
                limit = _limit(known, values[0], error, length)
    for last in range(k - 1, 0, -1):  # heap sort: the worst goes to the end
        value, row = values[last], rows[last]
        values[last], rows[last] = values[0], rows[0]
        _replace_worst(values, rows, last, value, row)
    if known.euclidean:
        for j in range(k):
            values[j] = -np.sqrt(-values[j])
