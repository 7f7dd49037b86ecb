"""What faiss' inverted lists share: how many lists, how their centroids are fitted, how much a search read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig

BLOCK_QUERIES = 4096


def check(nlist: int | None, train_points: int, iterations: int) -> None:
    """Refuse build parameters below 1.

    Raises:
        BadConfig: names all three.
    """
    if min(1 if nlist is None else nlist, train_points, iterations) < 1:
        raise BadConfig(
            f"nlist={nlist}, train_points={train_points}, iterations={iterations}: numbers from 1 are needed"
        )


def lists_of(n: int, nlist: int | None) -> int:
    """Number of lists: as asked, or 4·√n with at least 16 vectors a list on average; never more than n."""
    automatic = min(round(4 * n**0.5), n // 16)
    return max(1, min(n, automatic if nlist is None else nlist))


def sample(vectors: NDArray[np.generic], size: int, seed: int) -> NDArray[np.float32]:
    """So many rows, drawn at random, or all there are, as float32 (faiss would want the whole gallery as that)."""
    n = len(vectors)
    chosen = np.sort(np.random.default_rng(seed).choice(n, size, replace=False)) if size < n else slice(None)
    return np.ascontiguousarray(vectors[chosen], np.float32)


def set_clustering(parameters: Any, seed: int, iterations: int, points: int) -> None:
    """Set faiss `ClusteringParameters`."""
    parameters.seed, parameters.niter = seed, iterations
    parameters.min_points_per_centroid = 1  # no warning on stderr for a small gallery
    parameters.max_points_per_centroid = max(1, points)


def probes(index: Any, effort: int | None) -> int:
    """Lists to read, never more than there are: a list that does not exist spoils the scale of a fast scan's codes."""
    return min(1 if effort is None else effort, int(index.nlist))


def vectors_read(index: Any, queries: NDArray[np.float32], nprobe: int) -> NDArray[np.int64]:
    """Sizes of the `nprobe` lists that a search reads, summed for each query: [q]. Exact."""
    sizes = np.array([index.invlists.list_size(i) for i in range(index.nlist)] + [0], np.int64)
    counts = np.empty(len(queries), np.int64)
    for start in range(0, len(counts), BLOCK_QUERIES):
        _, lists = index.quantizer.search(queries[start : start + BLOCK_QUERIES], nprobe)
        counts[start : start + BLOCK_QUERIES] = sizes[lists].sum(axis=1)  # list -1 has size 0
    return counts
