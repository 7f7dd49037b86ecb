"""video_hit_rate@k: 1 if a video with a true moment is among the first k different videos of the list, else 0."""

from __future__ import annotations

import numpy as np

from retrieval_bench.intervals import MomentJudgement
from retrieval_bench.metric._ranks import Values, check_depth, share


def video_hit_rate(judgement: MomentJudgement, k: int) -> Values:
    """1 if one of the first k different videos holds a true moment, wherever in the video the answer lies, else 0.

    The list of moments is read as a list of videos, each at the rank of its best moment: several moments of one video
    count as one answer ("video retrieval" of Lei et al. 2020, "TVR"). So it is at least moment_hit_rate@k.

    Returns:
        [q]; NaN for queries without a true moment.

    Raises:
        ValueError: k outside 1 … judged ranks.

    >>> same, places = np.array([[[False], [False], [True]]]), np.array([[0, -1, 1]])  # the second repeats a video
    >>> judgement = MomentJudgement(np.zeros((1, 3, 1)), np.array([[8.0]]), places, same)
    >>> video_hit_rate(judgement, k=1), video_hit_rate(judgement, k=2)
    (array([0.]), array([1.]))
    """
    check_depth(judgement, k)
    within = judgement.same.any(axis=2) & (judgement.videos >= 0) & (judgement.videos < k)
    return share(np.asarray(within.any(axis=1), np.float64), 1, judgement.relevant > 0)
