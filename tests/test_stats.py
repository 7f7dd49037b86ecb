"""Statistics against closed forms, enumerations and other people's code; coverage by simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from retrieval_bench import stats
from retrieval_bench.stats import (
    bootstrap_columns,
    bootstrap_mean,
    detectable,
    halves,
    holm,
    latency_differences,
    latency_intervals,
    least_queries,
    paired,
    paired_p,
)


def normal_scores(n: int) -> np.ndarray:
    """Symmetric values with mean 0 and sd (n − 1) of exactly 1."""
    values = reference.norm.ppf((np.arange(n) + 0.5) / n)
    return values / values.std(ddof=1)


@pytest.mark.parametrize("n", [100, 1000, 20_000])  # drawn, drawn, from cumulants
def test_interval_of_a_symmetric_mean_is_the_t_interval(n: int) -> None:
    half = reference.t.ppf(0.975, n - 1) / math.sqrt(n)
    found = bootstrap_mean(normal_scores(n) + 3, seed=0)
    assert found.value == pytest.approx(3, abs=1e-12)
    exact = n > 5_000
    assert found.lo == pytest.approx(3 - half, abs=(0.001 if exact else 0.12) * half)  # 1,000 resamples: ± 12 % is 3 sd
    assert found.hi == pytest.approx(3 + half, abs=(0.001 if exact else 0.12) * half)


def test_interval_of_a_rate_is_that_of_the_binomial() -> None:
    hits = np.zeros(4000)
    hits[:40] = 1  # skewed: 40 of 4,000
    lo, hi = reference.binom.ppf([0.025, 0.975], 4000, 0.01) / 4000
    for many in (1, 2):  # drawn; from cumulants
        found = bootstrap_mean(np.tile(hits, many), seed=1)
        assert found.value == 0.01
        assert found.lo == pytest.approx(0.01 - (0.01 - lo) / math.sqrt(many), abs=0.0003)
        assert found.hi == pytest.approx(0.01 + (hi - 0.01) / math.sqrt(many), abs=0.0003)
    assert found.hi - 0.01 > 1.05 * (0.01 - found.lo)  # the skewness is seen


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3, -7e10])
@pytest.mark.parametrize("n", [2, 7, 999, 6_001])
def test_equal_values_have_no_width(value: float, n: int) -> None:
    found = bootstrap_mean(np.full(n, value), seed=0)
    assert (found.value, found.lo, found.hi) == (value, value, value)


def test_too_few_values_have_no_interval() -> None:
    one, none = bootstrap_mean(np.array([0.5, np.nan]), 0), bootstrap_mean(np.full(3, np.nan), 0)
    assert (one.value, math.isnan(one.lo), math.isnan(one.hi)) == (0.5, True, True)
    assert all(math.isnan(v) for v in (none.value, none.lo, none.hi))


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=30), seed=st.integers(0, 3))
def test_interval_holds_the_mean_and_stays_in_range(values: list[float], seed: int) -> None:
    found = bootstrap_mean(np.array(values), seed)
    assert min(values) <= found.lo <= found.value <= found.hi <= max(values)


def test_the_same_seed_gives_the_same_interval_and_another_does_not() -> None:
    values = np.random.default_rng(0).random(200)
    assert bootstrap_mean(values, 3) == bootstrap_mean(values.copy(), 3)
    assert bootstrap_mean(values, 3) != bootstrap_mean(values, 4)


@pytest.mark.parametrize("n", [300, 6_000])
def test_columns_are_what_each_is_alone_with_its_own_gaps(n: int) -> None:
    rng = np.random.default_rng(0)
    columns = {"a": rng.random(n), "b": (rng.random(n) < 0.3) * 1.0, "c": rng.random(n)}
    columns["b"][::7] = np.nan
    together = bootstrap_columns(columns, 5)
    assert list(together) == ["a", "b", "c"]
    for name, values in columns.items():
        alone = bootstrap_mean(values[~np.isnan(values)], 5)
        found = together[name]
        assert found.value == alone.value == pytest.approx(np.nanmean(values), rel=1e-14)
        assert (found.lo, found.hi) == pytest.approx((alone.lo, alone.hi), rel=1e-6)


def test_weights_are_resamples() -> None:
    weights = stats.resample_weights(50, 0)
    assert weights.shape == (50, stats.RESAMPLES)
    assert (weights.sum(axis=0) == 50).all()
    assert weights.mean(axis=1) == pytest.approx(np.ones(50), abs=0.16)  # 5 sd
    assert np.corrcoef(weights[0], weights[1])[0, 1] == pytest.approx(-1 / 49, abs=0.16)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda rng: (rng.random(70) < 0.5) * 1.0, 0.5),
        (lambda rng: (rng.random(200) < 0.85) * 1.0, 0.85),
        (lambda rng: rng.beta(0.5, 1.5, 70), 0.25),
        (lambda rng: (rng.random(6_000) < 0.02) * 1.0, 0.02),
    ],
    ids=["ROxford", "200 rates", "skewed", "from cumulants"],
)
def test_coverage(draw, truth: float) -> None:
    rng = np.random.default_rng(0)
    found = [bootstrap_mean(draw(rng), 0) for _ in range(4_000)]
    assert np.mean([i.lo <= truth <= i.hi for i in found]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.slow
def test_coverage_of_latencies() -> None:
    """Queries and passes both differ: resampling both covers a new sample of both, mean and median."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        query, drift = rng.gamma(9, 1 / 9, 200), rng.normal(1, 0.02, (10, 1))
        found = latency_intervals((1e6 * query * drift * rng.normal(1, 0.05, (10, 200))).astype(np.int64), 0)
        mean, median = found["latency_mean_ms"], found["latency_p50_ms"]
        inside.append((mean.lo <= 1 <= mean.hi, median.lo <= reference.gamma.median(9, scale=1 / 9) <= median.hi))
    assert np.mean(inside, axis=0) == pytest.approx([0.95, 0.95], abs=0.04)


