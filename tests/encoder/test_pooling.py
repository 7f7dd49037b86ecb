import pytest
import torch
from torch import Tensor

from retrieval_bench.encoder.base import Pool
from retrieval_bench.encoder.pooling import MAC, Average, GeM, Grid
from retrieval_bench.errors import BadConfig


@pytest.fixture
def features() -> Tensor:
    """One image, two channels of 2 × 2."""
    return torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 8.0]]]])


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (Average(), [2.5, 2.0]),
        (MAC(), [4.0, 8.0]),
        (GeM(p=1.0), [2.5, 2.0]),
        (GeM(p=3.0), [25 ** (1 / 3), 128 ** (1 / 3)]),  # (1 + 8 + 27 + 64) / 4 and 512 / 4
        (Grid(1, 1), [2.5, 2.0]),
        (Grid(2, 2), [1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0, 8.0]),  # cell after cell, all channels of each
        (Grid(1, 2), [2.0, 0.0, 3.0, 4.0]),
    ],
    ids=lambda value: str(value.describe()) if isinstance(value, Pool) else "",
)
def test_golden_values(pool: Pool, expected: list[float], features: Tensor) -> None:
    pooled = pool(features)
    assert pooled.shape == (1, 2 * pool.factor)
    torch.testing.assert_close(pooled[0], torch.tensor(expected))


def test_gem_of_a_large_exponent_is_the_maximum(features: Tensor) -> None:
    torch.testing.assert_close(GeM(p=64.0)(features / 8), MAC()(features / 8), rtol=0.03, atol=0)


def test_gem_floors_negative_features_and_has_a_gradient() -> None:
    pool = GeM(p=3.0, eps=1e-2)
    pooled = pool(torch.full((1, 1, 2, 2), -5.0))
    torch.testing.assert_close(pooled, torch.tensor([[1e-2]]))
    pool(torch.tensor([[[[1.0, 2.0]]]])).sum().backward()
    assert pool.p.grad is not None and pool.p.grad > 0  # a larger p moves the mean towards the maximum


def test_describe_names_the_current_exponent() -> None:
    pool = GeM(p=3.0)
    with torch.no_grad():
        pool.p.fill_(2.5)
    assert pool.describe() == {"pool": "GeM", "p": 2.5, "eps": 1e-6}


@pytest.mark.parametrize("make", [lambda: GeM(p=0), lambda: GeM(eps=0), lambda: Grid(0, 2), lambda: Grid(2, 0)])
def test_wrong_parameters_are_refused(make) -> None:
    with pytest.raises(BadConfig, match="pool"):
        make()
