"""Temporal Hough voting: hits → lines in (query time, video time)."""

from __future__ import annotations

import numpy as np

from retrieval_bench.moment.base import Floats, Ints, Lines

_AT_ONCE = 1 << 20  # votes counted together: a long query has many hits, and many speeds for each


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
        Every (video, time) that has votes once, with the speed of which it has most; best first (equal ones by video,
        speed, time).
    """
    query, video_time = times
    ends = np.array([tried.min(), tried.max()])[:, None] * query  # a line's time is between those of the two
    bounds = np.floor((video_time - ends) / width).astype(np.int64)
    least = int(bounds.min(initial=0))
    room = int(bounds.max(initial=0)) - least + 2  # one bin stays empty: cells of two speeds are no neighbours
    found = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    each = max(1, _AT_ONCE // max(1, len(videos)))
    for first in range(0, len(tried), each):
        bins = np.floor((video_time - tried[first : first + each, None] * query) / width).astype(np.int64) - least
        more = _counted(videos, bins, weights, room)
        found = _best_speeds(*(np.concatenate(pair) for pair in zip(found, (more[0], more[1] + first, more[2]))))  # noqa: B905
    place, speed, votes = found
    video, bin_ = np.divmod(place, room)
    order = np.lexsort((bin_, speed, video, -votes))
    middle = (bin_[order] + least + 0.5).astype(np.float64) * width
    return Lines(video[order], middle, tried[speed[order]], votes[order])


def _counted(videos: Ints, bins: Ints, weights: Floats, room: int) -> tuple[Ints, Ints, Floats]:
    """Of bins [s, h]: place (video and bin as one number), speed and votes of each cell, with halves of neighbours."""
    keys = (np.arange(len(bins))[:, None] * (int(videos.max(initial=0)) + 1) + videos) * room + bins
    cells, cell = np.unique(keys.ravel(), return_inverse=True)
    votes = np.asarray(np.bincount(cell, np.broadcast_to(weights, keys.shape).ravel(), len(cells)), np.float64)
    beside = np.where(np.diff(cells) == 1, 0.5, 0.0)
    smooth = votes.copy()
    smooth[1:] += beside * votes[:-1]
    smooth[:-1] += beside * votes[1:]
    speed, place = np.divmod(cells, room * (int(videos.max(initial=0)) + 1))
    return place, speed, smooth


def _best_speeds(place: Ints, speed: Ints, votes: Floats) -> tuple[Ints, Ints, Floats]:
    """Each place once, with the speed of most votes, the earlier of equal ones."""
    order = np.lexsort((speed, -votes, place))
    kept = order[np.diff(place[order], prepend=-1) != 0]
    return place[kept], speed[kept], votes[kept]


def peaks(cells: Lines, apart: float, count: int) -> Lines:
    """The first `count` cells that have no better one of their video less than `apart` seconds away.

    Half the query's length is a good distance: it holds all cells of one place of the query, whatever their speed, and
    two places that overlap by more are one moment.
    """
    if not len(cells.middle):
        return cells
    room = float(np.ptp(cells.middle)) + apart
    along = cells.middle + cells.video * room  # all videos on one axis, further apart than anything that is near
    order = np.argsort(along, kind="stable")
    sorted_ = along[order]
    # Cells stand best first, so the best of a stretch is the one with the least place.
    begin, end = np.searchsorted(sorted_, sorted_ - apart, "right"), np.searchsorted(sorted_, sorted_ + apart, "left")
    kept = np.sort(order[_least_between(order, begin, end) == order])[:count]
    return Lines(cells.video[kept], cells.middle[kept], cells.speed[kept], cells.votes[kept])


def _least_between(values: Ints, begin: Ints, end: Ints) -> Ints:
    """min(values[b:e]) for every b < e: two overlapping stretches of a power of two (a sparse table)."""
    level = np.log2(end - begin).astype(np.int64)
    found, table = np.empty_like(values), values
    for power in range(int(level.max()) + 1):
        here = np.flatnonzero(level == power)
        found[here] = np.minimum(table[begin[here]], table[end[here] - (1 << power)])
        table = np.minimum(table[: -(1 << power)], table[1 << power :]) if len(table) > 1 << power else table
    return found
