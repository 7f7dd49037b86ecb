"""How weights are moved: an optimizer of torch with a learning rate for each part, and a schedule of them all."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retrieval_bench.errors import BadConfig

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


class Schedule(ABC):
    """By what all learning rates are multiplied at a step."""

    warm_up: float

    def factor(self, step: int, steps: int) -> float:
        """Factor of step 0 … steps - 1: rises linearly during the warm-up, a share of all steps."""
        if steps < 1:
            return 1.0
        ramp = round(self.warm_up * steps)
        if step < ramp:
            return (step + 1) / (ramp + 1)
        return self._after((step - ramp) / max(1, steps - ramp))

    @abstractmethod
    def _after(self, done: float) -> float:
        """Factor after the warm-up, of the share in [0, 1] that is done since."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same to the end.

    Args:
        warm_up: share of all steps in which the rate rises from 0.
    """

    warm_up: float = 0.0

    def __post_init__(self) -> None:
        _share("optimizer.schedule.warm_up", self.warm_up)

    def _after(self, done: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine down to `final` (Loshchilov & Hutter 2017, without restarts).

    Args:
        warm_up: share of all steps in which the rate rises from 0.
        final: factor at the end.

    >>> [round(Cosine(0.0, 0.0).factor(step, 4), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """

    warm_up: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        _share("optimizer.schedule.warm_up", self.warm_up)
        _share("optimizer.schedule.final", self.final)

    def _after(self, done: float) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Optimizer:
    """What moves the weights (see `conf/optimizer`).

    Args:
        factory: an optimizer of torch but for its parameters and learning rates.
        backbone_lr, head_lr, proxy_lr: learning rates of the encoder, of the head (and of what puts frames together
            over time), and of a loss's own weights (proxies, classifiers). 0 leaves a part as it is.
        schedule: by what they are multiplied from step to step.
    """

    factory: Callable[[Iterable[dict[str, Any]]], TorchOptimizer]
    backbone_lr: float
    head_lr: float
    proxy_lr: float
    schedule: Schedule

    def __post_init__(self) -> None:
        for name in ("backbone_lr", "head_lr", "proxy_lr"):
            if not getattr(self, name) >= 0:
                raise BadConfig(f"optimizer.{name}={getattr(self, name)}: a rate from 0 is needed, e.g. 1e-4")

    def over(self, encoder: nn.Module, head: nn.Module, loss: nn.Module) -> TorchOptimizer:
        """The optimizer of these parts; parameters that take no gradient are left out.

        Raises:
            BadConfig: nothing is left to be trained.
        """
        from retrieval_bench.encoder.base import Temporal

        above = {id(p) for part in encoder.modules() if isinstance(part, Temporal) for p in part.parameters()}
        inside = list(encoder.parameters())
        groups = []
        for name, found, rate in (
            ("backbone", [p for p in inside if id(p) not in above], self.backbone_lr),
            ("head", [*(p for p in inside if id(p) in above), *head.parameters()], self.head_lr),
            ("proxies", list(loss.parameters()), self.proxy_lr),
        ):
            for parameter in found if rate == 0 else ():
                parameter.requires_grad_(False)  # no gradients are computed that nobody takes
            parameters = [p for p in found if p.requires_grad]
            if parameters:
                groups.append({"params": parameters, "lr": rate, "name": name})
        if not groups:
            raise BadConfig(
                f"nothing is trained: optimizer.backbone_lr={self.backbone_lr} optimizer.head_lr={self.head_lr}"
                f" optimizer.proxy_lr={self.proxy_lr}, and what is frozen; type a rate above 0, e.g. 1e-4"
            )
        return self.factory(groups)


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise BadConfig(f"{name}={value}: a share from 0 to 1 is needed")