# Paired tests
def test_paired_p_is_the_t_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(80), rng.random(80) + 0.1
    assert paired_p(b - a) == pytest.approx(reference.ttest_rel(b, a).pvalue, rel=1e-9)


@pytest.mark.parametrize("changed", [[1.0], [1, 1, 1], [1, -1, 1, 1, 1], [0.3, 0.2, -0.1, 0.4], [2, 2, 2, 2, 2, -1]])
def test_paired_p_of_few_changes_is_exact(changed: list[float]) -> None:
    sums = [abs(np.dot(s, changed)) for s in itertools.product([1, -1], repeat=len(changed))]
    expected = np.mean([s >= abs(sum(changed)) - 1e-9 for s in sums])
    assert paired_p(np.array(changed + [0.0] * 500)) == expected


def test_paired_p_where_nothing_or_everything_changed_alike() -> None:
    assert paired_p(np.zeros(100)) == 1
    assert paired_p(np.full(20, 0.5)) == 2.0**-19
    assert math.isnan(paired_p(np.array([0.4])))


def test_paired_leaves_out_what_one_side_lacks() -> None:
    a, b = np.array([0.0, 1, np.nan, 0, 1]), np.array([1.0, 1, 1, np.nan, 1])
    found = paired(a, b, 0)
    assert (found.value, found.n, found.p) == (1 / 3, 3, 1.0)
    assert found.lo == 0
    assert found.detectable == detectable(np.array([1.0, 0, 0]))


def test_paired_is_sharper_than_two_intervals() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(0, 1, 400)
    found = paired(a, a + rng.normal(0.05, 0.1, 400), 0)
    assert 0 < found.lo < 0.05 < found.hi
    assert found.hi - found.lo < 0.15 * (bootstrap_mean(a, 0).hi - bootstrap_mean(a, 0).lo)


