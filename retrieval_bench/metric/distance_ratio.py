"""distance_ratio@k: how much farther the returned answers lie than the exact ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval_bench.metric._neighbours import Scores, check_lists, query_tolerance
from retrieval_bench.metric._ranks import share
from retrieval_bench.types import Similarity


def distance_ratio(
    exact_scores: Scores, approx_scores: Scores, similarity: Similarity, tolerance: ArrayLike, k: int
) -> Scores:
    """Σ distances of the true k nearest / Σ distances of the k returned: 1 is exact, less is farther.

    The inverse of the overall ratio of Tao et al. 2009, "Quality and efficiency in high dimensional nearest neighbor
    search". Euclidean: the distance. Cosine: 1 − s. Dot has no distance: Σ returned scores / Σ true scores, the
    approximation ratio of maximum inner product search (Shrivastava and Li 2014), NaN where that means nothing
    (the sums differ and the true one is not positive).

    Args:
        exact_scores: [q, ≥ k], recomputed in float64, larger is closer, -inf where there is no answer.
        approx_scores: the same of the index's answers.
        similarity: what the scores are.
        tolerance: scalar, [q] or [q, any]: float32 error bound of a score.
        k: exactly so many of each; fewer where fewer exist (the exact list is shorter).

    Returns:
        [q]. 1 where the sums differ by no more than k tolerances: two sums of 0, duplicates and collapsed embeddings
        included. 0 where an answer is missing: nothing returned is infinitely far. NaN where the exact list is empty.

    Raises:
        ValueError: k outside 1 … depth of either list, or shapes differ.

    >>> exact, approx = np.array([[-1.0, -2.0]]), np.array([[-1.0, -3.0]])
    >>> distance_ratio(exact, approx, Similarity.EUCLIDEAN, tolerance=0, k=2)
    array([0.75])
    """
    check_lists(exact_scores.shape, approx_scores.shape, k)
    exists = exact_scores[:, :k] != -np.inf
    count = np.count_nonzero(exists, axis=1)
    complete = (count > 0) & ~((approx_scores[:, :k] == -np.inf) & exists).any(axis=1)
    used = exists & complete[:, None]
    true = np.where(used, exact_scores[:, :k], 0.0).sum(axis=1)
    returned = np.where(used, approx_scores[:, :k], 0.0).sum(axis=1)
    near, far = _sums(true, returned, count, Similarity(similarity))
    same = np.abs(true - returned) <= count * query_tolerance(tolerance, len(count))
    ratio = np.where(same, 1.0, share(near, far, far > 0))
    return np.where(count == 0, np.nan, np.where(complete, ratio, 0.0))


def _sums(true: Scores, returned: Scores, count: NDArray[np.int64], similarity: Similarity) -> tuple[Scores, Scores]:
    """Numerator and denominator of the ratio from the sums of scores: [q] each."""
    if similarity is Similarity.DOT:
        return np.maximum(returned, 0.0), true
    offset = count if similarity is Similarity.COSINE else 0
    return np.maximum(offset - true, 0.0), np.maximum(offset - returned, 0.0)
