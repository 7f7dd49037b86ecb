"""HNSW of faiss: a layered graph of neighbours, walked greedily with a queue of `ef` best vertices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig
from retrieval_bench.search._faiss import FaissIndex
from retrieval_bench.search.base import Family


class HNSW(FaissIndex):
    """Hierarchical navigable small world graph over full vectors (Malkov & Yashunin 2018; faiss `IndexHNSWFlat`).

    Args:
        m: links a vertex (2·m on the ground layer).
        ef_construction: length of the queue while building.
        efforts: values of `ef`, the length of the queue while searching. Never less than k: a shorter queue would
            give short lists, so ef = k is used instead.

    Repeatable with one build thread only.
    """

    family = Family.GRAPH
    knob = "ef"
    effort_at_least_k = True

    def __init__(
        self, m: int = 16, ef_construction: int = 200, efforts: Sequence[int] = (16, 32, 64, 128, 256, 512)
    ) -> None:
        super().__init__()
        if m < 2 or ef_construction < 1:
            raise BadConfig(f"m={m}, ef_construction={ef_construction}: m from 2 and ef_construction from 1 are needed")
        self.m, self.ef_construction, self.efforts = m, ef_construction, tuple(efforts)
        self._stats, self._spent = self._faiss.cvar.hnsw_stats, 0

    def _empty(self, vectors: NDArray[np.generic], metric: int, seed: int) -> Any:
        index = self._faiss.IndexHNSWFlat(vectors.shape[1], self.m, metric)
        index.hnsw.efConstruction = self.ef_construction
        index.hnsw.rng = self._faiss.RandomGenerator(seed)  # draws the layer of each vertex
        return index

    def _search_parameters(self, k: int, effort: int | None) -> Any:
        return self._faiss.SearchParametersHNSW(efSearch=max(k, effort or 0))

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As in `Index`; a batch also reads faiss' running total of distances, which a single query has no time for."""
        if len(queries) == 1:
            return super().search(queries, k, effort)
        before = self._stats.ndis
        answer = super().search(queries, k, effort)
        self._spent = self._stats.ndis - before
        return answer

    def candidates(self) -> NDArray[np.int64]:
        """Distances computed for each query of the last call: [q].

        faiss keeps one total for the process and no count a query: the queries of a batch share theirs evenly (the sum
        is right), a single query is asked once more to see its own.
        """
        q = len(self._last)
        if q == 1:
            before = self._stats.ndis
            self._index.search(self._last, 1 if self._asked is None else self._asked[0], params=self._params)
            return np.array([self._stats.ndis - before], np.int64)
        return self._spent // q + (np.arange(q) < self._spent % q)
