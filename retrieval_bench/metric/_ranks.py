"""What the label metrics share: the check of the depth, the places of the hits, and the blank for undecided queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval_bench.intervals import MomentJudgement
from retrieval_bench.types import Judgement

Values = NDArray[np.float64]
IOU_SLACK = 1e-9  # an IoU that only rounding keeps below a threshold reaches it


@dataclass(frozen=True, eq=False)
class Hits:
    """The hits of all queries, listed query by query in rank order: as much memory as there are hits, not q × k.

    Attributes:
        query: [h] row of the query.
        rank: [h] counted from 0.
        before: [h] hits of the same query at better ranks.
    """

    query: NDArray[np.intp]
    rank: NDArray[np.intp]
    before: NDArray[np.intp]
    queries: int

    def sum(self, weights: Values) -> Values:
        """Sum of the weights [h] of each query's hits, best rank first: [q]."""
        return np.bincount(self.query, weights, self.queries).astype(np.float64, copy=False)


def check_depth(judgement: Judgement | MomentJudgement, k: int) -> None:
    """A cut-off must lie within the judged ranks.

    Raises:
        ValueError: k < 1 or k > depth.
    """
    if not 1 <= k <= judgement.depth:
        raise ValueError(f"cut-off {k} given, but {judgement.depth} ranks were judged; use 1 ≤ cut-off ≤ depth")


def first(judgement: Judgement, k: int) -> Hits:
    """The hits in the top k."""
    query, rank = np.nonzero(judgement.hits[:, :k])
    counts = np.bincount(query, minlength=len(judgement))
    starts = np.cumsum(counts) - counts
    return Hits(query, rank, np.arange(len(query)) - starts[query], len(judgement))


def found(judgement: Judgement, k: int) -> Values:
    """Number of hits in the top k: [q]."""
    return np.asarray(np.count_nonzero(judgement.hits[:, :k], axis=1), np.float64)


def share(numerator: Values, denominator: ArrayLike, defined: NDArray[np.bool_]) -> Values:
    """Part of a whole where `defined`, NaN elsewhere: [q]."""
    parts = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=parts, where=defined)
    return parts
