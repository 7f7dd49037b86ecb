"""recall@k: the part of all relevant items that is in the top k."""

from __future__ import annotations

from retrieval_bench.metric._ranks import Values, check_depth, found, share
from retrieval_bench.types import Judgement


def recall(judgement: Judgement, k: int) -> Values:
    """The part of all relevant items that is in the top k: hits in top k / R.

    The recall of information retrieval (Manning, Raghavan and Schütze 2008, "Introduction to information retrieval",
    8.4). It is not what metric-learning papers call "Recall@k": see hit_rate. Below k = R it cannot reach 1.

    Returns:
        [q]; NaN for queries with nothing relevant.

    Raises:
        ValueError: k outside 1 … judged ranks.

    >>> import numpy as np
    >>> hits = np.array([[True, False, True, False]])
    >>> recall(Judgement(hits, np.ones_like(hits), np.array([4])), k=3)
    array([0.5])
    """
    check_depth(judgement, k)
    return share(found(judgement, k), judgement.relevant, judgement.relevant > 0)
