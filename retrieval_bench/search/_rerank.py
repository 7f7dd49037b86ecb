"""Exact scores for the candidates of a quantised index: the raw gallery, in its own dtype, and one compiled kernel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numba import uintp
from numpy.typing import NDArray

from retrieval_bench._compiled import njit
from retrieval_bench.errors import CorruptInput

FILES = ("gallery-product.npy", "gallery-distance.npy")  # by what it is scored
KEPT = tuple(np.dtype(t) for t in (np.float32, np.uint8, np.int8))  # float32 holds each of their values
LEAST_QUERIES = 64  # of a batch that more than one thread works on


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _score(query, vector, euclidean):  # type: ignore[no-untyped-def]
    """Dot product, or negative squared distance, in float32."""
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
def _rerank(queries, gallery, places, euclidean, rows, scores):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Write the best of the gallery rows `places` [q, m] of each query, best first; equal scores by smaller row."""
    k = rows.shape[1]
    for i in range(queries.shape[0]):
        found = 0
        for place in places[i]:
            if place < 0:
                continue
            value = _score(queries[i], gallery[place], euclidean)
            if found < k:
                at = found
                found += 1
            elif value > scores[i, k - 1] or (value == scores[i, k - 1] and place < rows[i, k - 1]):
                at = k - 1
            else:
                continue
            # They come nearly in order, so the way is short.
            while at > 0 and (scores[i, at - 1] < value or (scores[i, at - 1] == value and rows[i, at - 1] > place)):
                scores[i, at], rows[i, at] = scores[i, at - 1], rows[i, at - 1]
                at -= 1
            scores[i, at], rows[i, at] = value, place
        if euclidean:
            for j in range(found):
                scores[i, j] = -np.sqrt(-scores[i, j])
        for j in range(found, k):
            rows[i, j], scores[i, j] = -1, -np.inf


class Reranker:
    """The gallery itself, from which candidates get their exact scores.

    Holds the gallery it is given, without a copy, if it is float32 or 8 bit and in C order; else a float32 copy.
    """

    def __init__(self) -> None:
        self._gallery: NDArray[np.generic] = np.empty((0, 0), np.float32)
        self._euclidean = False
        self.threads = 1

    def warm(self, dtype: np.dtype[Any]) -> None:
        """Load the compiled code for a gallery of this dtype, or compile it."""
        self.keep(np.ones((1, 1), dtype), euclidean=False)
        self(np.ones((1, 1), np.float32), np.zeros((1, 1), np.int64), 1)

    def keep(self, gallery: NDArray[np.generic], euclidean: bool) -> None:
        """Score by this gallery [n, dim] from now on: by negative distance, or by dot product."""
        native = gallery.dtype in KEPT and gallery.dtype.isnative
        view = np.ascontiguousarray(gallery, None if native else np.float32).view(np.ndarray)
        view.flags.writeable = False  # compiled code sees one type, and never writes
        self._gallery, self._euclidean = view, euclidean

    def __call__(
        self, queries: NDArray[np.float32], places: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best of the gallery rows `places` [q, m] (-1: none) of each query: rows [q, k] and scores [q, k]."""
        q = len(queries)
        rows, scores = np.empty((q, k), np.int64), np.empty((q, k), np.float32)
        queries = queries.view()
        queries.flags.writeable = False
        if self.threads == 1 or q < LEAST_QUERIES:
            _rerank(queries, self._gallery, places, self._euclidean, rows, scores)
            return rows, scores

        def part(start: int) -> None:
            block = slice(start, start + LEAST_QUERIES)
            _rerank(queries[block], self._gallery, places[block], self._euclidean, rows[block], scores[block])

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(part, range(0, q, LEAST_QUERIES)))
        return rows, scores

    @property
    def gallery(self) -> NDArray[np.generic]:
        """The vectors held: [n, dim], read-only."""
        return self._gallery

    def save(self, path: Path) -> None:
        """Write the gallery into the folder, named after how it is scored."""
        np.save(path / FILES[self._euclidean], self._gallery, allow_pickle=False)

    def load(self, path: Path) -> None:
        """Read the gallery from the folder.

        Raises:
            CorruptInput: it is not there.
        """
        for euclidean, name in enumerate(FILES):
            if (path / name).exists():
                gallery: NDArray[Any] = np.load(path / name, allow_pickle=False)
                self.keep(gallery, bool(euclidean))
                return
        raise CorruptInput(f"{path} holds no gallery to re-rank by; delete the folder and run again")
