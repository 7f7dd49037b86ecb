"""Token sets of dense vectors, for the MinHash backends. A token is a small whole number; a raw float is never one.

`kmeans_words`: the nearest m of C centroids; token w is centroid w.
`signed_top`: the m largest |x_i| with their sign; token 2·i + (1 if x_i < 0).

As bytes, which is what gets hashed, a token is its number as four bytes, little-endian.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numba import uintp
from numpy.typing import NDArray

from retrieval_bench._blocks import read_only
from retrieval_bench._compiled import njit
from retrieval_bench.search._minhash import token_hashes

CENTROIDS = 1024  # at most, by default
ROWS_A_CENTROID = 30  # of the gallery, at least, by default
WORDS = 16  # of a vector, by default
CENTROIDS_A_WORD = 8  # at least: otherwise any two of a small gallery's vectors share words
TRAIN_ROWS = 32  # a centroid, drawn at random, that the centroids are fitted on
ITERATIONS = 8  # of Lloyd's
BLOCK_ROWS = 4096
SPAN = 64  # centroids compared with the limit at once


class Tokenizer(StrEnum):
    """How a vector becomes a token set."""

    KMEANS_WORDS = "kmeans_words"
    SIGNED_TOP = "signed_top"


class Vocabulary(NamedTuple):
    """A fitted tokenizer, as the compiled code takes it.

    Attributes:
        centroids: [dim, C], one centroid a column; [dim, 0] for signed_top.
        half: [C] half of each centroid's squared norm.
        hashes: [tokens] of every token there is: C, or 2·dim.
        size: number m of tokens of a vector.
        directions: vectors are compared with centroids by direction, whatever their length (under dot).
    """

    centroids: NDArray[np.float32]
    half: NDArray[np.float32]
    hashes: NDArray[np.uint32]
    size: int
    directions: bool


def signed_top(dim: int, size: int | None) -> Vocabulary:
    """The tokens of vectors of so many components; size none = dim/4."""
    chosen = max(1, dim // 4) if size is None else min(size, dim)
    return Vocabulary(np.empty((dim, 0), np.float32), np.empty(0, np.float32), _hashes(2 * dim), chosen, False)


def kmeans_words(
    vectors: NDArray[np.generic], directions: bool, centroids: int | None, size: int | None, seed: int
) -> Vocabulary:
    """Centroids fitted on a sample of a gallery [n, dim]; `centroids` and `size` none = the defaults above."""
    n = len(vectors)
    number = max(1, min(n, min(CENTROIDS, n // ROWS_A_CENTROID) if centroids is None else centroids))
    chosen = min(number, max(1, min(WORDS, number // CENTROIDS_A_WORD)) if size is None else size)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(n, min(n, number * TRAIN_ROWS), replace=False))
    train = np.ascontiguousarray(vectors[rows], np.float32)
    if directions:
        train = train / np.maximum(np.linalg.norm(train, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    fitted = _lloyd(train, train[np.sort(rng.choice(len(train), number, replace=False))])
    half = (fitted.astype(np.float64) ** 2).sum(axis=1).astype(np.float32) / np.float32(2)
    return Vocabulary(np.ascontiguousarray(fitted.T), half, _hashes(number), chosen, directions)


def _hashes(tokens: int) -> NDArray[np.uint32]:
    return token_hashes(token.to_bytes(4, "little") for token in range(tokens))


def _lloyd(train: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of the nearest training rows, again and again; a centroid without rows stays where it is."""
    for _ in range(ITERATIONS):
        sums = np.zeros(centroids.shape, np.float64)
        counts = np.zeros(len(centroids), np.int64)
        half = (centroids**2).sum(axis=1) / 2
        for start in range(0, len(train), BLOCK_ROWS):
            block = train[start : start + BLOCK_ROWS]
            _collect(block, block @ centroids.T - half, sums, counts)
        used = counts > 0
        centroids[used] = (sums[used] / counts[used, None]).astype(np.float32)
    return centroids


@njit(nogil=True, cache=True)
def _collect(block, scores, sums, counts):  # type: ignore[no-untyped-def]
    for i in range(block.shape[0]):
        best = 0
        for c in range(1, scores.shape[1]):
            if scores[i, c] > scores[i, best]:
                best = c
        counts[best] += 1
        for d in range(block.shape[1]):
            sums[best, d] += block[i, d]


