"""The floor: answers at once, without looking at the query."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.search.base import Index
from retrieval_bench.types import Similarity

FILE = "null.json"


class Null(Index):
    """Gallery rows 0 … k-1 for every query: what the harness itself costs, measured like any index."""

    similarities = frozenset(Similarity)
    approximate_scores = True  # its scores mean nothing
    floor = True

    def __init__(self, efforts: Sequence[int] = ()) -> None:
        self.efforts = tuple(efforts)
        self._n = 0
        self._answers: dict[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.float32]]] = {}

    def build(self, vectors: NDArray[np.generic], similarity: Similarity, seed: int) -> None:
        """Remember the size of the gallery."""
        self._n = len(vectors)

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The first rows; the same read-only arrays for every call of this shape."""
        shape = (len(queries), k)
        if shape not in self._answers:
            row = np.where(np.arange(k) < self._n, np.arange(k), -1)
            rows = np.broadcast_to(row, shape)
            scores = np.broadcast_to(np.where(row < 0, -np.inf, 0).astype(np.float32), shape)
            self._answers[shape] = rows, scores
        return self._answers[shape]

    def save(self, path: Path) -> None:
        """Write the size."""
        (path / FILE).write_text(json.dumps({"n": self._n}), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Read the size."""
        self._n = int(json.loads((path / FILE).read_text(encoding="utf-8"))["n"])
        self._answers.clear()
