"""The parts of a MinHash index as compiled code takes them, and its searches: one kernel a query, threads over a batch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval_bench.search._bands import Bands, gather
from retrieval_bench.search._filtered import Gallery, best
from retrieval_bench.search._minhash import sign
from retrieval_bench.search._tokens import Vocabulary, tokenize

QUERIES_A_TASK = 64


class Parts(NamedTuple):
    """Everything that a search reads; rows are places in the order of `gallery.vectors`."""

    vocabulary: Vocabulary
    permutation: NDArray[np.uint32]  # [2, permutations]
    bands: Bands
    gallery: Gallery
    order: NDArray[np.int32]  # [n] the gallery row at each place


class Scratch(NamedTuple):
    """Working memory of one thread."""

    seen: NDArray[np.uint8]  # [n] zero between queries
    found: NDArray[np.int32]  # [n + 1]

    @classmethod
    def of(cls, n: int) -> Scratch:
        """For a gallery of n rows."""
        return cls(np.zeros(n, np.uint8), np.empty(n + 1, np.int32))


@njit(nogil=True, cache=True)
def collect(query, parts, tables, scratch):  # type: ignore[no-untyped-def]
    """Places in the buckets of the first `tables` bands, each once, into `scratch.found`; how many."""
    vocabulary = parts.vocabulary
    tokens = np.empty(vocabulary.size, np.int64)
    tokenize(query, vocabulary, tokens)
    signature = np.empty(tables * parts.bands.size, np.uint32)
    sign(vocabulary.hashes[tokens], parts.permutation, signature)
    return gather(parts.bands, signature, tables, scratch.seen, scratch.found)


@njit(nogil=True, cache=True)
def search(queries, parts, tables, scratch, rows, scores, counts):  # type: ignore[no-untyped-def]
    """Fill rows [q, k], scores [q, k] and counts [q]."""
    k = rows.shape[1]
    values = np.empty(k, np.float64)
    for i in range(queries.shape[0]):
        counts[i] = collect(queries[i], parts, tables, scratch)
        best(queries[i], scratch.found[: counts[i]], parts.gallery, rows[i], values)
        for j in range(k):
            scores[i, j] = values[j]
            if rows[i, j] >= 0:
                rows[i, j] = parts.order[rows[i, j]]
