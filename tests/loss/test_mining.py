"""Miners choose rows of the right classes, and draw alike wherever they are asked alike."""

import functools

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from retrieval_bench.cli import CONF
from retrieval_bench.loss.base import MINING, Miner, Pairs

NAMES = sorted(file.stem for file in (CONF / "miner").glob("*.yaml"))
LABELS = torch.tensor([2, 0, 1, 0, 2, 1, 1, 0, 2, 3, 2, 0])  # class 3 has one item
DIM = 8


@functools.cache
def made(group: str, name: str, seed: int = 0) -> functools.partial:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = compose(overrides=[f"+seed={seed}", f"+{group}={name}"])[group]
        return instantiate(node, _convert_="all")


def batch(seed: int = 0) -> Tensor:
    return torch.randn(len(LABELS), DIM, generator=torch.Generator().manual_seed(seed))


def rows(pairs: Pairs) -> list[list[int]]:
    return [each.tolist() for each in pairs.indices()]


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_of_the_right_classes(name: str) -> None:
    miner: Miner = made("miner", name)()
    for seed in range(10):
        pairs = miner(batch(seed).requires_grad_(), LABELS)
        anchors = pairs.anchors if pairs.negative_anchors is None else pairs.negative_anchors
        assert len(pairs.anchors) == len(pairs.positives) > 0
        assert len(anchors) == len(pairs.negatives) > 0
        assert (LABELS[pairs.anchors] == LABELS[pairs.positives]).all()
        assert (pairs.anchors != pairs.positives).all()
        assert (LABELS[anchors] != LABELS[pairs.negatives]).all()


def test_batch_hard_takes_the_farthest_positive_and_the_nearest_negative() -> None:
    unit = torch.nn.functional.normalize(batch())
    distance, expected = torch.cdist(unit, unit), []
    for i in range(len(LABELS)):
        positives = [j for j in range(len(LABELS)) if j != i and LABELS[j] == LABELS[i]]
        negatives = [j for j in range(len(LABELS)) if LABELS[j] != LABELS[i]]
        if positives:
            far, near = max(positives, key=lambda j: distance[i, j]), min(negatives, key=lambda j: distance[i, j])
            expected.append((i, far, near))
    assert list(zip(*rows(made("miner", "batch_hard")()(batch(), LABELS)), strict=True)) == expected


def test_semi_hard_takes_every_negative_that_is_farther_by_less_than_the_margin() -> None:
    unit = torch.nn.functional.normalize(batch())
    distance, n = torch.cdist(unit, unit), range(len(LABELS))
    expected = {
        (i, j, m)
        for i in n
        for j in n
        for m in n
        if i != j and LABELS[i] == LABELS[j] != LABELS[m] and 0 < distance[i, m] - distance[i, j] <= 0.2
    }
    found = list(zip(*rows(made("miner", "semi_hard")()(batch(), LABELS)), strict=True))
    assert set(found) == expected and len(found) == len(expected)


@pytest.mark.parametrize("labels", [torch.arange(len(LABELS)), torch.zeros_like(LABELS)], ids=["no positives", "one"])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_may_have_no_pairs(name: str, labels: Tensor) -> None:
    pairs = made("miner", name)()(batch(), labels)
    assert {len(each) for each in pairs.indices()} == {0}


@pytest.mark.parametrize("miner", NAMES)
@pytest.mark.parametrize("loss", MINING)
def test_every_loss_that_mines_takes_every_miners_pairs(loss: str, miner: str) -> None:
    criterion, pairs = made("loss", loss)(dim=DIM, n_classes=None), made("miner", miner)()
    leaf = batch().requires_grad_()
    criterion(leaf, LABELS, pairs(leaf, LABELS)).backward()
    assert leaf.grad is not None and leaf.grad.isfinite().all() and leaf.grad.any()
    value = criterion(leaf, LABELS, pairs(leaf, torch.arange(len(LABELS))))  # none chosen
    assert float(value.detach()) == 0


def test_draws_hang_on_the_seed_and_the_number_of_batches() -> None:
    first, second = made("miner", "distance_weighted")(), made("miner", "distance_weighted")()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    drawn = [rows(first(batch(), LABELS)) for _ in range(3)]
    assert torch.equal(torch.get_rng_state(), state), "torch's own generator is left alone"
    torch.manual_seed(2)
    assert [rows(second(batch(), LABELS)) for _ in range(3)] == drawn
    assert drawn[0] != drawn[1] != drawn[2]
    assert rows(made("miner", "distance_weighted", seed=1)()(batch(), LABELS)) != drawn[0]


def test_a_resumed_miner_goes_on_alike() -> None:
    miner, fresh = made("miner", "distance_weighted")(), made("miner", "distance_weighted")()
    for seed in range(3):
        miner(batch(seed), LABELS)
    fresh.load_state_dict(miner.state_dict())
    assert rows(fresh(batch(5), LABELS)) == rows(miner(batch(5), LABELS))


def test_validation_counts_for_nothing() -> None:
    miner = made("miner", "distance_weighted")().eval()
    assert rows(miner(batch(), LABELS)) == rows(miner(batch(), LABELS))


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_changes_no_choice(name: str) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        low = made("miner", name)()(batch().bfloat16(), LABELS)
    assert rows(low) == rows(made("miner", name)()(batch().bfloat16().float(), LABELS))


def test_pairs_and_back() -> None:
    a, b, c, d = (torch.tensor([i]) for i in range(4))
    for given in ((a, b, c), (a, b, c, d)):
        assert Pairs.of(given).indices() == given
