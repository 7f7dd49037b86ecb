"""hit_rate@k: 1 if anything relevant is in the top k, else 0."""

from __future__ import annotations

import numpy as np

from retrieval_bench.metric._ranks import Values, check_depth, share
from retrieval_bench.types import Judgement


def hit_rate(judgement: Judgement, k: int) -> Values:
    """1 if anything relevant is in the top k, else 0.

    Metric-learning papers print its mean as "Recall@k" or R@k (Jégou et al. 2011, "Product quantization for nearest
    neighbor search"; Oh Song et al. 2016, "Deep metric learning via lifted structured feature embedding"),
    re-identification as CMC@k.

    Returns:
        [q]; NaN for queries with nothing relevant.

    Raises:
        ValueError: k outside 1 … judged ranks.

    >>> hits = np.array([[False, True, False], [False, False, True], [False, False, False]])
    >>> judgement = Judgement(hits, np.ones_like(hits), np.array([2, 1, 0]))
    >>> hit_rate(judgement, k=2)
    array([ 1.,  0., nan])
    """
    check_depth(judgement, k)
    return share(np.asarray(judgement.hits[:, :k].any(axis=1), np.float64), 1, judgement.relevant > 0)
