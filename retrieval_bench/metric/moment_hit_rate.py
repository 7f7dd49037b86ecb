"""moment_hit_rate@k: 1 if any of the top k moments overlaps a true one enough, else 0; printed as R@n, IoU = m."""

from __future__ import annotations

import numpy as np

from retrieval_bench.intervals import MomentJudgement
from retrieval_bench.metric._ranks import IOU_SLACK, Values, check_depth, share


def moment_hit_rate(judgement: MomentJudgement, k: int, iou: float = 0.5) -> Values:
    """1 if any of the top k moments has a temporal IoU of at least `iou` with any true moment, else 0.

    "R@n, IoU = m" of Gao et al. 2017, "TALL: Temporal activity localization via language query"; over many videos as
    in Lei et al. 2020, "TVR: A large-scale dataset for video-subtitle moment retrieval".

    Returns:
        [q]; NaN for queries without a true moment.

    Raises:
        ValueError: k outside 1 … judged ranks, or iou outside (0, 1].

    >>> iou = np.array([[[0.4], [0.6]]])
    >>> judgement = MomentJudgement(iou, np.array([[8.0]]), np.array([[0, -1]]), iou > 0)
    >>> moment_hit_rate(judgement, k=1), moment_hit_rate(judgement, k=2)
    (array([0.]), array([1.]))
    """
    check_depth(judgement, k)
    if not 0 < iou <= 1:
        raise ValueError(f"iou={iou} given; use 0 < iou ≤ 1")
    best = judgement.iou[:, :k].max(axis=(1, 2), initial=0.0)
    return share(np.asarray(best >= iou - IOU_SLACK, np.float64), 1, judgement.relevant > 0)
