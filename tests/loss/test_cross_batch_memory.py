"""What the memory holds, when, and what is compared with it."""

from functools import partial

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytorch_metric_learning.losses import ContrastiveLoss, ProxyAnchorLoss, TripletMarginLoss
from torch import Tensor
from torch.nn import functional as F

from retrieval_bench.binding import Binder
from retrieval_bench.cli import CONF
from retrieval_bench.errors import BadConfig
from retrieval_bench.loss.base import REFERRING, Loss, Pairs
from retrieval_bench.loss.cross_batch_memory import CrossBatchMemory
from retrieval_bench.loss.pml import PairLoss, ProxyLoss
from retrieval_bench.loss.recall_at_k import RecallAtK
from retrieval_bench.loss.smooth_ap import SmoothAP

DIM = 5
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
CONTRASTIVE = partial(PairLoss, loss=partial(ContrastiveLoss, pos_margin=0.0, neg_margin=1.0))
TRIPLET = partial(PairLoss, loss=partial(TripletMarginLoss, margin=0.2))


def batch(seed: int) -> Tensor:
    return torch.randn(len(LABELS), DIM, generator=torch.Generator().manual_seed(seed))


def memory(size: int = 100, start: int = 0, loss: partial = CONTRASTIVE) -> CrossBatchMemory:
    return CrossBatchMemory(DIM, None, loss, size, start)


def slow_contrastive(anchors: Tensor, references: Tensor, labels: Tensor, skipped: set[tuple[int, int]]) -> float:
    """Mean of positive distances + mean of the negative ones' lack to 1 where they lack, in plain loops."""
    anchors, references = F.normalize(anchors.double()), F.normalize(references.double())
    pulled, pushed = [], []
    for i, anchor in enumerate(anchors):
        for j, other in enumerate(references):
            distance = float((anchor - other).norm())
            if i == j or (i, j) in skipped:
                continue
            if LABELS[i] == labels[j]:
                pulled.append(distance)
            elif distance < 1:
                pushed.append(1 - distance)
    return sum(pulled) / len(pulled) + sum(pushed) / len(pushed)


@pytest.mark.parametrize("inner", [CONTRASTIVE, TRIPLET, SmoothAP, RecallAtK])
def test_with_an_empty_memory_it_is_the_loss_inside(inner: partial[Loss]) -> None:
    alone = inner(dim=DIM, n_classes=None)(batch(0), LABELS)
    assert torch.equal(memory(loss=partial(inner))(batch(0), LABELS), alone)


def test_the_batch_is_compared_with_itself_and_with_what_came_before() -> None:
    loss = memory()
    loss(batch(0), LABELS)
    loss(batch(1), LABELS)
    value = loss(batch(2), LABELS)
    references, labels = torch.cat([batch(2), batch(0), batch(1)]), LABELS.repeat(3)
    assert float(value) == pytest.approx(slow_contrastive(batch(2), references, labels, set()), abs=1e-6)


@pytest.mark.parametrize("inner", [TRIPLET, SmoothAP, RecallAtK])
def test_a_memory_is_a_larger_batch_with_fewer_anchors(inner: partial[Loss]) -> None:
    """The mean over the anchors of both halves is the loss of the whole, where every anchor counts alike."""
    whole = inner(dim=DIM, n_classes=None)(torch.cat([batch(0), batch(1)]).double(), LABELS.repeat(2))
    halves = []
    for first, second in ((0, 1), (1, 0)):
        loss = memory(loss=partial(inner)).double()
        loss(batch(first).double(), LABELS)
        halves.append(loss(batch(second).double(), LABELS))
    if inner is not TRIPLET:  # whose mean is over violating triplets: their number differs
        torch.testing.assert_close(sum(halves) / 2, whole)
    assert min(halves) <= whole <= max(halves)


def test_an_item_is_no_positive_of_its_older_copy() -> None:
    loss = memory()
    loss(batch(0), LABELS, None, torch.tensor([7, 3, 5, 0, 1, 2]))
    value = loss(batch(1), LABELS, None, torch.tensor([3, 8, 9, 5, -1, -1]))  # -1 is nobody's
    references = torch.cat([batch(1), batch(0)])
    expected = slow_contrastive(batch(1), references, LABELS.repeat(2), {(0, 6 + 1), (3, 6 + 2)})
    assert float(value) == pytest.approx(expected, abs=1e-6)


