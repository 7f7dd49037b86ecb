"""IVF-Flat of faiss: vectors in lists around k-means centroids; a search reads the `nprobe` nearest lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig
from retrieval_bench.search._faiss import FaissIndex
from retrieval_bench.search.base import Family

BLOCK_QUERIES = 4096


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
        if min(1 if nlist is None else nlist, train_points, iterations) < 1:
            raise BadConfig(
                f"nlist={nlist}, train_points={train_points}, iterations={iterations}: numbers from 1 are needed"
            )
        self.nlist, self.train_points, self.iterations = nlist, train_points, iterations
        self.efforts = tuple(efforts)

    def _lists(self, n: int) -> int:
        automatic = min(round(4 * n**0.5), n // 16)
        return max(1, min(n, automatic if self.nlist is None else self.nlist))

    def _empty(self, vectors: NDArray[np.generic], metric: int, seed: int) -> Any:
        n, dim = vectors.shape
        nlist = self._lists(n)
        size = min(n, nlist * self.train_points)
        # Our own sample: faiss would want the whole gallery as float32 first.
        chosen = np.sort(np.random.default_rng(seed).choice(n, size, replace=False)) if size < n else slice(None)
        quantiser = self._faiss.IndexFlat(dim, metric)
        index = self._faiss.IndexIVFFlat(quantiser, dim, nlist, metric)
        index.cp.seed, index.cp.niter = seed, self.iterations
        index.cp.min_points_per_centroid = 1  # no warning on stderr for a small gallery
        index.cp.max_points_per_centroid = max(1, self.train_points)
        index.train(np.ascontiguousarray(vectors[chosen], np.float32))
        return index

    def _search_parameters(self, k: int, effort: int | None) -> Any:
        return self._faiss.SearchParametersIVF(nprobe=1 if effort is None else effort)

    def candidates(self) -> NDArray[np.int64]:
        """Sizes of the lists that the last call read, summed for each query: [q]. Exact."""
        index, nprobe = self._index, min(self._params.nprobe, self._index.nlist)
        sizes = np.array([index.invlists.list_size(i) for i in range(index.nlist)] + [0], np.int64)
        counts = np.empty(len(self._last), np.int64)
        for start in range(0, len(counts), BLOCK_QUERIES):
            _, lists = index.quantizer.search(self._last[start : start + BLOCK_QUERIES], nprobe)
            counts[start : start + BLOCK_QUERIES] = sizes[lists].sum(axis=1)  # list -1 has size 0
        return counts
