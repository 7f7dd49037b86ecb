"""HNSW of usearch: a layered graph of neighbours in float32, walked with a queue of `expansion_search` vertices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig, CorruptInput, MissingExtra
from retrieval_bench.search.base import Family, Index
from retrieval_bench.types import Similarity

FILE = "index.usearch"
BLOCK_ROWS = 65_536

# An array: numpy takes half a microsecond to make one of a plain number, at every call.
ONE = np.array(1, np.float32)


class USearch(Index):
    """Hierarchical navigable small world graph over float32 vectors (Malkov & Yashunin 2018; usearch).

    Args:
        connectivity: links a vertex (twice as many on the ground layer).
        expansion_add: length of the queue while building.
        efforts: values of `expansion_search`, the length of the queue while searching. usearch itself takes k where
            that is more.

    Its dtype is set to f32; left alone, usearch would choose a 16-bit float where the processor has one. Its own random
    numbers cannot be seeded, so the seed decides the order in which the gallery goes in. Repeatable with one build
    thread only. Its binding does not let go of the interpreter while it searches, so that concurrent clients of one
    process (`measure.clients`) wait for one another: their rate is the binding's, not the graph's.
    """

    similarities = frozenset(Similarity)
    family = Family.GRAPH
    knob = "expansion_search"
    effort_at_least_k = True
    library = "usearch"

    def __init__(
        self, connectivity: int = 16, expansion_add: int = 200, efforts: Sequence[int] = (16, 32, 64, 128, 256, 512)
    ) -> None:
        if connectivity < 2 or expansion_add < 1:
            raise BadConfig(
                f"connectivity={connectivity}, expansion_add={expansion_add}: connectivity from 2 and expansion_add"
                " from 1 are needed"
            )
        try:
            from usearch.index import Index as Graph
        except ImportError as error:
            raise MissingExtra("usearch", "usearch") from error
        self._make = Graph
        self.connectivity, self.expansion_add, self.efforts = connectivity, expansion_add, tuple(efforts)
        self._index: Any = None
        self._search: Any = None
        self._euclidean, self._threads = False, 1
        self._effort: int | None = None  # that is set
        self._last = 0, 0  # queries, and the distances computed for them

    def _empty(self, dim: int, euclidean: bool) -> Any:
        return self._make(
            ndim=dim,
            metric="l2sq" if euclidean else "ip",
            dtype="f32",
            connectivity=self.connectivity,
            expansion_add=self.expansion_add,
        )

    def build(self, vectors: NDArray[np.generic], similarity: Similarity, seed: int) -> None:
        """Index the gallery [n, dim], block by block, as float32."""
        n, dim = vectors.shape
        index = self._empty(dim, similarity is Similarity.EUCLIDEAN)
        order = np.random.default_rng(seed).permutation(n)
        for start in range(0, n, BLOCK_ROWS):
            rows = order[start : start + BLOCK_ROWS]
            index.add(rows, np.ascontiguousarray(vectors[rows], np.float32), threads=self._threads)
        self._adopt(index, similarity is Similarity.EUCLIDEAN)

    def _adopt(self, index: Any, euclidean: bool) -> None:
        self._index, self._euclidean, self._effort = index, euclidean, None
        self._search = index._compiled.search_many  # Index.search wraps it in 30 µs of Python

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As in `Index`. Costs one call of usearch's compiled part, and a square root and a sign, or a difference."""
        if effort != self._effort:
            self._index.expansion_search = effort
            self._effort = effort
        keys, scores, counts, _, computed = self._search(queries, k, False, self._threads)
        self._last = len(queries), computed
        rows = keys.view(np.int64)
        if (counts[0] if len(counts) == 1 else counts.min(initial=k)) < k:
            empty = np.arange(k) >= counts[:, None]  # whatever stood in that memory
            rows[empty], scores[empty] = -1, np.inf
        if self._euclidean:
            np.sqrt(scores, scores)
            np.negative(scores, scores)
        else:
            np.subtract(ONE, scores, scores)
        return rows, scores

    def candidates(self) -> NDArray[np.int64]:
        """Distances computed for each query of the last call: [q]; a batch has one total, shared evenly."""
        q, computed = self._last
        return computed // q + (np.arange(q) < computed % q)

    def save(self, path: Path) -> None:
        """Write `index.usearch` into the folder."""
        self._index.save(path / FILE)

    def load(self, path: Path) -> None:
        """Read it from the folder.

        Raises:
            CorruptInput: it is not there.
        """
        index = self._make.restore(path / FILE) if (path / FILE).exists() else None
        if index is None:
            raise CorruptInput(f"{path} holds no saved usearch index; delete the folder and run again")
        self._adopt(index, str(index.metric_kind) == str(self._empty(1, euclidean=True).metric_kind))

    def close(self) -> None:
        """Free the index."""
        self._index = self._search = None

    def set_threads(self, threads: int) -> None:
        """Threads of a build and of a batch search."""
        self._threads = threads
