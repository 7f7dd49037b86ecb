"""Annoy: a forest of random-projection trees; a search reads `search_k` nodes of all trees, nearest first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig, CorruptInput, MissingExtra
from retrieval_bench.search.base import Family, Index
from retrieval_bench.types import Similarity

FILE, FACTS = "index.annoy", "facts.json"
BLOCK_ROWS = 4096
METRIC: dict[Similarity, Any] = {
    Similarity.COSINE: "angular",
    Similarity.DOT: "dot",
    Similarity.EUCLIDEAN: "euclidean",
}

# As arrays: numpy takes half a microsecond to make one of a plain number, at every call.
MINUS_HALF, ONE = np.array(-0.5, np.float32), np.array(1, np.float32)


class Annoy(Index):
    """Forest of trees that halve the gallery by hyperplanes between two of its points (Bernhardsson 2013; annoy).

    Args:
        trees: of the forest.
        efforts: values of `search_k`, the number of nodes read.

    Repeatable with one build thread only. The index is a mapped file, as annoy's users have it, once it is saved.
    """

    similarities = frozenset(Similarity)
    family = Family.TREE
    knob = "search_k"
    library = "annoy"

    def __init__(self, trees: int = 50, efforts: Sequence[int] = (100, 300, 1000, 3000, 10_000, 30_000)) -> None:
        if trees < 1:
            raise BadConfig(f"trees={trees}: at least 1 is needed")
        try:
            import annoy
        except ImportError as error:
            raise MissingExtra("annoy", "annoy") from error
        self._make = annoy.AnnoyIndex
        self.trees, self.efforts = trees, tuple(efforts)
        self._index: Any = None
        self._similarity, self._dim, self._threads = Similarity.COSINE, 0, 1

    def build(self, vectors: NDArray[np.generic], similarity: Similarity, seed: int) -> None:
        """Index the gallery [n, dim], row by row, as float32."""
        n, self._dim = vectors.shape
        self._similarity, self._index = similarity, self._make(self._dim, METRIC[similarity])
        self._index.set_seed(seed % 2**31)
        for start in range(0, n, BLOCK_ROWS):
            for row, vector in enumerate(vectors[start : start + BLOCK_ROWS].tolist(), start):  # lists: 3 × faster
                self._index.add_item(row, vector)
        self._index.build(self.trees, n_jobs=self._threads)

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As in `Index`. A single query costs one call of annoy, and its lists to and from arrays (3 µs at 128-d)."""
        if len(queries) == 1:
            rows, scores = self._index.get_nns_by_vector(queries.tolist()[0], k, effort, True)
            if len(rows) == k:
                return np.array([rows], np.int64), self._scores(np.array([scores], np.float32))
        return self._batch(queries, k, effort)

    def _scores(self, distances: NDArray[np.float32]) -> NDArray[np.float32]:
        """From what annoy calls a distance, in place; under dot that is the product itself."""
        if self._similarity is Similarity.EUCLIDEAN:
            np.negative(distances, distances)
        elif self._similarity is Similarity.COSINE:  # √(2 - 2·cosine)
            np.multiply(distances, distances, distances)
            np.multiply(distances, MINUS_HALF, distances)
            np.add(distances, ONE, distances)
        return distances

    def _batch(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        rows, scores = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf, np.float32)

        def answer(i: int) -> None:  # annoy has no batch call, but lets other threads run
            found, distances = self._index.get_nns_by_vector(queries[i].tolist(), k, effort, True)
            rows[i, : len(found)], scores[i, : len(found)] = found, distances

        if self._threads == 1:
            for i in range(len(queries)):
                answer(i)
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(answer, range(len(queries)), chunksize=64))
        scores = self._scores(scores)
        scores[rows < 0] = -np.inf
        return rows, scores

    def save(self, path: Path) -> None:
        """Write `index.annoy` and `facts.json` into the folder; from then on the index is that file, mapped."""
        facts = {"similarity": self._similarity, "dim": self._dim}
        (path / FACTS).write_text(json.dumps(facts), encoding="utf-8")
        self._index.save(str(path / FILE), prefault=True)

    def load(self, path: Path) -> None:
        """Map the index from the folder.

        Raises:
            CorruptInput: it is not there.
        """
        if not ((path / FACTS).exists() and (path / FILE).exists()):
            raise CorruptInput(f"{path} holds no saved annoy index; delete the folder and run again")
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
        self._similarity, self._dim = Similarity(facts["similarity"]), facts["dim"]
        self._index = self._make(self._dim, METRIC[self._similarity])
        self._index.load(str(path / FILE), prefault=True)

    def close(self) -> None:
        """Unmap the index."""
        if self._index is not None:
            self._index.unload()
        self._index = None

    def set_threads(self, threads: int) -> None:
        """Threads of a build and of a batch search."""
        self._threads = threads
