"""What the faiss backends share: similarity to metric, scores to our orientation, files."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig, MissingExtra
from retrieval_bench.search.base import Index
from retrieval_bench.types import Similarity

if TYPE_CHECKING:
    from retrieval_bench.search._rerank import Reranker

FILE = "index.faiss"
BLOCK_ROWS = 65_536


class FaissIndex(Index):
    """A faiss index that answers by `index.search(queries, k, params=…)`.

    Cosine and dot are faiss' inner product (the harness hands over unit vectors under cosine); euclidean is its squared
    distance, turned into the negative distance. What is re-ranked takes the distance for cosine too: of unit vectors it
    has the same order, and codes keep it better (product codes of SIFT found 0.99 instead of 0.89 of the neighbours).

    Args:
        factor: re-rank so many times k candidates exactly, by the raw gallery, which then stays beside the index and
            is part of its size; none = the scores of faiss stand.
    """

    similarities: ClassVar[frozenset[Similarity]] = frozenset(Similarity)
    library: ClassVar[str | None] = "faiss-cpu"

    def __init__(self, factor: int | None = None) -> None:
        if factor is not None and factor < 1:
            raise BadConfig(f"factor={factor}: at least 1 is needed, to re-rank as many candidates as are asked for")
        try:
            import faiss
        except ImportError as error:
            raise MissingExtra("faiss", "faiss") from error
        self._faiss: ModuleType = faiss
        self._index: Any = None
        self._euclidean = False
        self._asked: tuple[int, int | None] | None = None  # the k and effort that `_params` are made for
        self._params: Any = None
        self._last: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self.factor, self._depth = factor, 0
        self._rerank: Reranker | None = None
        if factor is not None:
            from retrieval_bench.search._rerank import Reranker  # numba, only for those that need it

            self._rerank = Reranker()

    def warm(self, dtype: np.dtype[Any]) -> None:
        """That of re-ranking."""
        if self._rerank is not None:
            self._rerank.warm(dtype)

    @abstractmethod
    def _empty(self, vectors: NDArray[np.generic], metric: int, seed: int) -> Any:
        """A trained faiss index without vectors."""

    @abstractmethod
    def _search_parameters(self, k: int, effort: int | None) -> Any:
        """Faiss `SearchParameters` of an effort, for lists of depth k."""

    def build(self, vectors: NDArray[np.generic], similarity: Similarity, seed: int) -> None:
        """Index the gallery [n, dim]; other dtypes than float32 are converted block by block.

        With a factor, the gallery is held for re-ranking.
        """
        self._euclidean = similarity is Similarity.EUCLIDEAN
        by_distance = self._euclidean or (self._rerank is not None and similarity is Similarity.COSINE)
        metric = self._faiss.METRIC_L2 if by_distance else self._faiss.METRIC_INNER_PRODUCT
        index = self._empty(vectors, metric, seed)
        for start in range(0, len(vectors), BLOCK_ROWS):
            index.add(np.ascontiguousarray(vectors[start : start + BLOCK_ROWS], np.float32))
        self._adopt(index)
        if self._rerank is not None:
            self._rerank.keep(vectors, self._euclidean)

    def _adopt(self, index: Any) -> None:
        self._index, self._asked, self._params = index, None, None

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Nearest rows [q, k] and scores [q, k]. One call of faiss, then a square root and a sign, or re-ranking."""
        if self._asked != (k, effort):  # an object of 2 µs: made when the effort changes, not for every call
            self._params, self._asked = self._search_parameters(k, effort), (k, effort)
            self._depth = k if self.factor is None else min(self.factor * k, self._index.ntotal)
        self._last = queries
        scores, rows = self._index.search(queries, self._depth, params=self._params)
        if self._rerank is not None:
            return self._rerank(queries, rows, k)
        if self._euclidean:
            np.sqrt(scores, scores)
            np.negative(scores, scores)
        # Places are filled from the left, so the last column tells whether any list is short.
        if (rows[0, -1] if len(rows) == 1 else rows[:, -1].min(initial=0)) < 0:
            scores[rows < 0] = -np.inf  # faiss leaves ±3.4e38 there
        return rows, scores

    def save(self, path: Path) -> None:
        """Write `index.faiss` into the folder, and the gallery if it re-ranks."""
        self._faiss.write_index(self._index, str(path / FILE))
        if self._rerank is not None:
            self._rerank.save(path)

    def load(self, path: Path) -> None:
        """Read what `save` wrote."""
        index = self._faiss.read_index(str(path / FILE))
        self._euclidean = index.metric_type == self._faiss.METRIC_L2
        self._adopt(index)
        if self._rerank is not None:
            self._rerank.load(path)

    def close(self) -> None:
        """Free the index."""
        self._index = self._rerank = None

    def set_threads(self, threads: int) -> None:
        """OpenMP threads of faiss for the calls of this process; threads of re-ranking."""
        self._faiss.omp_set_num_threads(threads)
        if self._rerank is not None:
            self._rerank.threads = threads
