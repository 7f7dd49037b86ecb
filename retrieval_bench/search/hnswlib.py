"""HNSW of hnswlib, by the method's own authors: a layered graph of neighbours, walked with a queue of `ef` vertices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig, CorruptInput, MissingExtra
from retrieval_bench.search.base import Family, Index
from retrieval_bench.types import Similarity

FILE, FACTS = "index.hnswlib", "facts.json"
BLOCK_ROWS = 65_536

# An array: numpy takes half a microsecond to make one of a plain number, at every call.
ONE = np.array(1, np.float32)


class HNSWLib(Index):
    """Hierarchical navigable small world graph over float32 vectors (Malkov & Yashunin 2018; hnswlib's own code).

    Args:
        m: links a vertex (2·m on the ground layer).
        ef_construction: length of the queue while building.
        efforts: values of `ef`, the length of the queue while searching. hnswlib itself takes k where that is more.

    Repeatable with one build thread only. Its inner product is 1 - dot in float32: dot products below 1e-3 lose digits.
    """

    similarities = frozenset(Similarity)
    family = Family.GRAPH
    knob = "ef"
    effort_at_least_k = True
    library = "hnswlib"

    def __init__(
        self, m: int = 16, ef_construction: int = 200, efforts: Sequence[int] = (16, 32, 64, 128, 256, 512)
    ) -> None:
        if m < 2 or ef_construction < 1:
            raise BadConfig(f"m={m}, ef_construction={ef_construction}: m from 2 and ef_construction from 1 are needed")
        try:
            import hnswlib
        except ImportError as error:
            raise MissingExtra("hnswlib", "hnswlib") from error
        self._make = hnswlib.Index
        self.m, self.ef_construction, self.efforts = m, ef_construction, tuple(efforts)
        self._index: Any = None
        self._euclidean, self._n, self._threads = False, 0, 1
        self._ef: int | None = None  # the effort that is set

    def build(self, vectors: NDArray[np.generic], similarity: Similarity, seed: int) -> None:
        """Index the gallery [n, dim], block by block, as float32."""
        n, dim = vectors.shape
        self._euclidean = similarity is Similarity.EUCLIDEAN
        index = self._make("l2" if self._euclidean else "ip", dim)
        index.init_index(n, self.m, self.ef_construction, seed)
        for start in range(0, n, BLOCK_ROWS):
            block = np.ascontiguousarray(vectors[start : start + BLOCK_ROWS], np.float32)
            index.add_items(block, np.arange(start, start + len(block)), self._threads)
        self._adopt(index)

    def _adopt(self, index: Any) -> None:
        self._index, self._n, self._ef = index, index.element_count, None
        index.set_num_threads(self._threads)

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As in `Index`. Costs one call of hnswlib, and a square root and a sign, or a difference."""
        if effort != self._ef:
            self._index.set_ef(effort)
            self._ef = effort
        if k > self._n:
            return self._short(queries, k)
        try:
            labels, scores = self._index.knn_query(queries, k)
        except RuntimeError:  # it reached fewer vertices than k, and then gives none
            return self._short(queries, k)
        if self._euclidean:
            np.sqrt(scores, scores)
            np.negative(scores, scores)
        else:
            np.subtract(ONE, scores, scores)
        return labels.view(np.int64), scores

    def _short(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Query by query, the longest list up to k that hnswlib gives, found by halving; the rest is empty."""
        rows, scores = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32)
        for i in range(len(queries)):
            low, high = 0, min(k, self._n)
            while low < high:
                middle = (low + high + 1) // 2
                try:
                    labels, distances = self._index.knn_query(queries[i], middle)
                except RuntimeError:
                    high = middle - 1
                else:
                    low = middle
                    rows[i, :low] = labels[0]
                    scores[i, :low] = -np.sqrt(distances[0]) if self._euclidean else 1 - distances[0]
        return rows, scores

    def save(self, path: Path) -> None:
        """Write `index.hnswlib` and `facts.json` into the folder."""
        facts = {"space": self._index.space, "dim": self._index.dim}
        (path / FACTS).write_text(json.dumps(facts), encoding="utf-8")
        self._index.save_index(str(path / FILE))

    def load(self, path: Path) -> None:
        """Read both from the folder.

        Raises:
            CorruptInput: one is not there.
        """
        if not ((path / FACTS).exists() and (path / FILE).exists()):
            raise CorruptInput(f"{path} holds no saved hnswlib index; delete the folder and run again")
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
        index = self._make(facts["space"], facts["dim"])
        index.load_index(str(path / FILE))
        self._euclidean = facts["space"] == "l2"
        self._adopt(index)

    def close(self) -> None:
        """Free the index."""
        self._index = None

    def set_threads(self, threads: int) -> None:
        """Threads of a build and of a batch search."""
        self._threads = threads
        if self._index is not None:
            self._index.set_num_threads(threads)
