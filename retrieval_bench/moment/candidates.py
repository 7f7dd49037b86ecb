"""Hits of all query windows → the videos worth a look."""

from __future__ import annotations

import numpy as np

from retrieval_bench.moment.base import Floats, Hits, Ints


def candidates(hits: Hits, videos: Ints, count: int) -> tuple[Ints, Floats]:
    """The `count` videos with the largest sum over query windows of their best hit.

    The late interaction of Khattab and Zaharia 2020, "ColBERT" (the sum over the query's vectors of the largest
    similarity), over what was found alone, as Lee et al. 2023 (see `weighted`): a window whose list does not name the
    video adds nothing. A window counts once a video, so that a long still scene does not win by its length.

    Args:
        videos: [h] the video of each hit.

    Returns:
        videos [≤ count] and their sums, best first; equal sums by rising video.

    >>> hits = Hits(np.array([0, 0, 1, 1]), np.arange(4), np.array([0.9, 0.8, 0.5, 0.4]), np.zeros(2))
    >>> found, sums = candidates(hits, np.array([7, 7, 7, 4]), count=5)
    >>> found.tolist(), sums.tolist()
    ([7, 4], [1.4, 0.4])
    """
    names, code = np.unique(videos, return_inverse=True)
    w = len(hits.floors)
    best = np.zeros(len(names) * w)
    np.maximum.at(best, code * w + hits.window, hits.weight)
    sums = best.reshape(-1, w).sum(axis=1)
    order = np.argsort(-sums, kind="stable")[:count]
    return names[order], sums[order]
