"""Intervals over seeds against closed forms."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from retrieval_bench.seeds import combine, combine_intervals, paired_seeds, seed_interval, t_interval
from retrieval_bench.stats import Interval, bootstrap_mean, paired


def test_t_interval_is_students() -> None:
    values = [0.71, 0.74, 0.72]
    lo, hi = reference.t.interval(0.95, 2, np.mean(values), reference.sem(values))
    found = t_interval(values)
    assert (found.value, found.lo, found.hi) == pytest.approx((np.mean(values), lo, hi))
    assert math.isnan(t_interval([0.7]).lo)
    assert math.isnan(t_interval([]).value)


def test_bootstrap_from_ten_seeds_on() -> None:
    values = np.random.default_rng(0).random(10)
    assert seed_interval(values[:9], 0) == t_interval(values[:9])
    assert seed_interval(values, 0) == bootstrap_mean(values, 0)


def test_combination_covers_seeds_and_queries() -> None:
    rng = np.random.default_rng(0)
    values = (rng.random((3, 500)) < np.array([[0.6], [0.7], [0.8]])) * 1.0
    values[1, 0] = np.nan  # one seed lacks it: left out of all
    whole, queries, seeds = (
        combine(values, 0),
        bootstrap_mean(values[:, 1:].mean(axis=0), 0),
        t_interval(values[:, 1:].mean(axis=1)),
    )
    assert whole.value == queries.value == pytest.approx(seeds.value)
    assert whole.hi - whole.value == pytest.approx(math.hypot(queries.hi - queries.value, seeds.hi - seeds.value))
    assert whole.value - whole.lo == pytest.approx(math.hypot(queries.value - queries.lo, seeds.value - seeds.lo))
    assert combine(values[:1], 0) == bootstrap_mean(values[0], 0)
    exact = np.tile(values[:1], (3, 1))  # a deterministic index: seeds add nothing
    assert combine(exact, 0) == bootstrap_mean(values[0], 0)


def test_intervals_a_seed_combine_with_that_of_the_seeds() -> None:
    found = combine_intervals([Interval(0.6, 0.57, 0.62), Interval(0.8, 0.75, 0.82)], 0)
    spread = 12.7062 * 0.1
    assert found.value == pytest.approx(0.7)
    assert found.value - found.lo == pytest.approx(math.hypot(0.04, spread), rel=1e-5)
    assert found.hi - found.value == pytest.approx(math.hypot(0.02, spread), rel=1e-5)
    assert combine_intervals([Interval(0.6, 0.57, 0.62)], 0) == Interval(0.6, 0.57, 0.62)


def test_a_difference_of_few_seeds_is_less_sure_than_one_of_many_queries() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(np.array([[0.1], [0.5]]), 1, (2, 900))
    alone, both = paired(np.zeros(900), values.mean(axis=0), 0), paired_seeds(values, 0)
    assert both.value == pytest.approx(alone.value)
    assert alone.p < 1e-9
    assert both.p > 0.1
    assert both.lo < 0 < alone.lo
    assert (both.n, both.detectable > alone.detectable) == (900, True)
    assert paired_seeds(np.tile(values[:1], (2, 1)), 0) == paired(np.zeros(900), values[0], 0)
