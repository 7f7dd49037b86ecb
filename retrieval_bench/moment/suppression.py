"""Temporal non-maximum suppression."""

from __future__ import annotations

import numpy as np

from retrieval_bench.intervals import temporal_iou
from retrieval_bench.moment.base import Floats, Ints


def suppressed(videos: Ints, starts: Floats, ends: Floats, scores: Floats, threshold: float) -> Ints:
    """Places of the moments that no better kept moment of their video overlaps with an IoU of `threshold` or more.

    Greedy, best first. Among equal scores the order is that of (video, start, end). All pairs at once, repeated until
    nothing changes, which gives the greedy answer (Cluster-NMS of Zheng et al. 2020, "Enhancing geometric factors in
    model learning and inference for object detection and instance segmentation").

    Args:
        videos, starts, ends, scores: [m]. threshold: 0 < threshold ≤ 1; 1 removes repeats only.

    Returns:
        [≤ m], best first.

    >>> seconds = np.array([0.0, 1.0, 6.0]), np.array([10.0, 11.0, 16.0])
    >>> suppressed(np.array([5, 5, 5]), *seconds, np.array([0.7, 0.9, 0.8]), threshold=0.5).tolist()
    [1, 2]
    """
    order = np.lexsort((ends, starts, videos, -scores))
    videos, starts, ends = videos[order], starts[order], ends[order]
    same = videos[:, None] == videos
    over = same & (temporal_iou(starts[:, None], ends[:, None], starts, ends) >= threshold)
    over &= np.tri(len(order), k=-1, dtype=np.bool_)  # [worse, better]
    kept = np.ones(len(order), np.bool_)
    while True:
        again = ~(over & kept).any(axis=1)
        if (again == kept).all():
            return order[kept]
        kept = again
