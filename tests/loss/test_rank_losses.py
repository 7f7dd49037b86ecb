"""Smooth-AP and the recall@k surrogate against plain loops, and at temperatures where they are the metric itself."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval_bench.errors import BadConfig
from retrieval_bench.loss.base import Batch, Loss, References
from retrieval_bench.loss.recall_at_k import RecallAtK
from retrieval_bench.loss.smooth_ap import SmoothAP

# Classes of 4, 1, 3 and 2 items, mixed up; the single item is a query without positives.
UNEVEN = torch.tensor([2, 0, 3, 0, 1, 2, 0, 2, 3, 0])
DIM = 6


def batch(seed: int = 0) -> Tensor:
    return torch.randn(len(UNEVEN), DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def slow_ranks(embeddings: Tensor, temperature: float) -> list[list[tuple[float, float]]]:
    """Of each query that has positives, of each of them: the soft rank among the others and among the positives."""
    x = embeddings.numpy()
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    similarity, labels, found = x @ x.T, UNEVEN.tolist(), []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        positives = [j for j in others if labels[j] == labels[i]]
        ranks = []
        for j in positives:
            above = {m: sigmoid((similarity[i, m] - similarity[i, j]) / temperature) for m in others if m != j}
            ranks.append((1 + sum(above.values()), 1 + sum(above[m] for m in positives if m != j)))
        found += [ranks] if ranks else []
    return found


def slow_smooth_ap(embeddings: Tensor, temperature: float) -> float:
    queries = slow_ranks(embeddings, temperature)
    return 1 - np.mean([np.mean([within / among for among, within in ranks]) for ranks in queries])


def slow_recall(embeddings: Tensor, cuts: Sequence[int], rank_temperature: float, cut_temperature: float) -> float:
    values = []
    for ranks in slow_ranks(embeddings, rank_temperature):
        for k in cuts:
            found = sum(sigmoid((k - among) / cut_temperature) for among, _ in ranks)
            values.append(min(found, k) / min(k, len(ranks)))
    return 1 - np.mean(values)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
def test_smooth_ap_is_its_definition(temperature: float) -> None:
    value = SmoothAP(DIM, None, temperature)(batch(), UNEVEN)
    assert float(value) == pytest.approx(slow_smooth_ap(batch(), temperature), abs=1e-12)


@pytest.mark.parametrize(("rank_temperature", "cut_temperature"), [(1.0, 1.0), (0.1, 0.5), (0.01, 1.0)])
def test_recall_at_k_is_its_definition(rank_temperature: float, cut_temperature: float) -> None:
    value = RecallAtK(DIM, None, [1, 2, 4, 8, 16], rank_temperature, cut_temperature)(batch(), UNEVEN)
    expected = slow_recall(batch(), [1, 2, 4, 8, 16], rank_temperature, cut_temperature)
    assert float(value) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("loss", [SmoothAP(DIM, None, 0.3), RecallAtK(DIM, None, [1, 3], 0.3, 0.7)])
def test_gradients_are_those_of_differences(loss: Loss) -> None:
    assert torch.autograd.gradcheck(lambda x: loss(x, UNEVEN), batch().requires_grad_())


def ranked(hits: Sequence[int]) -> tuple[Batch, References]:
    """One query among ten others on an arc, whose hits stand at these 0-based ranks."""
    angle = torch.linspace(0.1, 1.5, 10, dtype=torch.float64)
    labels = torch.ones(10, dtype=torch.int64)
    labels[list(hits)] = 0
    query = Batch(torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([0]))
    return query, References(torch.stack([angle.cos(), angle.sin()], 1), labels, torch.zeros(1, 10, dtype=torch.bool))


@pytest.mark.parametrize(
    ("hits", "precision"),
    [([1], 1 / 2), ([0, 2, 5, 9], (1 + 2 / 3 + 3 / 6 + 4 / 10) / 4), ([0, 1, 2], 1.0), ([9], 1 / 10)],
)
def test_smooth_ap_ends_in_average_precision(hits: list[int], precision: float) -> None:
    assert float(SmoothAP(2, None, 1e-5).against(*ranked(hits))) == pytest.approx(1 - precision, abs=1e-12)


@pytest.mark.parametrize(
    ("hits", "k", "recall"),
    [
        ([0, 2, 5, 9], [2], 1 / 2),  # one of the two that fit
        ([0, 2, 5, 9], [5], 2 / 4),
        ([1], [1, 2, 3], (0 + 1 / 2 + 1) / 3),  # at rank k exactly it counts one half
        ([3, 4], [9], 1.0),
    ],
)
def test_recall_at_k_ends_in_recall(hits: list[int], k: list[int], recall: float) -> None:
    loss = RecallAtK(2, None, k, rank_temperature=1e-5, cut_temperature=1e-3)
    assert float(loss.against(*ranked(hits))) == pytest.approx(1 - recall, abs=1e-12)


@pytest.mark.parametrize("loss", [SmoothAP(DIM, None), RecallAtK(DIM, None)])
def test_without_positives_there_is_nothing_to_rank(loss: Loss) -> None:
    leaf = batch().requires_grad_()
    value = loss(leaf, torch.arange(len(UNEVEN)))
    value.backward()
    assert value.detach() == 0
    assert leaf.grad is not None and not leaf.grad.any()


@pytest.mark.parametrize("loss", [SmoothAP(DIM, None), RecallAtK(DIM, None)])
def test_a_query_without_positives_only_stands_in_the_way_of_others(loss: Loss) -> None:
    """The single item of its class, moved far from all, changes nothing against its absence."""
    x, single = batch(), int((UNEVEN == 1).nonzero())
    near = torch.nn.functional.normalize(x) * 0.1 + torch.eye(DIM, dtype=torch.float64)[0]  # all on one side
    near[single] = -torch.eye(DIM, dtype=torch.float64)[0]
    rest = torch.arange(len(UNEVEN)) != single
    torch.testing.assert_close(loss(near, UNEVEN), loss(near[rest], UNEVEN[rest]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SmoothAP(2, None, 0), "loss.temperature=0"),
        (lambda: RecallAtK(2, None, []), r"loss\.k=\[\]"),
        (lambda: RecallAtK(2, None, [0, 1]), r"loss\.k=\[0, 1\]"),
        (lambda: RecallAtK(2, None, [1], -1.0), r"loss\.rank_temperature=-1"),
    ],
)
def test_values_out_of_range(make: object, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        make()
