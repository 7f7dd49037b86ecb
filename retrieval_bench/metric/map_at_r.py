"""map_at_r: the mean over the top R of the precision at each hit."""

from __future__ import annotations

import numpy as np

from retrieval_bench.metric._ranks import Values, first, share
from retrieval_bench.types import Judgement


def map_at_r(judgement: Judgement) -> Values:
    """(1/R) Σ P(i) · hit(i) over the ranks i ≤ R, R being the query's number of relevant items.

    MAP@R of Musgrave, Belongie and Lim 2020, "A metric learning reality check".

    Returns:
        [q]; NaN for queries with nothing relevant, and for those with R greater than the judged depth.

    >>> import numpy as np
    >>> hits = np.array([[True, False, True, False], [True, True, False, False]])
    >>> map_at_r(Judgement(hits, np.ones_like(hits), np.array([3, 5]))).round(3)
    array([0.556,   nan])
    """
    relevant = judgement.relevant
    hits = first(judgement, judgement.depth)
    precisions = np.where(hits.rank < relevant[hits.query], (hits.before + 1) / (hits.rank + 1), 0.0)
    return share(hits.sum(precisions), relevant, (relevant > 0) & (relevant <= judgement.depth))
