"""moment_average_precision@k: interpolated average precision of ranked moments, mean over IoU 0.5 … 0.95."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.intervals import MomentJudgement
from retrieval_bench.metric._ranks import IOU_SLACK, Values, check_depth, share

IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def moment_average_precision(judgement: MomentJudgement, k: int, ious: Sequence[float] = IOUS) -> Values:
    """(1/R) Σ over the right answers of the top k of the largest precision at or behind it, mean over the thresholds.

    At each threshold every answer, in rank order, takes the free true moment that it overlaps most; it is right if that
    IoU reaches the threshold, and a true moment is taken once. Precision is interpolated at all points (the largest at
    any later rank). The evaluation of ActivityNet detection (Caba Heilbron et al. 2015), done a query at a time by
    QVHighlights (Lei et al. 2021, "Detecting moments and highlights in videos via natural language queries"; k = 10);
    its mean over queries is mAP.

    Returns:
        [q]; NaN for queries without a true moment.

    Raises:
        ValueError: k outside 1 … judged ranks, or a threshold outside (0, 1].

    >>> iou = np.array([[[0.0], [1.0], [1.0]]])  # the true moment at rank 2; the third answer finds it taken
    >>> judgement = MomentJudgement(iou, np.array([[8.0]]), np.array([[0, 1, -1]]), iou > 0)
    >>> moment_average_precision(judgement, k=3)
    array([0.5])
    """
    check_depth(judgement, k)
    thresholds = np.asarray(ious, np.float64)
    if not len(thresholds) or not ((thresholds > 0) & (thresholds <= 1)).all():
        raise ValueError(f"ious={list(ious)} given; use one or more of 0 < iou ≤ 1")
    right = _matched(judgement.iou[:, :k], thresholds)
    precision = np.cumsum(right, axis=2) / np.arange(1, k + 1)
    best_behind = np.maximum.accumulate(precision[:, :, ::-1], axis=2)[:, :, ::-1]
    total = np.where(right, best_behind, 0.0).sum(axis=2).mean(axis=1)
    return share(total, judgement.relevant, judgement.relevant > 0)


def _matched(iou: Values, thresholds: Values) -> NDArray[np.bool_]:
    """Which answers are right at each threshold, true moments being taken one by one: [q, thresholds, k]."""
    q, k, t = iou.shape
    right = np.zeros((q, len(thresholds), k), np.bool_)
    if not t:
        return right
    taken = np.zeros((q, len(thresholds), t), np.bool_)
    for rank in range(k):
        free = np.where(taken, -1.0, iou[:, rank, None, :])
        best = free.argmax(axis=2)[:, :, None]
        right[:, :, rank] = np.take_along_axis(free, best, 2)[:, :, 0] >= thresholds - IOU_SLACK
        np.put_along_axis(taken, best, np.take_along_axis(taken, best, 2) | right[:, :, rank, None], 2)
    return right
