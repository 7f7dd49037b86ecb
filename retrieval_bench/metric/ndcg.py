"""ndcg@k: discounted gain of the top k as a part of the best that any order could have."""

from __future__ import annotations

import numpy as np

from retrieval_bench.metric._ranks import Values, check_depth, first, share
from retrieval_bench.types import Judgement


def ndcg(judgement: Judgement, k: int) -> Values:
    """Σ gain(i) / log2(i + 1) over the ranks i ≤ k, divided by the same sum of the best possible order.

    Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", with the discount log2(i + 1).
    The gain is 1 a hit where the judgement has no gains, else the gain itself (not 2^gain − 1).

    Returns:
        [q]; NaN for queries with nothing relevant.

    Raises:
        ValueError: k outside 1 … judged ranks, or a negative gain.

    >>> import numpy as np
    >>> hits = np.array([[False, True, True]])
    >>> ndcg(Judgement(hits, np.ones_like(hits), np.array([2])), k=3).round(4)
    array([0.6934])
    >>> gains = {"gains": np.array([[0.0, 1.0, 3.0]]), "ideal_gains": np.array([[3.0, 1.0, 0.0]])}
    >>> ndcg(Judgement(hits, np.ones_like(hits), np.array([2]), **gains), k=3).round(4)
    array([0.5869])
    """
    check_depth(judgement, k)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    if judgement.gains is None or judgement.ideal_gains is None:
        hits = first(judgement, k)
        best = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(judgement.relevant, k)]
        return share(hits.sum(discounts[hits.rank]), best, judgement.relevant > 0)
    if (judgement.gains < 0).any() or (judgement.ideal_gains < 0).any():
        raise ValueError("a gain is negative; ndcg needs gains ≥ 0")
    gain = (judgement.gains[:, :k] * discounts).sum(axis=1)
    best = (judgement.ideal_gains[:, :k] * discounts).sum(axis=1)
    return share(np.minimum(gain, best), best, (judgement.relevant > 0) & (best > 0))  # min: sums round differently
