"""average_precision@k: the precision at each hit of the top k, summed and divided by a named number."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from retrieval_bench.metric._ranks import Values, check_depth, first, share
from retrieval_bench.types import Judgement


class Denominator(StrEnum):
    """What the sum of precisions is divided by; never the number of hits."""

    MIN_R_K = "min_r_k"  # the most hits that fit: a perfect list scores 1 at every k
    R = "r"  # all relevant items


def average_precision(judgement: Judgement, k: int, denominator: Denominator = Denominator.MIN_R_K) -> Values:
    """Σ P(i) · hit(i) over the ranks i ≤ k, divided by min(R, k) or by R.

    min(R, k) is the form of Weyand et al. 2020, "Google Landmarks Dataset v2"; R that of Manning, Raghavan and Schütze
    2008, "Introduction to information retrieval", 8.4, cut at k.

    Returns:
        [q]; NaN for queries with nothing relevant.

    Raises:
        ValueError: k outside 1 … judged ranks, or an unknown denominator.

    >>> import numpy as np
    >>> hits = np.array([[True, True, True, True, True]])
    >>> judgement = Judgement(hits, np.ones_like(hits), np.array([9]))
    >>> average_precision(judgement, k=5), average_precision(judgement, k=5, denominator="r").round(3)
    (array([1.]), array([0.556]))
    """
    check_depth(judgement, k)
    hits = first(judgement, k)
    relevant = judgement.relevant
    by = np.minimum(relevant, k) if Denominator(denominator) is Denominator.MIN_R_K else relevant
    return share(hits.sum((hits.before + 1) / (hits.rank + 1)), by, relevant > 0)