def test_the_newest_replace_the_oldest() -> None:
    loss = memory(size=8)
    ids = torch.arange(6)
    for step in range(3):
        loss(batch(step), LABELS + 10 * step, None, ids + 100 * step)
    came = torch.cat([batch(0), batch(1), batch(2)])  # rows 10 … 17 are the newest eight; row r lies at r % 8
    held = torch.tensor([16, 17, 10, 11, 12, 13, 14, 15])
    assert torch.equal(loss.memory, came[held])
    assert torch.equal(loss.memory_labels, torch.cat([LABELS, LABELS + 10, LABELS + 20])[held])
    assert torch.equal(loss.memory_ids, torch.cat([ids, ids + 100, ids + 200])[held])
    assert (int(loss.position), int(loss.fill), int(loss.step)) == (2, 8, 3)


def test_a_batch_larger_than_the_memory_leaves_its_last_rows() -> None:
    loss = memory(size=4)
    loss(batch(0), LABELS)
    assert torch.equal(loss.memory, batch(0)[2:])
    assert (int(loss.position), int(loss.fill)) == (0, 4)


def test_before_its_first_step_the_memory_stays_empty() -> None:
    loss, inner = memory(start=2), CONTRASTIVE(DIM, None)
    for step in range(3):  # the third is the first that is kept, and finds nothing
        assert torch.equal(loss(batch(step), LABELS), inner(batch(step), LABELS))
    assert torch.equal(loss.memory[: int(loss.fill)], batch(2))
    assert not torch.equal(loss(batch(3), LABELS), inner(batch(3), LABELS))


def test_validation_leaves_no_trace() -> None:
    loss = memory()
    loss(batch(0), LABELS)
    before = {name: tensor.clone() for name, tensor in loss.state_dict().items()}
    loss.eval()(batch(1), LABELS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in loss.state_dict().items())


def test_what_is_kept_has_no_gradient() -> None:
    loss = memory()
    first, second = batch(0).requires_grad_(), batch(1).requires_grad_()
    loss(first, LABELS)
    loss(second, LABELS).backward()
    assert first.grad is None
    assert second.grad is not None and second.grad.any()
    assert not loss.memory.requires_grad


@pytest.mark.parametrize("name", REFERRING)
def test_any_loss_that_refers_is_put_in_by_one_override(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = compose(overrides=["+loss=cross_batch_memory", f"loss@loss.loss={name}"]).loss
    Binder(CONF).check({"loss": OmegaConf.to_container(node)})
    loss: CrossBatchMemory = instantiate(node, _convert_="all")(dim=DIM, n_classes=None, start_step=0)
    inner = loss.loss(batch(0), LABELS)
    torch.testing.assert_close(loss(batch(0), LABELS), inner)
    leaf = batch(1).requires_grad_()
    loss(leaf, LABELS).backward()
    assert leaf.grad is not None and leaf.grad.any() and leaf.grad.isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: memory(size=0), "loss.memory_size=0"),
        (lambda: memory(start=-1), "loss.start_step=-1"),
        (
            lambda: CrossBatchMemory(DIM, 3, partial(ProxyLoss, loss=partial(ProxyAnchorLoss))),
            "ProxyLoss, as configured, cannot compare a batch with a memory; type one of loss@loss.loss=contrastive",
        ),
        (
            lambda: memory(loss=partial(PairLoss, loss=partial(TripletMarginLoss, swap=True))),
            "PairLoss, as configured, cannot compare",
        ),
        (
            lambda: memory(loss=partial(CrossBatchMemory, loss=CONTRASTIVE)),
            "CrossBatchMemory, as configured, cannot compare",
        ),
    ],
)
def test_what_cannot_be(make: object, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        make()


def test_pairs_of_a_miner_have_no_place_in_it() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(BadConfig, match="CrossBatchMemory has no use for a miner; type miner=null or one of loss="):
        memory()(batch(0), LABELS, Pairs(none, none, none))
