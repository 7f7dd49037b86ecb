"""Lines made exact by the hits near them, and what supports each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from retrieval_bench.moment.base import Floats, Ints, Lines

DAMPING = 1 / 9  # of the squared tolerance, as more spread of the windows
ROUNDS = 2  # of least squares: the second with the hits near the first's line


class Pairs(NamedTuple):
    """Each line with each hit of its video, one entry a pair: far fewer than lines × hits.

    Attributes:
        line: [p] place of the line. window: [p] query window of the hit. weight: [p] of the hit.
        query, video: [p] seconds of the query window's centre from the query's middle, and of the segment's centre.
    """

    line: Ints
    window: Ints
    weight: Floats
    query: Floats
    video: Floats

    @classmethod
    def of(cls, lines: Lines, videos: Ints, window: Ints, weights: Floats, times: tuple[Floats, Floats]) -> Pairs:
        """Pairs of lines and hits [h]; `videos` and `times` as in `vote`."""
        line, hit = np.nonzero(lines.video[:, None] == videos)
        return cls(line, window[hit], weights[hit], times[0][hit], times[1][hit])

    def nearness(self, lines: Lines, tolerance: float) -> tuple[Floats, Floats]:
        """Seconds by which each hit lies behind its line, and 1 on the line, ½ at the tolerance, 0 beyond: [p] each."""
        off = self.video - lines.middle[self.line] - lines.speed[self.line] * self.query
        distance = np.abs(off)
        return off, np.where(distance <= tolerance, 1 - distance / (2 * tolerance), 0.0)


def fit(lines: Lines, pairs: Pairs, tolerance: float, fastest: float) -> Lines:
    """Weighted least squares of each line over the hits of its video within `tolerance` seconds of it.

    A hit's weight falls with its distance, to a half at the tolerance. The change of speed is damped (ridge
    regression): a few neighbouring windows do not tell a speed. The speed stays within 1/fastest … fastest.
    """
    m = len(lines.video)
    for _ in range(ROUNDS):
        off, share = pairs.nearness(lines, tolerance)
        share *= pairs.weight
        moved, spread = share * off, share * pairs.query
        known = np.maximum(np.bincount(pairs.line, share, m), np.finfo(np.float64).tiny)
        mean_query = np.bincount(pairs.line, spread, m) / known
        mean_off = np.bincount(pairs.line, moved, m) / known
        square = np.bincount(pairs.line, spread * pairs.query, m) / known - mean_query**2
        product = np.bincount(pairs.line, moved * pairs.query, m) / known - mean_query * mean_off
        slope = product / (np.maximum(square, 0.0) + DAMPING * tolerance**2)
        speed = np.clip(lines.speed + slope, 1 / fastest, fastest)
        middle = lines.middle + mean_off - (speed - lines.speed) * mean_query
        lines = lines._replace(middle=middle, speed=speed)
    return lines


def support(lines: Lines, pairs: Pairs, tolerance: float, windows: int) -> Floats:
    """Weight of the best hit of each query window near each line: [m, windows]; 0 where there is none."""
    share = pairs.nearness(lines, tolerance)[1] * pairs.weight
    best = np.zeros(len(lines.video) * windows)
    np.maximum.at(best, pairs.line * windows + pairs.window, share)
    return best.reshape(-1, windows)
