"""Learning rates by part and by step."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from retrieval_bench.errors import BadConfig
from retrieval_bench.optimizer import Constant, Cosine, Optimizer

SGD = partial(torch.optim.SGD, momentum=0.9)


def test_cosine_warms_up_and_comes_down() -> None:
    schedule = Cosine(warm_up=0.1, final=0.2)
    factors = [schedule.factor(step, 100) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert factors[10] == 1.0 and max(factors) == 1.0
    assert factors[55] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 2)) / 2)
    assert factors[99] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi * 89 / 90)) / 2)


def test_constant_stays() -> None:
    assert [Constant(0.5).factor(step, 4) for step in range(4)] == pytest.approx([1 / 3, 2 / 3, 1, 1])


def test_parts_have_rates_of_their_own() -> None:
    encoder, head, loss = nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(2, 5)
    encoder.bias.requires_grad_(False)
    made = Optimizer(SGD, 1e-4, 1e-3, 1e-2, Constant()).over(encoder, head, loss)
    assert [(group["name"], group["lr"], len(group["params"])) for group in made.param_groups] == [
        ("backbone", 1e-4, 1), ("head", 1e-3, 2), ("proxies", 1e-2, 2),
    ]  # fmt: skip
    still = Optimizer(SGD, 0.0, 1e-3, 1e-2, Constant()).over(encoder, head, nn.Identity())
    assert [group["name"] for group in still.param_groups] == ["head"]


def test_what_cannot_be() -> None:
    with pytest.raises(BadConfig, match=r"optimizer\.head_lr=-1.*type|optimizer\.head_lr=-1: a rate"):
        Optimizer(SGD, 0.0, -1, 0.0, Constant())
    with pytest.raises(BadConfig, match=r"optimizer\.schedule\.warm_up=2"):
        Cosine(warm_up=2)
    with pytest.raises(BadConfig, match="nothing is trained"):
        Optimizer(SGD, 0.0, 0.0, 0.0, Constant()).over(nn.Linear(2, 2), nn.Identity(), nn.Identity())
