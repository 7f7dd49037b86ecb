from pathlib import Path

import numpy as np
import pytest

from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.transform.base import Transform
from retrieval_bench.transform.centring import Centring
from retrieval_bench.transform.float16 import Float16
from retrieval_bench.transform.int8 import Int8
from retrieval_bench.transform.pca_whitening import PcaWhitening
from retrieval_bench.transform.truncation import Truncation

ALL = [Centring(), PcaWhitening(dim=4), PcaWhitening(), Truncation(dim=3), Float16(), Int8(), Int8(per_dimension=True)]


def correlated(n: int = 9000, dim: int = 6) -> np.ndarray:
    """More than two blocks of vectors, whose columns depend on one another, away from the origin."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, dim)) * [5, 3, 2, 1, 0.5, 0.1] @ rng.normal(size=(dim, dim)) + 7).astype(np.float32)


@pytest.mark.parametrize("transform", ALL, ids=lambda t: str(t.describe()))
def test_every_transform(transform: Transform) -> None:
    train = correlated()
    before = train.copy()
    transform.fit(train, 0)
    whole = transform.apply(train)
    assert whole.dtype == np.float32 and whole.shape == (9000, transform.dim_out(6))
    np.testing.assert_array_equal(train, before)
    parts = np.concatenate([transform.apply(train[start : start + 700]) for start in range(0, 9000, 700)])
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-5)
    assert transform.apply(train[:0]).shape == (0, transform.dim_out(6))


@pytest.mark.parametrize("transform", ALL, ids=lambda t: str(t.describe()))
def test_a_fit_repeats_and_takes_bytes(transform: Transform) -> None:
    train = np.random.default_rng(1).integers(0, 256, (500, 6), dtype=np.uint8)
    transform.fit(train, 0)
    first = transform.apply(train.astype(np.float32))
    transform.fit(train.astype(np.float64), 0)
    np.testing.assert_array_equal(transform.apply(train.astype(np.float32)), first)


def test_whitening_gives_identity_covariance_on_the_training_vectors() -> None:
    train = correlated()
    whitening = PcaWhitening()
    whitening.fit(train, 0)
    white = whitening.apply(train).astype(np.float64)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(6), atol=1e-4)


def test_rotation_alone_keeps_distances_and_sorts_variances() -> None:
    train = correlated()
    rotation = PcaWhitening(power=0)
    rotation.fit(train, 0)
    turned = rotation.apply(train).astype(np.float64)
    variances = turned.var(axis=0)
    assert (np.diff(variances) < 0).all()
    np.testing.assert_allclose(
        variances, np.linalg.eigvalsh(np.cov(train.T.astype(np.float64), bias=True))[::-1], rtol=1e-3
    )
    apart = np.linalg.norm(train[:50, None].astype(np.float64) - train[None, :50], axis=2)
    np.testing.assert_allclose(
        np.linalg.norm(turned[:50, None] - turned[None, :50], axis=2), apart, rtol=1e-4, atol=1e-4
    )


def test_kept_axes_are_the_first_ones() -> None:
    train, few, every = correlated(), PcaWhitening(dim=2), PcaWhitening()
    few.fit(train, 0)
    every.fit(train, 0)
    np.testing.assert_array_equal(few.apply(train), every.apply(train)[:, :2])


def test_power_and_shrinkage_by_the_formula() -> None:
    train = np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]], np.float32)  # variances 2 and 0.5, mean variance 1.25
    half = PcaWhitening(power=0.5, shrinkage=0.4)
    half.fit(train, 0)
    np.testing.assert_allclose(half.apply(train)[0], [2 / (2 + 0.5) ** 0.25, 0], rtol=1e-6)
    np.testing.assert_allclose(half.apply(train)[2], [0, 1 / (0.5 + 0.5) ** 0.25], rtol=1e-6)


def test_directions_without_variance_are_dropped() -> None:
    train = correlated()
    flat = np.concatenate([train, train[:, :1] * 2], axis=1)
    whitening = PcaWhitening()
    whitening.fit(flat, 0)
    assert whitening.dim_out(7) == 6
    with pytest.raises(BadConfig, match="vary in 6 directions"):
        PcaWhitening(dim=7).fit(flat, 0)


def test_centring() -> None:
    centring = Centring()
    centring.fit(np.array([[1, 2], [3, 6]], np.float32), 0)
    np.testing.assert_array_equal(centring.apply(np.array([[2, 5]], np.float32)), [[0, 1]])


def test_truncation_keeps_the_first_columns() -> None:
    block = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_array_equal(Truncation(dim=2).apply(block), [[0, 1], [4, 5]])
    with pytest.raises(BadConfig, match="the vectors have 4 columns"):
        Truncation(dim=5).fit(block, 0)


def test_float16_rounds_as_numpy_does_and_refuses_what_overflows() -> None:
    np.testing.assert_array_equal(Float16().apply(np.array([[0.1, 1.0]], np.float32)), [[np.float16(0.1), 1.0]])
    with pytest.raises(CorruptInput, match="65504"):
        Float16().apply(np.array([[70000.0]], np.float32))


@pytest.mark.parametrize("per_dimension", [False, True])
def test_int8_errs_by_half_a_step_at_most(per_dimension: bool) -> None:
    train = correlated() - 7
    train[:, 5] = 0
    transform = Int8(per_dimension)
    transform.fit(train, 0)
    largest = np.abs(train).max(axis=0 if per_dimension else None)
    rounded = transform.apply(train)
    assert (np.abs(rounded - train) <= largest / 127 / 2 * 1.001).all()
    steps = np.unique((rounded / transform.step).round(3), axis=None)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-2)
    assert np.abs(steps).max() == 127 and (rounded[:, 5] == 0).all()
    beyond = transform.apply(train[:1] * 0 + 1e6)
    np.testing.assert_allclose(beyond[0], transform.step * 127, rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PcaWhitening(dim=0),
        lambda: PcaWhitening(power=2),
        lambda: PcaWhitening(shrinkage=-1),
        lambda: Truncation(0),
    ],
)
def test_wrong_parameters_are_refused(make) -> None:
    with pytest.raises(BadConfig, match="transform"):
        make()


def test_a_memory_map_is_read_only_in_blocks(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", correlated())
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    whitening, plain = PcaWhitening(), PcaWhitening()
    whitening.fit(mapped, 0)
    plain.fit(correlated(), 0)
    np.testing.assert_array_equal(whitening.apply(mapped[:10]), plain.apply(correlated()[:10]))
