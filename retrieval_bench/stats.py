"""Intervals, paired tests and splits. A value without an interval is not a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from retrieval_bench.hashing import splitmix64

Values = NDArray[np.float64]
RESAMPLES = 1_000
ALPHA = 0.05  # all intervals are 95 %
POWER = 0.8
# Above so many drawn indices (n × resamples) the bootstrap distribution of a mean is taken from its cumulants.
MOST_DRAWS = 5_000_000
BLOCK_CELLS = 4_000_000
CACHED_CELLS = 500_000
QUANTILES = {"latency_p50_ms": 0.50, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval.

    lo and hi are NaN where nothing can be said: one query, one seed, a quantile of fewer queries than `least_queries`.
    """

    value: float
    lo: float
    hi: float


@dataclass(frozen=True)
class Difference:
    """b − a over n pairs: 95 % interval, two-sided p, and the smallest true difference seen with 80 % power."""

    value: float
    lo: float
    hi: float
    p: float
    detectable: float
    n: int


def bootstrap_mean(values: Values, seed: int) -> Interval:
    """Mean over queries with its bootstrap interval; NaN entries are left out.

    >>> bootstrap_mean(np.array([1.0, 1.0, np.nan]), seed=0)
    Interval(value=1.0, lo=1.0, hi=1.0)
    """
    return bootstrap_columns({"": values}, seed)[""]


def bootstrap_columns(columns: Mapping[str, Values], seed: int) -> dict[str, Interval]:
    """Mean of each column [q] with its bootstrap interval over queries; NaN entries are left out column by column.

    Percentile bootstrap with 1,000 resamples that all columns share, its levels widened for few queries (Hesterberg
    2015, "What teachers should know about the bootstrap", 5.3). For many queries (more than 5,000) the bootstrap
    distribution is not drawn but taken from its mean, variance and skewness (Cornish and Fisher 1938), which is nearer
    to its limit than 1,000 resamples are. A column of equal values has nothing to resample: lo = hi = value.
    """
    found: dict[str, Interval] = {}
    same: dict[bytes, list[str]] = {}
    for name, values in columns.items():
        same.setdefault(np.isnan(values).tobytes(), []).append(name)
    for names in same.values():
        whole = np.stack([columns[name] for name in names]).astype(np.float64)
        matrix = np.ascontiguousarray(whole[:, ~np.isnan(whole[0])])
        found |= dict(zip(names, _mean_intervals(matrix, seed), strict=True))
    return {name: found[name] for name in columns}


def _mean_intervals(matrix: Values, seed: int) -> list[Interval]:
    """Intervals of the means of the rows of [columns, n] without NaN."""
    n = matrix.shape[1]
    if n == 0:
        return [Interval(np.nan, np.nan, np.nan)] * len(matrix)
    low, high = matrix.min(axis=1), matrix.max(axis=1)
    means = np.clip(matrix.mean(axis=1), low, high)  # the clip: a mean of equal values is that value, not one ulp off
    if n == 1:
        return [Interval(float(mean), np.nan, np.nan) for mean in means]
    level = float(ndtr(np.sqrt(n / (n - 1)) * stdtrit(n - 1, ALPHA / 2)))
    centred = matrix - means[:, None]
    bounds = _drawn(centred, level, seed) if n * RESAMPLES <= MOST_DRAWS else _limit(centred, level)
    return [Interval(*map(float, row)) for row in zip(means, *np.clip(bounds + means, low, high), strict=True)]


