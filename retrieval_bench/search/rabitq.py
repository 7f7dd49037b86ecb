"""IVF-RaBitQ of faiss: one bit a dimension of rotated vectors in lists; the best re-ranked exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig
from retrieval_bench.search._faiss import FaissIndex
from retrieval_bench.search._ivf import check, lists_of, probes, sample, set_clustering, vectors_read
from retrieval_bench.search.base import Family

BLOCK = 32  # vectors that a fast scan compares at once
MOST_BITS = 9


class RaBitQ(FaissIndex):
    """Inverted lists of randomly rotated, bit-quantised residuals (Gao & Long 2024), the best of them scored exactly.

    faiss `IndexIVFRaBitQFastScan` behind a random rotation, without which its recall falls.

    The raw gallery stays beside the codes, in its own dtype, and is part of the index's size.

    Args:
        nlist: number of lists; none = 4·√n, at least 16 vectors a list on average. Never more than n.
        bits: of a code, for each dimension (1 to 9).
        factor: candidates re-ranked, as a multiple of k.
        train_points: vectors a list, drawn at random, that the centroids are fitted on.
        iterations: of k-means.
        efforts: values of `nprobe`, the number of lists read.
    """

    family = Family.QUANTISED
    knob = "nprobe"

    def __init__(  # noqa: PLR0917
        self,
        nlist: int | None = None,
        bits: int = 1,
        factor: int = 8,
        train_points: int = 64,
        iterations: int = 10,
        efforts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    ) -> None:
        super().__init__(factor)
        check(nlist, train_points, iterations)
        if not 1 <= bits <= MOST_BITS:
            raise BadConfig(f"bits={bits}: 1 to {MOST_BITS} bits a dimension are possible")
        self.nlist, self.bits = nlist, bits
        self.train_points, self.iterations, self.efforts = train_points, iterations, tuple(efforts)
        self._lists: Any = None
        self._probes: Any = None

    def _empty(self, vectors: NDArray[np.generic], metric: int, seed: int) -> Any:
        n, dim = vectors.shape
        nlist = lists_of(n, self.nlist)
        rotation = self._faiss.RandomRotationMatrix(dim, dim)
        rotation.init(seed)
        centroids = self._faiss.IndexFlat(dim, metric)
        lists = self._faiss.IndexIVFRaBitQFastScan(centroids, dim, nlist, metric, BLOCK, True, self.bits)
        set_clustering(lists.cp, seed, self.iterations, self.train_points)
        index = self._faiss.IndexPreTransform(rotation, lists)
        index.train(sample(vectors, nlist * self.train_points, seed))
        return index

    def _adopt(self, index: Any) -> None:
        super()._adopt(index)
        self._lists = self._faiss.downcast_index(index.index)

    def _search_parameters(self, k: int, effort: int | None) -> Any:
        self._probes = self._faiss.IVFRaBitQSearchParameters()
        self._probes.nprobe, self._probes.qb = probes(self._lists, effort), self._lists.qb
        return self._faiss.SearchParametersPreTransform(index_params=self._probes)

    def candidates(self) -> NDArray[np.int64]:
        """Sizes of the lists that the last call read, summed for each query: [q]. Exact; scored by their codes."""
        rotated = self._index.chain.at(0).apply(self._last)
        return vectors_read(self._lists, rotated, self._probes.nprobe)

    def close(self) -> None:
        """Free the index."""
        self._lists = None
        super().close()
