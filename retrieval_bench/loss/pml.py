"""Losses of pytorch-metric-learning behind one interface; the yaml names the library's class."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from torch import Tensor, nn

from retrieval_bench.errors import BadConfig
from retrieval_bench.loss.base import Batch, Loss, References

# Losses of the library that can compare a batch with references, and are tested to.
_REFERRING = frozenset({"ContrastiveLoss", "MultiSimilarityLoss", "SupConLoss", "TripletMarginLoss"})
# Parts of the library that must not be used; tests/loss/test_library.py shows why.
_REFUSED = {
    "SmoothAPLoss": "is wrong unless a sorted batch has as many classes as items a class; type loss=smooth_ap",
    "DynamicSoftMarginLoss": "fails at its second step; type loss=triplet",
    "CrossBatchMemory": "loses its place in the memory after a resume; type loss=cross_batch_memory",
    "DistributedLossWrapper": "is not needed: embeddings of all processes are gathered before the loss",
}


class PairLoss(Loss):
    """A loss over pairs or triplets of a batch.

    Args:
        loss: completed with nothing: makes the library's loss.

    Raises:
        BadConfig: a class that is no such loss, or one that must not be used.
    """

    mines = True

    def __init__(self, dim: int, n_classes: int | None, loss: partial[nn.Module]) -> None:
        super().__init__(dim, n_classes)
        _check(loss, classes=False)
        self.loss: Any = loss()
        swap = bool(loss.keywords.get("swap", False))  # looks positives up among the anchors
        self.refers = loss.func.__name__ in _REFERRING and not swap

    def compute(self, batch: Batch) -> Tensor:
        """As in `Loss`."""
        indices = None if batch.pairs is None else batch.pairs.indices()
        if indices is not None and all(len(each) <= 1 for each in indices):
            indices = tuple(each.repeat(2) for each in indices)  # the library takes a single pair for none
        value: Tensor = self.loss(batch.embeddings, batch.labels, indices)
        return value

    def against(self, batch: Batch, references: References) -> Tensor:
        """As in `Loss`. The triplet loss takes memory for positive × negative pairs: for about 1,000 references."""
        if not self.refers:
            return super().against(batch, references)
        same, kept = batch.labels[:, None] == references.labels, ~references.left_out
        positives, negatives = (same & kept).nonzero(as_tuple=True), (~same & kept).nonzero(as_tuple=True)
        indices = (*positives, *negatives)
        value: Tensor = self.loss(batch.embeddings, batch.labels, indices, references.embeddings, references.labels)
        return value


class ProxyLoss(Loss):
    """A loss over a learned proxy or weight vector for each class, which are trained with the encoder.

    Args:
        loss: completed with `num_classes` and `embedding_size`: makes the library's loss.

    Raises:
        BadConfig: there is no number of classes, a class that is no such loss, or one that must not be used.
    """

    needs_classes = True

    def __init__(self, dim: int, n_classes: int | None, loss: partial[nn.Module]) -> None:
        super().__init__(dim, n_classes)
        _check(loss, classes=True)
        self.loss: Any = loss(num_classes=n_classes, embedding_size=dim)

    def compute(self, batch: Batch) -> Tensor:
        """As in `Loss`."""
        value: Tensor = self.loss(batch.embeddings, batch.labels)
        return value


def _check(loss: partial[nn.Module], classes: bool) -> None:
    """Whether the library's class fits the adapter. Raises BadConfig."""
    name = loss.func.__name__
    if name in _REFUSED:
        raise BadConfig(f"{name} of pytorch-metric-learning {_REFUSED[name]}")
    if ("embedding_size" in inspect.signature(loss.func).parameters) is not classes:
        right = "PairLoss" if classes else "ProxyLoss"
        has = "has no" if classes else "has a"
        raise BadConfig(f"{name} {has} vector for each class; type loss._target_=retrieval_bench.loss.pml.{right}")