def _drawn(centred: Values, level: float, seed: int) -> Values:
    """Lower and upper quantile of the resampled means: [2, columns]."""
    n = centred.shape[1]
    weights = resample_weights(n, seed)
    values = centred.astype(np.float32)
    sums = np.zeros((len(centred), RESAMPLES), np.float32)
    rows = max(1, BLOCK_CELLS // RESAMPLES)
    for start in range(0, n, rows):
        sums += values[:, start : start + rows] @ weights[start : start + rows].astype(np.float32)
    return np.asarray(np.quantile(sums.astype(np.float64) / n, [level, 1 - level], axis=1))


def _limit(centred: Values, level: float) -> Values:
    """The same from the cumulants of the resampled mean: [2, columns]."""
    n = centred.shape[1]
    squares = centred**2
    deviation = np.sqrt(squares.mean(axis=1))
    cubes = np.einsum("cn,cn->c", squares, centred) / n
    skewness = np.divide(cubes, deviation**3, out=np.zeros_like(cubes), where=deviation > 0) / np.sqrt(n)
    z = ndtri(np.array([level, 1 - level]))[:, None]
    return np.asarray((z + (z**2 - 1) * skewness / 6) * deviation / np.sqrt(n))


@lru_cache(maxsize=16)  # at most 5 MB each; all, tune and report halves of a run, labels and times
def resample_weights(n: int, seed: int) -> NDArray[np.uint8]:
    """How often each of n items stands in each resample: [n, resamples]."""
    rng = np.random.default_rng([seed, n])
    weights = np.empty((n, RESAMPLES), np.uint8)
    block = max(1, BLOCK_CELLS // n)
    for start in range(0, RESAMPLES, block):
        many = min(block, RESAMPLES - start)
        drawn = rng.integers(0, n, (many, n)) + np.arange(many)[:, None] * n
        weights[:, start : start + many] = np.bincount(drawn.ravel(), minlength=many * n).reshape(many, n).T
    weights.flags.writeable = False
    return weights


def paired(a: Values, b: Values, seed: int) -> Difference:
    """Mean of b − a over the queries [q] where both are known, bootstrapped over these queries; see `paired_p`."""
    difference = b - a
    difference = difference[~np.isnan(difference)]
    found = bootstrap_mean(difference, seed)
    return Difference(found.value, found.lo, found.hi, paired_p(difference), detectable(difference), len(difference))


def paired_p(differences: Values) -> float:
    """Two-sided p of a zero mean of paired differences [n]; NaN for fewer than two pairs.

    Student's paired t-test, found the best for retrieval by Urbano, Lima and Hanjalic 2019, "Statistical significance
    testing in information retrieval". With at most 12 pairs that differ at all: all sign flips, exactly.
    """
    n = len(differences)
    if n < 2:
        return float("nan")
    changed = differences[differences != 0]
    if len(changed) <= 12:
        signs = 1 - 2 * ((np.arange(2 ** len(changed))[:, None] >> np.arange(len(changed))) & 1)
        sums = np.abs(signs @ changed)
        return float((sums >= abs(changed.sum()) * (1 - 1e-12)).mean())
    error = differences.std(ddof=1) / np.sqrt(n)
    return float(2 * stdtr(n - 1, -abs(differences.mean()) / error)) if error > 0 else 2.0 ** (1 - n)


def detectable(differences: Values) -> float:
    """Smallest true mean of paired differences [n] that a test at 5 % finds in 80 % of cases; NaN below two pairs."""
    n = len(differences)
    if n < 2:
        return float("nan")
    return float(reach(n - 1) * differences.std(ddof=1) / np.sqrt(n))


def reach(freedom: float) -> float:
    """Standard errors between no difference and the smallest detectable one."""
    return float(stdtrit(freedom, 1 - ALPHA / 2) + stdtrit(freedom, POWER))


def least_queries(quantile: float) -> int:
    """Fewest independent values from which a quantile q of their distribution has a 95 % interval at all.

    The widest interval that a sample can give runs from its smallest to its largest value. Whatever the distribution,
    it misses q with probability qⁿ + (1 − q)ⁿ, where all n values lie on one side (Wilks 1941, "Determination of sample
    sizes for setting tolerance limits"; David and Nagaraja 2003, "Order Statistics", 7.1). Passes over the same queries
    are not independent values: they tell how long these queries take, not how slow the slowest 5 % of all are.

    >>> [least_queries(q) for q in (0.5, 0.95, 0.99)]
    [6, 59, 299]
    """
    n = ceil(log(ALPHA) / log(max(quantile, 1 - quantile)))
    return n if quantile**n + (1 - quantile) ** n <= ALPHA else n + 1


def _too_few(queries: int) -> NDArray[np.bool_]:
    """Which of the latency figures have no interval from so many queries: [4]."""
    return np.array([queries < least_queries(q) for q in QUANTILES.values()] + [queries < 2])


def latency_intervals(nanoseconds: NDArray[np.int64], seed: int) -> dict[str, Interval]:
    """p50, p95, p99 and mean in milliseconds and single-query QPS of times [pass, query], each with its interval.

    Passes and queries are resampled independently of each other (Owen 2007, "The pigeonhole bootstrap"): drift between
    passes and slow queries both widen the interval. Quantiles are times that occurred (inverted distribution function);
    from fewer queries than `least_queries` they have no interval: a resample never leaves the sample's own extremes.
    """
    value, drawn = _latency(nanoseconds, seed, 0)
    low, high = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2], axis=1)
    low, high = np.where(_too_few(nanoseconds.shape[1]), np.nan, (low, high))
    found = {name: Interval(*map(float, row)) for name, *row in zip(_NAMES, value, low, high, strict=True)}
    mean = found["latency_mean_ms"]
    return found | {"qps_single": Interval(1e3 / mean.value, 1e3 / mean.hi, 1e3 / mean.lo)}


