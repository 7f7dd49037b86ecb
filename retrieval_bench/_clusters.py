"""Intervals of means over values that belong together: windows of one query say much the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from retrieval_bench.seeds import added, paired_seeds, seed_interval
from retrieval_bench.stats import ALPHA, RESAMPLES, Difference, Interval, Values, resample_weights


def cluster_columns(columns: Mapping[str, Values], owner: NDArray[np.int64], seed: int) -> dict[str, Interval]:
    """Mean of each column [q] with its bootstrap interval over owners; NaN entries are left out column by column.

    Whole owners are drawn with all their values, and the mean is that of the drawn values: the cluster bootstrap
    (Davison and Hinkley 1997, "Bootstrap methods and their application", 3.8), with levels widened for few owners as in
    `bootstrap_columns`. Values of one owner need not be independent of each other.

    Args:
        owner: [q] what each value belongs to.

    >>> columns = {"": np.array([1.0, 1.0, 0.0, 0.0])}
    >>> cluster_columns(columns, np.array([7, 7, 9, 9]), seed=0)[""]
    Interval(value=0.5, lo=0.0, hi=1.0)
    """
    return {name: _interval(values, owner, seed) for name, values in columns.items()}


def cluster_paired(differences: NDArray[np.float64], owner: NDArray[np.int64], seed: int) -> Difference:
    """Mean of b − a over [seed, q], NaN left out, with an interval, a p and the number of pairs of whole owners.

    The interval is that of `cluster_columns`, with that over seeds, where there are several, as in `seeds.combine`. The
    p is that of `paired_seeds` over the sums of the owners, scaled so that their mean is the mean over all values: with
    no difference they have mean zero, however many values an owner has.
    """
    known = ~np.isnan(differences).any(axis=0)
    differences, owner = differences[:, known], owner[known]
    names, place = np.unique(owner, return_inverse=True)
    if len(names) == len(owner):
        return paired_seeds(differences, seed)
    sums = np.stack([np.bincount(place, row, len(names)) for row in differences])
    found = paired_seeds(sums * len(names) / len(owner), seed)
    over = _interval(differences.mean(axis=0), owner, seed)
    if len(differences) > 1:
        over = added(over, seed_interval(differences.mean(axis=1), seed))
    return replace(found, value=over.value, lo=over.lo, hi=over.hi)


def _interval(values: Values, owner: NDArray[np.int64], seed: int) -> Interval:
    known = ~np.isnan(values)
    if not known.any():
        return Interval(np.nan, np.nan, np.nan)
    values, names, place = values[known], *np.unique(owner[known], return_inverse=True)
    low, high = float(values.min()), float(values.max())
    mean, n = float(np.clip(values.mean(), low, high)), len(names)
    if n == 1:
        return Interval(mean, np.nan, np.nan)
    totals = np.stack([np.bincount(place, values, n), np.bincount(place, minlength=n)]).astype(np.float64)
    drawn = np.zeros((2, RESAMPLES))
    weights = resample_weights(n, seed)
    for start in range(0, n, 4096):
        drawn += totals[:, start : start + 4096] @ weights[start : start + 4096].astype(np.float64)
    level = float(ndtr(np.sqrt(n / (n - 1)) * stdtrit(n - 1, ALPHA / 2)))
    bounds = np.clip(np.quantile(drawn[0] / drawn[1], [level, 1 - level]), low, high)
    return Interval(mean, float(min(bounds[0], mean)), float(max(bounds[1], mean)))
