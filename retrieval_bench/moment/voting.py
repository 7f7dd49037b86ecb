"""Temporal Hough voting: hits → lines in (query time, video time)."""

from __future__ import annotations

import numpy as np

from retrieval_bench.moment.base import Floats, Ints, Lines

PEAKS_LOOKED_AT = 128  # cells with the most votes; one good moment fills a dozen or two


def speeds(fastest: float, duration: float, width: float) -> Floats:
    """Speeds to try, 1 first, then away from 1, evenly in the logarithm from 1/fastest to fastest.

    So many that a line of the next speed is never more than `width` seconds off at the query's ends: a short query
    cannot tell speeds apart and needs few, a long one many.

    >>> speeds(1.25, duration=8.0, width=1.0).round(3).tolist()
    [1.0, 0.8, 1.25]
    """
    side = int(np.ceil(np.log(fastest) * duration / 2 / width))
    steps = np.arange(1, side + 1) / max(side, 1)
    return np.concatenate([[1.0], np.stack([fastest**-steps, fastest**steps], axis=1).ravel()])


def vote(videos: Ints, times: tuple[Floats, Floats], weights: Floats, tried: Floats, width: float) -> Lines:
    """Votes of all hits for (video, speed, time at the query's middle), in bins of `width` seconds.

    Douze, Jégou and Schmid 2010, "An image-based approach to video copy detection with spatio-temporal post-filtering",
    vote for (video, time shift); with the speed as third parameter a clip that was made faster or slower still votes
    into one cell. Neighbouring bins of one speed add half of their votes, as a line may lie at a border.

    Args:
        videos: [h] place of the hit's video. weights: [h].
        times: [h] seconds of the query window's centre from the query's middle, and of the segment's centre.
        tried: [s] speeds; where two have equal votes, the earlier counts as better.

    Returns:
        The cells with the most votes, best first (equal ones by video, speed, time): PEAKS_LOOKED_AT at most.
    """
    query, video_time = times
    bins = np.floor((video_time - tried[:, None] * query) / width).astype(np.int64)  # [s, h]
    least = int(bins.min(initial=0))
    room = int(bins.max(initial=0)) - least + 2  # one bin stays empty: cells of two speeds are no neighbours
    keys = (videos * len(tried) + np.arange(len(tried))[:, None]) * room + bins - least
    cells, cell = np.unique(keys.ravel(), return_inverse=True)
    votes = np.asarray(np.bincount(cell, np.broadcast_to(weights, keys.shape).ravel(), len(cells)), np.float64)
    beside = np.where(np.diff(cells) == 1, 0.5, 0.0)
    smooth = votes.copy()
    smooth[1:] += beside * votes[:-1]
    smooth[:-1] += beside * votes[1:]
    best = np.arange(len(cells))
    if len(cells) > PEAKS_LOOKED_AT:
        border = np.partition(smooth, -PEAKS_LOOKED_AT)[-PEAKS_LOOKED_AT]
        best = np.flatnonzero(smooth >= border)
    best = best[np.argsort(-smooth[best], kind="stable")[:PEAKS_LOOKED_AT]]
    owner, bin_ = np.divmod(cells[best], room)
    video, speed = np.divmod(owner, len(tried))
    middle = (bin_ + least + 0.5).astype(np.float64) * width
    return Lines(video, middle, tried[speed], smooth[best])


def peaks(cells: Lines, apart: float, count: int) -> Lines:
    """The first `count` cells that have no better one of their video less than `apart` seconds away.

    Half the query's length is a good distance: it holds all cells of one place of the query, whatever their speed, and
    two places that overlap by more are one moment.
    """
    room = float(np.ptp(cells.middle)) + apart if len(cells.middle) else apart
    place = cells.middle + cells.video * room  # all videos on one axis, further apart than anything that is near
    first_near = (np.abs(place[:, None] - place) < apart).argmax(axis=1)  # best first: a peak is its own first
    kept = np.flatnonzero(first_near == np.arange(len(place)))[:count]
    return Lines(cells.video[kept], cells.middle[kept], cells.speed[kept], cells.votes[kept])