@njit(nogil=True, cache=True, fastmath={"contract"})
def _compare(vector, vocabulary, scores):  # type: ignore[no-untyped-def]
    """<x, c> - |c|²/2 of every centroid c: rises as the distance falls."""
    table, half = vocabulary.centroids, vocabulary.half
    dim, width = table.shape
    scale = np.float32(1)
    if vocabulary.directions:
        length = np.float32(0)
        for d in range(dim):
            length += vector[d] * vector[d]
        scale = np.sqrt(length)
    for c in range(uintp(width)):
        scores[c] = -scale * half[c]
    whole = dim - dim % 4
    for d in range(0, whole, 4):
        x0, x1, x2, x3 = vector[d], vector[d + 1], vector[d + 2], vector[d + 3]
        row0, row1, row2, row3 = table[d], table[d + 1], table[d + 2], table[d + 3]
        for c in range(uintp(width)):
            scores[c] += x0 * row0[c] + x1 * row1[c] + x2 * row2[c] + x3 * row3[c]
    for d in range(whole, dim):
        for c in range(uintp(width)):
            scores[c] += vector[d] * table[d, c]


@njit(nogil=True, cache=True)
def _first(scores, tokens, best):  # type: ignore[no-untyped-def]
    """Places of the largest scores, the smaller place first among equal ones."""
    m, n = tokens.size, scores.size
    for i in range(m):
        best[i] = -np.inf
    limit, last = best[m - 1], m - 1
    for start in range(0, n, SPAN):
        stop = min(start + SPAN, n)
        some = False
        for c in range(uintp(start), uintp(stop)):
            some |= scores[c] > limit
        if some:
            for c in range(start, stop):
                value = scores[c]
                if value > limit:
                    at = last
                    while at > 0 and best[at - 1] < value:
                        best[at], tokens[at] = best[at - 1], tokens[at - 1]
                        at -= 1
                    best[at], tokens[at] = value, c
                    limit = best[last]


@njit(nogil=True, cache=True)
def _in_order(bits, place):  # type: ignore[no-untyped-def]
    """The value at a place of the rising order, by halving; numpy's partition takes seconds to compile."""
    low, high = np.uint32(0), np.uint32(0xFFFFFFFF)
    while low < high:
        middle, within = low + ((high - low) >> np.uint32(1)), 0
        for i in range(uintp(bits.size)):
            within += bits[i] <= middle
        if within > place:
            high = middle
        else:
            low = middle + np.uint32(1)
    return low


@njit(nogil=True, cache=True)
def _signed_top(vector, tokens):  # type: ignore[no-untyped-def]
    m, dim = tokens.size, vector.size
    size = np.empty(dim, np.float32)
    for i in range(dim):
        size[i] = abs(vector[i])
    bits = size.view(np.uint32)  # which rise as the sizes do
    limit = _in_order(bits, dim - m)
    found = 0
    for i in range(dim):
        if bits[i] > limit:
            tokens[found] = 2 * i + (1 if vector[i] < 0 else 0)
            found += 1
    for i in range(dim):  # those that tie at the limit: the first
        if found < m and bits[i] == limit:
            tokens[found] = 2 * i + (1 if vector[i] < 0 else 0)
            found += 1


@njit(nogil=True, cache=True)
def tokenize(vector, vocabulary, tokens):  # type: ignore[no-untyped-def]
    """Write the tokens [m] of a float32 vector [dim]; their order means nothing."""
    width = vocabulary.half.size
    if width == 0:
        _signed_top(vector, tokens)
        return
    scores, best = np.empty(width, np.float32), np.empty(tokens.size, np.float32)
    _compare(vector, vocabulary, scores)
    _first(scores, tokens, best)


@njit(nogil=True, cache=True)
def _tokenize_all(vectors, vocabulary, tokens):  # type: ignore[no-untyped-def]
    for i in range(vectors.shape[0]):
        tokenize(vectors[i], vocabulary, tokens[i])


def tokens_of(vectors: NDArray[np.generic], vocabulary: Vocabulary) -> NDArray[np.int32]:
    """Tokens [n, m] of vectors [n, dim] of any real dtype, converted block by block."""
    tokens = np.empty((len(vectors), vocabulary.size), np.int32)
    for start in range(0, len(vectors), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        _tokenize_all(read_only(np.asarray(vectors[part], np.float32)), vocabulary, tokens[part])
    return tokens
