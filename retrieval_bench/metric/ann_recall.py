"""ann_recall@k: the part of the exact top k that an index returned."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval_bench.metric._neighbours import Scores, check_lists, check_same_shape, query_tolerance

RELATIVE = 1e-6
BLOCK_ROWS = 4_096
Ids = NDArray[np.int64]


def ann_recall(  # noqa: PLR0917 - two lists and their scores belong together
    exact_ids: Ids, approx_ids: Ids, exact_scores: Scores, approx_scores: Scores, tolerance: ArrayLike, k: int
) -> Scores:
    """|returned ∩ exact top k| / min(k, n); an answer that ties the k-th true score counts as one of the exact top k.

    The recall of Aumüller, Bernhardsson and Faithfull 2020, "ANN-Benchmarks", but with ties decided by what float32
    can tell apart, not by a fixed distance of 1e-3. It says nothing about labels: see recall and hit_rate.

    Args:
        exact_ids: [q, ≥ k], best first, ignored ids removed, -1 where there is no answer.
        approx_ids: the same of the index's answers.
        exact_scores: of the exact ids, recomputed in float64; larger is closer.
        approx_scores: of the returned ids, recomputed in the same way.
        tolerance: scalar, [q] or [q, any]: float32 error bound of a score. The larger of it and 1e-6 of the k-th true
            score is used.
        k: only the first k of each are looked at. A repeated id counts once.

    Returns:
        [q]; NaN where the exact list is empty (nothing is left to find).

    Raises:
        ValueError: k outside 1 … depth of either list, or shapes differ.

    >>> exact, approx = np.array([[4, 2, 9]]), np.array([[4, 7, 5]])
    >>> ann_recall(exact, approx, np.array([[0.9, 0.8, 0.7]]), np.array([[0.9, 0.7, 0.6]]), tolerance=0, k=3).round(3)
    array([0.667])
    """
    check_same_shape(exact_ids.shape, exact_scores.shape)
    check_same_shape(approx_ids.shape, approx_scores.shape)
    check_lists(exact_ids.shape, approx_ids.shape, k)
    bound = query_tolerance(tolerance, len(exact_ids))
    values = np.empty(len(exact_ids))
    for start in range(0, len(values), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        truth = exact_ids[block, :k]
        true_scores = np.where(truth >= 0, exact_scores[block, :k], np.inf)
        kth = true_scores.min(axis=1)  # not the last: float32 ordered the list
        slack = np.maximum(bound[block], RELATIVE * np.abs(np.where(np.isfinite(kth), kth, 0.0)))
        values[block] = _overlap(truth, approx_ids[block, :k], approx_scores[block, :k], kth - slack)
    return values


def _overlap(truth: Ids, returned: Ids, scores: Scores, threshold: Scores) -> Scores:
    """Returned ids that score at least the threshold [q] or stand in `truth`, per item of `truth`."""
    answered = returned >= 0
    close = answered & (scores >= threshold[:, None])
    right = _distinct(np.where(close, returned, -1))[1]
    rest = answered & ~close
    open_rows = np.flatnonzero(rest.any(axis=1))
    if len(open_rows):  # scored in one way, an exact neighbour is never below the threshold; ids decide all the same
        others = _distinct(np.where(rest[open_rows], returned[open_rows], -1))[0]
        both = np.concatenate([truth[open_rows], others], axis=1)
        right[open_rows] += both.shape[1] - (both < 0).sum(axis=1) - _distinct(both)[1]
    possible = np.count_nonzero(truth >= 0, axis=1)
    parts = np.full(len(truth), np.nan)
    np.divide(np.minimum(right, possible), possible, out=parts, where=possible > 0)
    return parts


def _distinct(ids: Ids) -> tuple[Ids, NDArray[np.int64]]:
    """Rows sorted, with -1 for repeats, and the number of distinct non-negative ids in each row."""
    ordered = np.sort(ids, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = -1
    return ordered, np.count_nonzero(ordered >= 0, axis=1)
