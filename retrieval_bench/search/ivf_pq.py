"""IVF-PQ of faiss: 4-bit product-quantised codes in lists, scanned in registers; the best re-ranked exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig
from retrieval_bench.search._faiss import FaissIndex
from retrieval_bench.search._ivf import check, lists_of, probes, sample, set_clustering, vectors_read
from retrieval_bench.search.base import Family

CENTROIDS = 16  # of a sub-quantiser: 4 bits, which a register's table look-up needs
WIDTHS = (2, 3)  # dimensions of a sub-quantiser, in order of preference


class IVFPQ(FaissIndex):
    """Inverted lists of product codes (Jégou et al. 2011), the best of them scored exactly.

    faiss `IndexIVFPQFastScan`: codes of 4 bits are looked up in registers, as André et al. 2015 do.

    The raw gallery stays beside the codes, in its own dtype, and is part of the index's size.

    Args:
        nlist: number of lists; none = 4·√n, at least 16 vectors a list on average. Never more than n.
        m: sub-quantisers of 4 bits, a divisor of the dimension; none = one for every 2 dimensions, or for 3 or 1
            where 2 does not divide it.
        residual: quantise what is left of a vector after its list's centroid, instead of the vector.
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
        m: int | None = None,
        residual: bool = True,
        factor: int = 8,
        train_points: int = 64,
        iterations: int = 10,
        efforts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    ) -> None:
        super().__init__(factor)
        check(nlist, train_points, iterations)
        self.nlist, self.m, self.residual = nlist, m, residual
        self.train_points, self.iterations, self.efforts = train_points, iterations, tuple(efforts)

    def _parts(self, dim: int) -> int:
        """Sub-quantisers for vectors of this dimension.

        Raises:
            BadConfig: `m` does not divide it.
        """
        if self.m is None:
            return dim // next((width for width in WIDTHS if dim % width == 0), 1)
        if self.m < 1 or dim % self.m:
            allowed = ", ".join(str(m) for m in range(1, dim + 1) if dim % m == 0)
            raise BadConfig(
                f"m={self.m} sub-quantisers do not divide {dim} dimensions; type m=null to have it chosen, or one of"
                f" {allowed}"
            )
        return self.m

    def _empty(self, vectors: NDArray[np.generic], metric: int, seed: int) -> Any:
        n, dim = vectors.shape
        parts, nlist = self._parts(dim), lists_of(n, self.nlist)
        index = self._faiss.IndexIVFPQFastScan(self._faiss.IndexFlat(dim, metric), dim, nlist, parts, 4, metric)
        index.by_residual = self.residual
        for parameters in (index.cp, index.pq.cp):
            set_clustering(parameters, seed, self.iterations, self.train_points)
        index.pq.cp.niter = 25  # faiss' own
        index.pq.cp.max_points_per_centroid = 256
        learned = sample(vectors, max(nlist * self.train_points, CENTROIDS * 256), seed)
        index.train(np.resize(learned, (max(len(learned), CENTROIDS), dim)))  # faiss wants a point a centroid: repeated
        return index

    def _search_parameters(self, k: int, effort: int | None) -> Any:
        return self._faiss.SearchParametersIVF(nprobe=probes(self._index, effort))

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Nearest rows [q, k] and exact scores [q, k] of the `factor`·k candidates with the best codes."""
        rows, scores = super().search(queries, k, effort)
        if self._rerank is not None and (rows[0, 0] if len(rows) == 1 else rows[:, 0].min(initial=0)) < 0:
            for i in np.flatnonzero(rows[:, 0] < 0):
                one = queries[i : i + 1]
                rows[i], scores[i] = self._rerank(one, self._members(one), k)
        return rows, scores

    def _members(self, query: NDArray[np.float32]) -> NDArray[np.int64]:
        """All rows [1, m] of the lists that a query [1, dim] reads.

        A fast scan of products passes over codes of the least value there is. Where all vectors are equal, or there is
        only one, they all have it.
        """
        lists = self._index.invlists
        _, probed = self._index.quantizer.search(query, self._params.nprobe)
        ids = [self._faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i)) for i in map(int, probed[0]) if i >= 0]
        return np.concatenate([*ids, np.empty(0, np.int64)])[None]

    def candidates(self) -> NDArray[np.int64]:
        """Sizes of the lists that the last call read, summed for each query: [q]. Exact; scored by their codes."""
        return vectors_read(self._index, self._last, self._params.nprobe)