def test_detectable_has_80_percent_power() -> None:
    n, noise = 60, normal_scores(60)
    shift = detectable(noise) * math.sqrt(n)  # noncentrality at sd 1
    critical = reference.t.ppf(0.975, n - 1)
    power = reference.nct.sf(critical, n - 1, shift) + reference.nct.cdf(-critical, n - 1, shift)
    assert power == pytest.approx(0.8, abs=0.005)
    assert detectable(3 * noise) == pytest.approx(3 * detectable(noise))
    assert math.isnan(detectable(noise[:1]))


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    given = np.array([0.02, np.nan, 0.01])
    assert holm(given).tolist()[::2] == [0.02, 0.02]
    assert math.isnan(holm(given)[1])
    assert holm([]).shape == (0,)


# Latency
def test_latency_figures_are_samples() -> None:
    nanoseconds = (np.arange(1000).reshape(5, 200) + 1) * 1_000
    found = latency_intervals(nanoseconds, 0)
    assert [found[f"latency_p{p}_ms"].value for p in (50, 95, 99)] == [0.5, 0.95, 0.99]
    assert found["latency_mean_ms"].value == pytest.approx(0.5005)
    assert found["qps_single"].value == pytest.approx(1 / 0.0005005)
    assert list(found) == ["latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "latency_mean_ms", "qps_single"]


def test_latency_resamples_are_those_of_passes_and_queries() -> None:
    """Against a plain loop over the same weights."""
    nanoseconds = np.random.default_rng(0).integers(1_000, 9_000, (3, 41))
    value, drawn = stats._latency(nanoseconds, 7, 0)
    of_query, of_pass = stats.resample_weights(41, 7), stats.resample_weights(3, 8)
    for b in range(0, stats.RESAMPLES, 97):
        many = np.repeat(np.repeat(nanoseconds, of_pass[:, b], axis=0), of_query[:, b], axis=1).ravel() / 1e6
        assert many.size == 123
        expected = np.append(np.quantile(many, [0.5, 0.95, 0.99], method="inverted_cdf"), many.mean())
        assert drawn[:, b] == pytest.approx(expected, rel=1e-12)
    assert value[:3].tolist() == np.quantile(nanoseconds / 1e6, [0.5, 0.95, 0.99], method="inverted_cdf").tolist()


def test_latency_interval_sees_passes_and_queries() -> None:
    drift = np.tile(np.array([[100], [105], [110], [120], [130], [135], [140]]), (1, 300)) * 1_000
    for figure in ("latency_p50_ms", "latency_mean_ms"):
        by_pass, by_query = latency_intervals(drift, 0)[figure], latency_intervals(drift.T, 0)[figure]
        assert by_pass.lo < 0.112 < 0.128 < by_pass.hi
        assert by_query.lo < 0.112 < 0.128 < by_query.hi
    constant = latency_intervals(np.full((5, 300), 2_000_000), 0)
    assert all((i.lo, i.hi) == (i.value, i.value) for i in constant.values())
    assert constant["qps_single"].value == 500


def test_least_queries_is_where_the_whole_sample_covers_a_quantile() -> None:
    """Of n values all lie on one side of a quantile with probability q^n + (1 − q)^n: at most 5 % from here on."""
    for q in (0.1, 0.5, 0.9, 0.95, 0.99):
        n = least_queries(q)
        assert q**n + (1 - q) ** n <= 0.05 < q ** (n - 1) + (1 - q) ** (n - 1)


@pytest.mark.parametrize(("queries", "quantiles"), [(5, 0), (6, 1), (58, 1), (59, 2), (298, 2), (299, 3)])
def test_quantiles_of_too_few_queries_have_no_interval(queries: int, quantiles: int) -> None:
    """However many passes there are: they repeat the same queries."""
    nanoseconds = np.random.default_rng(0).integers(1_000, 9_000, (40, queries))
    found = latency_intervals(nanoseconds, 0)
    other = latency_differences(nanoseconds, nanoseconds + 500, 0)
    for place, name in enumerate(stats.QUANTILES):
        one, two = found[name], other[name][2]
        assert math.isfinite(one.value) and math.isfinite(two.value)
        assert [math.isfinite(v) for v in (one.lo, one.hi, two.lo, two.hi, two.p, two.detectable)] == [
            place < quantiles
        ] * 6
    assert math.isfinite(found["latency_mean_ms"].lo) and math.isfinite(other["latency_mean_ms"][2].p)
    alone = latency_intervals(nanoseconds[:, :1], 0)
    assert math.isnan(alone["latency_mean_ms"].lo) and math.isnan(alone["qps_single"].hi)


def test_latency_difference_pairs_queries() -> None:
    rng = np.random.default_rng(0)
    query = rng.gamma(2, 1e5, 300) + 1e4  # hard queries are slow in both: pairing removes that
    a, b = ((scale * query * rng.normal(1, 0.01, (5, 300))).astype(np.int64) for scale in (1, 1.03))
    value_a, value_b, found = latency_differences(a, b, 0)["latency_mean_ms"]
    assert (value_a, value_b) == (pytest.approx(a.mean() / 1e6), pytest.approx(b.mean() / 1e6))
    assert found.value == pytest.approx((b.mean() - a.mean()) / 1e6)
    assert 0 < found.lo < 0.03 * query.mean() / 1e6 < found.hi
    assert found.p < 1e-6
    assert found.n == 300
    alone = latency_intervals(a, 0)["latency_mean_ms"]
    assert found.hi - found.lo < 0.2 * (alone.hi - alone.lo)
    assert 0 < found.detectable < found.value


@pytest.mark.slow
@pytest.mark.parametrize(("figure", "q", "queries"), [("latency_p95_ms", 0.95, 300), ("latency_p99_ms", 0.99, 1_000)])
def test_coverage_of_high_quantiles(figure: str, q: float, queries: int) -> None:
    rng = np.random.default_rng(0)
    truth = math.exp(0.5 * reference.norm.ppf(q))
    inside = []
    for _ in range(400):
        query = np.exp(0.5 * rng.normal(size=queries))
        found = latency_intervals((1e6 * query * rng.normal(1, 0.01, (5, queries))).astype(np.int64), 0)[figure]
        inside.append(found.lo <= truth <= found.hi)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


def test_latency_difference_of_drift_alone_is_not_found() -> None:
    """Five passes that differ among themselves by more than the runs do."""
    drift = np.array([1.0, 1.1, 0.9, 1.2, 0.8])[:, None] * 1e5
    found = latency_differences((drift * np.ones(200)).astype(int), (1.02 * drift * np.ones(200)).astype(int), 0)
    assert found["latency_mean_ms"][2].p > 0.5
    same = latency_differences(np.full((5, 9), 1_000), np.full((5, 9), 1_000), 0)["latency_p50_ms"][2]
    assert (same.value, same.p, same.detectable) == (0, 1, 0)
    other = latency_differences(np.full((5, 9), 1_000), np.full((5, 9), 1_001), 0)["latency_p50_ms"][2]
    assert other.p == 0


# Halves
def test_halves_belong_to_the_ids() -> None:
    ids = np.random.default_rng(0).integers(0, 2**63, 10_000)
    tune = halves(ids, 0)
    assert tune.mean() == pytest.approx(0.5, abs=0.02)
    order = np.random.default_rng(1).permutation(10_000)[:3_000]
    assert np.array_equal(halves(ids[order], 0), tune[order])
    assert (halves(ids, 1) == tune).mean() == pytest.approx(0.5, abs=0.02)
    assert (halves(ids, -1) == tune).mean() == pytest.approx(0.5, abs=0.02)
    assert halves(np.arange(10_000), 0).mean() == pytest.approx(0.5, abs=0.02)  # ids in a row
    assert halves(np.arange(0, 80_000, 8), 0).mean() == pytest.approx(0.5, abs=0.02)


def test_halves_stay_what_they_were() -> None:
    """Numbers of old runs hang on it."""
    assert halves(np.arange(12), 0).astype(int).tolist() == [0, 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1]
