"""average_precision_trapezoid@k: the area under the precision-recall curve by trapezoids, the Oxford and Paris form."""

from __future__ import annotations

import numpy as np

from retrieval_bench.metric._ranks import Values, check_depth, first, share
from retrieval_bench.types import Judgement


def average_precision_trapezoid(judgement: Judgement, k: int) -> Values:
    """(1/R) Σ over the hits of the top k of the mean of the precisions just before and at the hit.

    Philbin et al. 2007, "Object retrieval with large vocabularies and fast spatial matching"; Radenović et al. 2018,
    "Revisiting Oxford and Paris". The precision before rank 1 is 1. Published values take k = the whole gallery;
    below k = R it cannot reach 1.

    Returns:
        [q]; NaN for queries with nothing relevant.

    Raises:
        ValueError: k outside 1 … judged ranks.

    >>> import numpy as np
    >>> hits = np.array([[False, True, False, False]])
    >>> average_precision_trapezoid(Judgement(hits, np.ones_like(hits), np.array([1])), k=4)
    array([0.25])
    """
    check_depth(judgement, k)
    hits = first(judgement, k)
    before = np.where(hits.rank == 0, 1.0, hits.before / np.maximum(hits.rank, 1))
    at = (hits.before + 1) / (hits.rank + 1)
    return share(hits.sum((before + at) / 2), judgement.relevant, judgement.relevant > 0)
