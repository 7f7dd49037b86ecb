"""A query of one vector: neighbouring hits of a video → moments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.intervals import RankedMoments
from retrieval_bench.moment.base import GalleryWindows, Hits, Ints

SHARE = 0.5  # of the peak's weight: the full width at half maximum


def merged(hits: Hits, scores: NDArray[np.float32], gallery: GalleryWindows) -> RankedMoments:
    """Hits of one query vector whose segments overlap or touch become one moment.

    Runs are formed twice: of all hits, then of those that weigh at least half of the best in their run. So the tail of
    the list does not widen a moment, and two peaks with a valley between them stay two. A moment reaches from the first
    segment's start to the last one's end and scores what its best segment scores: the largest, not the mean, so that a
    moment's rank depends neither on its length nor on which of its weaker segments an approximate index has missed.

    Args:
        hits: of one window. scores: [h] of each hit.

    Returns:
        Best first; equal scores by (video, start). Different moments of a video never overlap.
    """
    order = np.argsort(hits.row, kind="stable")  # rows are sorted by (video, start)
    rows, weights, found = hits.row[order], hits.weight[order], scores[order]
    run = _runs(rows, gallery)
    peak = np.zeros(run[-1] + 1 if len(run) else 0)
    np.maximum.at(peak, run, weights)
    strong = weights >= SHARE * peak[run]
    rows, found = rows[strong], found[strong]
    run = _runs(rows, gallery)
    first = np.flatnonzero(np.diff(run, prepend=-1))
    last = np.append(first[1:], len(run)) - 1 if len(run) else first
    best = np.maximum.reduceat(found, first) if len(run) else found
    ranked = np.argsort(-best, kind="stable")
    begin, end = rows[first][ranked], rows[last][ranked]
    segments = gallery.segments
    return RankedMoments(segments.items[begin], segments.starts[begin], segments.ends[end], best[ranked])


def _runs(rows: Ints, gallery: GalleryWindows) -> Ints:
    """Number of the run of each of these rows (rising): [h]."""
    segments = gallery.segments
    apart = (np.diff(gallery.of[rows]) != 0) | (segments.starts[rows[1:]] > segments.ends[rows[:-1]])
    return np.concatenate([[0], np.cumsum(apart)])[: len(rows)].astype(np.int64)
