"""Exact search: every gallery vector is compared, in cache-sized blocks, with the gallery kept in its own dtype."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import CorruptInput
from retrieval_bench.nearest import nearest_float32, nearest_of_one
from retrieval_bench.search.base import Family, Index
from retrieval_bench.types import Similarity


class Exact(Index):
    """The harness's own kernel as an index: the yardstick of latency, and what small galleries need.

    Holds the gallery it is given (no copy). Neighbours that float32 cannot tell apart may stand for each other.

    Args:
        efforts: none; there is nothing to trade.
    """

    similarities = frozenset(Similarity)
    family = Family.EXACT
    exact = True

    def __init__(self, efforts: Sequence[int] = ()) -> None:
        if efforts:
            raise ValueError(f"exact search has no knob, so efforts must be [], not {list(efforts)}")
        self.efforts: Sequence[int] = ()
        self._threads = 1
        self._last = 0

    def warm(self, dtype: np.dtype[Any]) -> None:
        """Load the compiled code, or compile it."""
        small = (np.arange(2048 * 8) % 101).reshape(2048, 8).astype(dtype)  # large enough for the 8-bit filter
        nearest_float32(small[:32].astype(np.float32), small, 1, Similarity.DOT, 1)
        nearest_of_one(small[:1].astype(np.float32), small, 1, Similarity.DOT)

    def build(self, vectors: NDArray[np.generic], similarity: Similarity, seed: int) -> None:
        """Keep the gallery [n, dim]; nothing is computed."""
        self._vectors, self._similarity = vectors, similarity

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As in `Index`; a single query takes a path without blocks and threads."""
        self._last = len(queries)
        if self._last == 1:
            return nearest_of_one(queries, self._vectors, k, self._similarity)
        return nearest_float32(queries, self._vectors, k, self._similarity, self._threads)

    def save(self, path: Path) -> None:
        """Write the gallery as .npy, named after the similarity."""
        np.save(path / f"{self._similarity}.npy", self._vectors, allow_pickle=False)

    def load(self, path: Path) -> None:
        """Read the gallery back.

        Raises:
            CorruptInput: the folder does not hold what `save` wrote.
        """
        for similarity in Similarity:
            if (file := path / f"{similarity}.npy").exists():
                self._vectors, self._similarity = np.load(file, allow_pickle=False), similarity
                return
        raise CorruptInput(f"{path} holds no saved exact index; delete the folder and run again")

    def candidates(self) -> NDArray[np.int64]:
        """All of the gallery, for each query of the last call: [q]."""
        return np.full(self._last, len(self._vectors), np.int64)

    def set_threads(self, threads: int) -> None:
        """Threads of a batch search."""
        self._threads = threads
