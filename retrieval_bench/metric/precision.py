"""precision@k: the part of the top k that is relevant."""

from __future__ import annotations

from retrieval_bench.metric._ranks import Values, check_depth, found, share
from retrieval_bench.types import Judgement


def precision(judgement: Judgement, k: int) -> Values:
    """The part of the top k that is relevant: hits in top k / k.

    Manning, Raghavan and Schütze 2008, "Introduction to information retrieval", 8.4. Ranks that an index left empty
    count as wrong; where R < k it cannot reach 1.

    Returns:
        [q]; NaN for queries with nothing relevant.

    Raises:
        ValueError: k outside 1 … judged ranks.

    >>> import numpy as np
    >>> hits = np.array([[True, False, True, False]])
    >>> precision(Judgement(hits, np.ones_like(hits), np.array([4])), k=4)
    array([0.5])
    """
    check_depth(judgement, k)
    return share(found(judgement, k), k, judgement.relevant > 0)