def latency_differences(
    a: NDArray[np.int64], b: NDArray[np.int64], seed: int
) -> dict[str, tuple[float, float, Difference]]:
    """Per latency figure: a's and b's milliseconds, and b − a. Column j of both [pass, query] is one query.

    Queries are resampled together, passes apart. The p is that of a t statistic with the bootstrap's standard error and
    as many degrees of freedom as there are passes less two, since passes, not queries, carry the machine's drift. Of
    fewer queries than `least_queries`, a quantile's difference has a value only.
    """
    (value_a, drawn_a), (value_b, drawn_b) = _latency(a, seed, 0), _latency(b, seed, 1)
    value, drawn = value_b - value_a, drawn_b - drawn_a
    low, high = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2], axis=1)
    freedom = max(len(a) + len(b) - 2, 1)
    too_few = _too_few(a.shape[1])
    low, high, errors = np.where(too_few, np.nan, (low, high, drawn.std(axis=1)))
    found = {}
    for row, name in enumerate(_NAMES):
        error = float(errors[row])
        p = float(2 * stdtr(freedom, -abs(value[row]) / error)) if error > 0 else float(value[row] == 0)
        p = float("nan") if too_few[row] else p
        numbers = float(value[row]), float(low[row]), float(high[row]), p, reach(freedom) * error
        found[name] = float(value_a[row]), float(value_b[row]), Difference(*numbers, n=a.shape[1])
    return found


_NAMES = (*QUANTILES, "latency_mean_ms")


def _latency(nanoseconds: NDArray[np.int64], seed: int, side: int) -> tuple[Values, Values]:
    """The figures in milliseconds [4], and their resamples [4, resamples]. `side` 0 and 1 draw unlike passes."""
    passes, queries = nanoseconds.shape
    of_query = resample_weights(queries, seed)
    of_pass = resample_weights(passes, seed + 1 + side)
    flat = nanoseconds.ravel() / 1e6
    order = np.argsort(flat, kind="stable")
    ranked = flat[order]
    targets = np.ceil(np.array(list(QUANTILES.values())) * flat.size - 1e-9).astype(np.int32)  # samples to cover
    value = np.append(ranked[targets - 1], flat.mean())
    drawn = np.empty((len(_NAMES), RESAMPLES))
    block = max(1, CACHED_CELLS // flat.size)
    for start in range(0, RESAMPLES, block):
        part = slice(start, start + block)
        weights = _rows(of_query[:, part], order % queries) * _rows(of_pass[:, part], order // queries)
        below = np.cumsum(weights, axis=1, dtype=np.int32)
        drawn[:-1, part] = ranked[[np.searchsorted(row, targets) for row in below]].T
    by_pass = (nanoseconds / 1e6) @ of_query.astype(np.float64)
    drawn[-1] = (by_pass * of_pass).sum(axis=0) / flat.size
    return value, drawn


def _rows(weights: NDArray[np.uint8], items: NDArray[np.intp]) -> NDArray[np.uint16]:
    """Weights [n, m] of the listed items, one contiguous row a resample: [m, items]."""
    return np.take(np.ascontiguousarray(weights.T, np.uint16), items, axis=1)


def holm(p: ArrayLike) -> Values:
    """Values of p [m] corrected for m comparisons (Holm 1979); NaN stays NaN and is not counted.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    given = np.asarray(p, np.float64)
    known = np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known], kind="stable")]
    corrected = given.copy()
    corrected[order] = np.minimum(np.maximum.accumulate(given[order] * np.arange(len(order), 0, -1)), 1.0)
    return corrected


def halves(ids: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """True for the half of the queries on which efforts are tuned: [q]. By a seeded hash of the id (splitmix64).

    A query stays in its half whatever other queries there are, and in whatever order.
    """
    state = splitmix64(
        np.asarray(ids, np.int64).view(np.uint64) ^ splitmix64(np.array([seed], np.int64).view(np.uint64))
    )
    return np.asarray(state >> np.uint64(63) == 0)
