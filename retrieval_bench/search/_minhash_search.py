"""The whole search of a query over MinHash bands as one compiled kernel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._compiled import njit
from retrieval_bench.search._bands import Bands, gather
from retrieval_bench.search._filtered import Gallery, best
from retrieval_bench.search._minhash import sign
from retrieval_bench.search._tokens import Vocabulary, tokenize


class Parts(NamedTuple):
    """Everything that a search reads. Bands and gallery number rows by place: `order` [n] is the row at each place."""

    vocabulary: Vocabulary
    mixed: NDArray[np.uint32]  # [v] fmix32 of the vocabulary's hashes
    permutation: NDArray[np.uint32]
    bands: Bands
    gallery: Gallery
    order: NDArray[np.int32]


class Scratch(NamedTuple):
    """Working memory of one thread."""

    seen: NDArray[np.uint8]  # [n] zero between queries
    found: NDArray[np.int32]  # [n + 1]


@njit(nogil=True, cache=True)
def _collect(query, parts, tables, scratch):  # type: ignore[no-untyped-def]
    tokens = np.empty(parts.vocabulary.size, np.int32)
    tokenize(query, parts.vocabulary, tokens)
    signature = np.empty((1, tables * parts.bands.size), np.uint32)
    sign(parts.mixed[tokens], parts.permutation, signature[0])
    first = np.int64(0)  # a literal would be a type of its own, and all below it compiled once more
    return gather(parts.bands, signature, first, scratch.seen, scratch.found, tables)


@njit(nogil=True, cache=True)
def search(queries, handle, tables, scratch, answer):  # type: ignore[no-untyped-def]
    """Fill the answer: rows [q, k], scores [q, k] and counts [q]; `handle` is one of `Parts`."""
    parts = handle.parts
    rows, scores, counts = answer
    values = np.empty(rows.shape[1], np.float64)
    for i in range(queries.shape[0]):
        counts[i] = _collect(queries[i], parts, tables, scratch)
        best(queries[i], scratch.found[: counts[i]], parts.gallery, rows[i], values)
        for j in range(values.size):
            scores[i, j] = values[j]
            if rows[i, j] >= 0:
                rows[i, j] = parts.order[rows[i, j]]
