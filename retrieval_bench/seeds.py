"""Intervals and tests over build or training seeds, on top of those over queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr, stdtrit

from retrieval_bench.stats import ALPHA, Difference, Interval, Values, bootstrap_mean, paired, reach

FEW_SEEDS = 10


def t_interval(values: Sequence[float] | Values) -> Interval:
    """Mean of a few independent values (seeds) with Student's interval; the bounds of one value are NaN."""
    given = np.asarray(values, np.float64)
    n = len(given)
    mean = float(given.mean()) if n else float("nan")
    if n < 2:
        return Interval(mean, np.nan, np.nan)
    half = float(stdtrit(n - 1, 1 - ALPHA / 2) * given.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half)


def seed_interval(values: Sequence[float] | Values, seed: int) -> Interval:
    """Mean over build or training seeds: Student's interval below ten seeds, bootstrap from ten on."""
    given = np.asarray(values, np.float64)
    return t_interval(given) if len(given) < FEW_SEEDS else bootstrap_mean(given, seed)


def combine(values: Values, seed: int) -> Interval:
    """Mean over seeds and queries of [seed, query], NaN left out; the interval covers the chance of both.

    The distances to the bounds of the two intervals (over seeds; over queries of the mean over seeds) add as squares.
    One seed: the interval over queries alone.
    """
    known = values[:, ~np.isnan(values).any(axis=0)]
    over_queries = bootstrap_mean(known.mean(axis=0), seed)
    if len(values) < 2 or known.shape[1] == 0:
        return over_queries
    return added(over_queries, seed_interval(known.mean(axis=1), seed))


def combine_intervals(intervals: Sequence[Interval], seed: int) -> Interval:
    """Likewise from one interval over queries a seed: their mean distances to the bounds stand for the queries' chance.

    Wider than `combine`, which sees that different seeds err on different queries. One seed: its interval.
    """
    value, lo, hi = np.array([[i.value, i.lo, i.hi] for i in intervals]).T
    if len(intervals) < 2:
        return intervals[0]
    over_seeds = seed_interval(value, seed)
    mean = over_seeds.value
    return added(Interval(mean, mean - float((value - lo).mean()), mean + float((hi - value).mean())), over_seeds)


def added(a: Interval, b: Interval) -> Interval:
    """The interval of a, its distances to the bounds and those of b added as squares."""
    down, up = np.hypot(a.value - a.lo, b.value - b.lo), np.hypot(a.hi - a.value, b.hi - b.value)
    return Interval(a.value, float(a.value - down), float(a.value + up))


def paired_seeds(differences: Values, seed: int) -> Difference:
    """Mean of b − a over [seed, query], NaN left out: `combine`'s interval, and a p that counts seeds and queries.

    The t statistic has the two standard errors added as squares and Satterthwaite's degrees of freedom (1946). One
    seed, or seeds that all agree: `stats.paired` over queries.
    """
    known = differences[:, ~np.isnan(differences).any(axis=0)]
    seeds, queries = known.shape
    over_queries = known.mean(axis=0)
    alone = paired(np.zeros(queries), over_queries, seed)
    if min(seeds, queries) < 2 or np.ptp(known.mean(axis=1)) == 0:
        return alone
    errors = np.array([over_queries.std(ddof=1) / np.sqrt(queries), known.mean(axis=1).std(ddof=1) / np.sqrt(seeds)])
    total = float(np.hypot(*errors))
    freedom = total**4 / float((errors**4 / [queries - 1, seeds - 1]).sum())
    found = combine(known, seed)
    p = max(alone.p, float(2 * stdtr(freedom, -abs(found.value) / total)))
    return Difference(found.value, found.lo, found.hi, p, reach(freedom) * total, queries)
