"""r_precision: the part of the top R that is relevant."""

from __future__ import annotations

import numpy as np

from retrieval_bench.metric._ranks import Values, first, share
from retrieval_bench.types import Judgement


def r_precision(judgement: Judgement) -> Values:
    """The part of the top R that is relevant, R being the query's number of relevant items.

    Musgrave, Belongie and Lim 2020, "A metric learning reality check".

    Returns:
        [q]; NaN for queries with nothing relevant, and for those with R greater than the judged depth.

    >>> import numpy as np
    >>> hits = np.array([[True, False, True, False], [True, True, False, False]])
    >>> r_precision(Judgement(hits, np.ones_like(hits), np.array([3, 5]))).round(3)
    array([0.667,   nan])
    """
    relevant = judgement.relevant
    hits = first(judgement, judgement.depth)
    within = (hits.rank < relevant[hits.query]).astype(np.float64)
    return share(hits.sum(within), relevant, (relevant > 0) & (relevant <= judgement.depth))
