"""What the adapters refuse, and what they say."""

from functools import partial

import pytest
import torch
from pytorch_metric_learning import losses
from torch import Tensor

from retrieval_bench.errors import BadConfig
from retrieval_bench.loss.base import Pairs
from retrieval_bench.loss.classification import Classification
from retrieval_bench.loss.pml import PairLoss, ProxyLoss
from retrieval_bench.loss.smooth_ap import SmoothAP

LABELS = torch.tensor([0, 0, 1, 1])
NONE = torch.zeros(0, dtype=torch.int64)
CONTRASTIVE, PROXIES = partial(losses.ContrastiveLoss), partial(losses.ProxyAnchorLoss)


def batch() -> Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ProxyLoss(3, None, PROXIES),
            r"ProxyLoss learns a vector for each class, and this data set has no fixed number of classes; type one of "
            r"loss=contrastive, loss=cross_batch_memory",
        ),
        (lambda: Classification(3, None), "Classification learns a vector for each class"),
        (lambda: ProxyLoss(3, 0, PROXIES), "dim=3 and n_classes=0: whole numbers of 1 or more"),
        (lambda: PairLoss(0, None, CONTRASTIVE), "dim=0 and n_classes=None"),
        (
            lambda: PairLoss(3, 2, PROXIES),
            r"ProxyAnchorLoss has a vector for each class; type loss\._target_=retrieval_bench\.loss\.pml\.ProxyLoss",
        ),
        (
            lambda: ProxyLoss(3, 2, CONTRASTIVE),
            r"ContrastiveLoss has no vector for each class; type loss\._target_=retrieval_bench\.loss\.pml\.PairLoss",
        ),
        (lambda: PairLoss(3, 2, partial(losses.SmoothAPLoss)), "SmoothAPLoss .* type loss=smooth_ap"),
        (lambda: PairLoss(3, 2, partial(losses.DynamicSoftMarginLoss)), "DynamicSoftMarginLoss .* type loss=triplet"),
        (lambda: PairLoss(3, 2, partial(losses.CrossBatchMemory)), "CrossBatchMemory .* type loss=cross_batch_memory"),
    ],
)
def test_what_cannot_be_built(make: object, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        make()


@pytest.mark.parametrize("loss", [ProxyLoss(3, 2, PROXIES), Classification(3, 2)])
@pytest.mark.parametrize("labels", [[0, 0, 1, 2], [-1, 0, 1, 1]])
def test_labels_beyond_the_classes(loss: ProxyLoss | Classification, labels: list[int]) -> None:
    with pytest.raises(BadConfig, match=r"but the loss was built for n_classes=2: number the training classes 0 … 1"):
        loss(batch(), torch.tensor(labels))


def test_a_loss_over_pairs_takes_any_labels() -> None:
    loss = PairLoss(3, None, CONTRASTIVE)
    assert torch.equal(loss(batch(), LABELS), loss(batch(), LABELS * (2**40) - 7))


@pytest.mark.parametrize(
    ("embeddings", "labels"), [(torch.ones(4, 2), LABELS), (torch.ones(4), LABELS), (torch.ones(5, 3), LABELS)]
)
def test_shapes_that_do_not_fit(embeddings: Tensor, labels: Tensor) -> None:
    with pytest.raises(BadConfig, match=r"the loss was built for \[batch, 3\]"):
        PairLoss(3, None, CONTRASTIVE)(embeddings, labels)


@pytest.mark.parametrize("loss", [ProxyLoss(3, 2, PROXIES), Classification(3, 2), SmoothAP(3, None)])
def test_pairs_for_a_loss_that_uses_none(loss: ProxyLoss | Classification | SmoothAP) -> None:
    with pytest.raises(BadConfig, match=r"has no use for a miner; type miner=null or one of loss=contrastive"):
        loss(batch(), LABELS, Pairs(NONE, NONE, NONE))


@pytest.mark.parametrize(
    "make", [CONTRASTIVE, partial(losses.MultiSimilarityLoss), partial(losses.TripletMarginLoss, margin=2.0)]
)
def test_a_single_mined_triplet_counts(make: partial) -> None:
    """As much as the same triplet mined three times."""
    loss, leaf = PairLoss(3, None, make), batch().requires_grad_()
    value = loss(leaf, LABELS, Pairs(*torch.tensor([[0], [1], [2]])))
    thrice = loss(leaf, LABELS, Pairs(*torch.tensor([[0], [1], [2]]).repeat(1, 3)))
    torch.testing.assert_close(value, thrice)
    assert value.detach() > 0


def test_proxies_are_drawn_by_torchs_generator() -> None:
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        made.append(ProxyLoss(3, 2, PROXIES).state_dict()["loss.proxies"])
    assert torch.equal(*made)


def test_the_adapter_adds_nothing() -> None:
    """Contrastive, on four points of a circle: the mean violation of positives and that of negatives."""
    angle = torch.tensor([0.0, 0.5, 0.8, 1.5], dtype=torch.float64)
    points = 3 * torch.stack([angle.cos(), angle.sin()], 1)  # the length does not matter

    def distance(turn: float) -> float:
        return float(2 * torch.sin(torch.tensor(turn / 2, dtype=torch.float64)))

    negatives = [distance(0.8), distance(0.3), distance(1.0)]  # 1.5 apart is farther than 1
    expected = (distance(0.5) + distance(0.7)) / 2 + sum(1 - d for d in negatives) / 3
    assert float(PairLoss(2, None, CONTRASTIVE)(points, LABELS)) == pytest.approx(expected, abs=1e-12)
