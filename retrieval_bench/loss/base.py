"""What a loss and a miner are: embeddings of a batch and their classes → one number to make small.

A loss yaml is completed with `dim` and `n_classes` alone. Under several processes each of them computes the loss of the
whole batch: first embeddings, labels = gathered(embeddings, labels), then the miner, then the loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from retrieval_bench.errors import BadConfig
from retrieval_bench.loss._gather import gathered

__all__ = ["Batch", "Loss", "Miner", "Pairs", "References", "gathered"]

# Names in conf/loss, for the messages; a test compares them with what the classes say.
CLASSLESS = ("contrastive", "cross_batch_memory", "multi_similarity", "recall_at_k", "smooth_ap", "supcon", "triplet")
MINING = ("contrastive", "multi_similarity", "supcon", "triplet")
REFERRING = ("contrastive", "multi_similarity", "recall_at_k", "smooth_ap", "supcon", "triplet")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows of a batch that a miner chose, int64 [t] each.

    Without `negative_anchors` they are triplets: anchors[i], positives[i] and negatives[i] belong together. With it
    they are pairs: (anchors, positives) of one class, and apart from them (negative_anchors, negatives) of two.
    """

    anchors: Tensor
    positives: Tensor
    negatives: Tensor
    negative_anchors: Tensor | None = None

    def indices(self) -> tuple[Tensor, ...]:
        """The `indices_tuple` of pytorch-metric-learning: (a, p, n) of triplets, (a1, p, a2, n) of pairs."""
        if self.negative_anchors is None:
            return self.anchors, self.positives, self.negatives
        return self.anchors, self.positives, self.negative_anchors, self.negatives

    @classmethod
    def of(cls, indices: tuple[Tensor, ...]) -> Pairs:
        """From an `indices_tuple` of three or four."""
        if len(indices) == 3:
            return cls(*indices)
        anchors, positives, negative_anchors, negatives = indices
        return cls(anchors, positives, negatives, negative_anchors)


@dataclass(frozen=True, eq=False)
class Batch:
    """What a loss is computed of: embeddings float [b, dim], labels int64 [b], and perhaps pairs and items' ids [b]."""

    embeddings: Tensor
    labels: Tensor
    pairs: Pairs | None = None
    ids: Tensor | None = None


@dataclass(frozen=True, eq=False)
class References:
    """What a batch is compared with instead of itself: embeddings [r, dim], labels [r].

    `left_out` [b, r] marks what is neither positive nor negative to an anchor: the anchor itself, most of all.
    """

    embeddings: Tensor
    labels: Tensor
    left_out: Tensor


class Loss(nn.Module, ABC):
    """A loss of metric learning.

    The class facts are readable without constructing.

    Args:
        dim: columns of the embeddings.
        n_classes: number of training classes; none where the data fixes none.

    Raises:
        BadConfig: the loss needs a number of classes and there is none.
    """

    needs_classes: ClassVar[bool] = False  # has proxies or class weights
    mines: ClassVar[bool] = False  # uses the pairs of a miner
    refers: bool = False  # can compare a batch with more than itself (`against`); a constructor may take it back

    def __init__(self, dim: int, n_classes: int | None) -> None:
        super().__init__()
        if self.needs_classes and n_classes is None:
            raise BadConfig(
                f"{type(self).__name__} learns a vector for each class, and this data set has no fixed number of "
                f"classes; type one of loss={', loss='.join(CLASSLESS)}"
            )
        if dim < 1 or (n_classes is not None and n_classes < 1):
            raise BadConfig(f"a loss over dim={dim} and n_classes={n_classes}: whole numbers of 1 or more are needed")
        self.dim, self.n_classes = dim, n_classes

    def forward(
        self, embeddings: Tensor, labels: Tensor, pairs: Pairs | None = None, ids: Tensor | None = None
    ) -> Tensor:
        """The loss of a batch, in float32 whatever autocast says (float64 stays).

        Args:
            embeddings: [b, dim], as the head gives them: what needs unit vectors normalises them itself.
            labels: int64 [b], 0 … n_classes-1 where the loss needs classes.
            pairs: of a miner; none: all of the batch.
            ids: int64 [b], one for each item of the data set; only a memory over batches looks at them.

        Returns:
            A scalar; 0 with a gradient of zeros where the batch has nothing to compare.

        Raises:
            BadConfig: shapes or labels do not fit, or pairs are given to a loss that uses none.
        """
        self._check(embeddings, labels, pairs)
        precise = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.compute(Batch(precise, labels, pairs, ids))

    @abstractmethod
    def compute(self, batch: Batch) -> Tensor:
        """The loss of a checked batch: a scalar."""

    def against(self, batch: Batch, references: References) -> Tensor:
        """The loss of a batch as anchors only, compared with `references`; for losses with `refers`."""
        raise BadConfig(f"{type(self).__name__} compares a batch with itself only; {_instead('loss.loss', REFERRING)}")

    def _check(self, embeddings: Tensor, labels: Tensor, pairs: Pairs | None) -> None:
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dim or labels.shape != embeddings.shape[:1]:
            raise BadConfig(
                f"embeddings {tuple(embeddings.shape)} with labels {tuple(labels.shape)}: the loss was built for "
                f"[batch, {self.dim}] and [batch]; give it the head's dim"
            )
        if pairs is not None and not self.mines:
            raise BadConfig(
                f"{type(self).__name__} has no use for a miner; type miner=null or {_instead('loss', MINING)}"
            )
        if self.needs_classes and self.n_classes is not None and len(labels):
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= self.n_classes:
                raise BadConfig(
                    f"labels {low} … {high}, but the loss was built for n_classes={self.n_classes}: number the "
                    f"training classes 0 … {self.n_classes - 1}"
                )


def _instead(key: str, names: tuple[str, ...]) -> str:
    return f"one of {key}={f', {key}='.join(names)}"


class Miner(nn.Module, ABC):
    """Chooses which pairs or triplets of a batch the loss sees. Has no gradient."""

    @abstractmethod
    def forward(self, embeddings: Tensor, labels: Tensor) -> Pairs:
        """Embeddings float [b, dim] and labels int64 [b] → rows of the batch; perhaps none of them."""
