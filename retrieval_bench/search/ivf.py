"""IVF-Flat of faiss: vectors in lists around k-means centroids; a search reads the `nprobe` nearest lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.search._faiss import FaissIndex
from retrieval_bench.search._ivf import check, lists_of, probes, sample, set_clustering, vectors_read
from retrieval_bench.search.base import Family


class IVF(FaissIndex):
    """Inverted lists of full vectors (Jégou et al. 2011, without the quantiser; faiss `IndexIVFFlat`).

    Args:
        nlist: number of lists; none = 4·√n, at least 16 vectors a list on average. Never more than n.
        train_points: vectors a list, drawn at random, that the centroids are fitted on.
        iterations: of k-means.
        efforts: values of `nprobe`, the number of lists read.
    """

    family = Family.INVERTED_LIST
    knob = "nprobe"

    def __init__(
        self,
        nlist: int | None = None,
        train_points: int = 64,
        iterations: int = 10,
        efforts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    ) -> None:
        super().__init__()
        check(nlist, train_points, iterations)
        self.nlist, self.train_points, self.iterations = nlist, train_points, iterations
        self.efforts = tuple(efforts)

    def _empty(self, vectors: NDArray[np.generic], metric: int, seed: int) -> Any:
        n, dim = vectors.shape
        nlist = lists_of(n, self.nlist)
        index = self._faiss.IndexIVFFlat(self._faiss.IndexFlat(dim, metric), dim, nlist, metric)
        set_clustering(index.cp, seed, self.iterations, self.train_points)
        index.train(sample(vectors, nlist * self.train_points, seed))
        return index

    def _search_parameters(self, k: int, effort: int | None) -> Any:
        return self._faiss.SearchParametersIVF(nprobe=probes(self._index, effort))

    def candidates(self) -> NDArray[np.int64]:
        """Sizes of the lists that the last call read, summed for each query: [q]. Exact."""
        return vectors_read(self._index, self._last, self._params.nprobe)
