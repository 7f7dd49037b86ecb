"""IVF-SQ8 of faiss: vectors of one byte a dimension in lists; a search reads the `nprobe` nearest lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.search._faiss import FaissIndex
from retrieval_bench.search._ivf import check, lists_of, probes, sample, set_clustering, vectors_read
from retrieval_bench.search.base import Family

LEAST: dict[np.dtype[Any], int] = {np.dtype(np.uint8): 0, np.dtype(np.int8): -128}  # value of these dtypes


class Scalar(FaissIndex):
    """Inverted lists of vectors with 8 bits a dimension (faiss `IndexIVFScalarQuantizer`), not re-ranked.

    A gallery of bytes is kept as it is, without loss. Of others, what is left after a list's centroid is quantised,
    each dimension between the smallest and the largest value of the training vectors.

    Args:
        nlist: number of lists; none = 4·√n, at least 16 vectors a list on average. Never more than n.
        train_points: vectors a list, drawn at random, that centroids and ranges are fitted on.
        iterations: of k-means.
        efforts: values of `nprobe`, the number of lists read.
    """

    family = Family.QUANTISED
    knob = "nprobe"
    approximate_scores = True

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
        least = LEAST.get(vectors.dtype)
        kinds = self._faiss.ScalarQuantizer
        kind = kinds.QT_8bit if least is None else kinds.QT_8bit_uniform
        centroids = self._faiss.IndexFlat(dim, metric)
        index = self._faiss.IndexIVFScalarQuantizer(centroids, dim, nlist, kind, metric, least is None)
        set_clustering(index.cp, seed, self.iterations, self.train_points)
        index.train(sample(vectors, nlist * self.train_points, seed))
        if least is not None:
            # A step of 1 from half a step below the least: every byte decodes to itself. As fast as faiss' direct
            # bytes, which would let a query that is none wrap around.
            self._faiss.copy_array_to_vector(np.array([least - 0.5, 255], np.float32), index.sq.trained)
        return index

    def _search_parameters(self, k: int, effort: int | None) -> Any:
        return self._faiss.SearchParametersIVF(nprobe=probes(self._index, effort))

    def candidates(self) -> NDArray[np.int64]:
        """Sizes of the lists that the last call read, summed for each query: [q]. Exact."""
        return vectors_read(self._index, self._last, self._params.nprobe)
