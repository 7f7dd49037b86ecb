"""Classification: the baseline that learns no distances."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own name for it)

from retrieval_bench.loss.base import Batch, Loss


class Classification(Loss):
    """Cross entropy of a linear classifier over the embeddings as they are, not normalised.

    The classifier starts like `nn.Linear`.
    """

    needs_classes = True

    def __init__(self, dim: int, n_classes: int | None) -> None:
        super().__init__(dim, n_classes)
        start = nn.Linear(dim, n_classes or 0)
        self.weight, self.bias = nn.Parameter(start.weight.detach()), nn.Parameter(start.bias.detach())

    def compute(self, batch: Batch) -> Tensor:
        """As in `Loss`."""
        kind: torch.dtype = batch.embeddings.dtype  # weights may be kept in bfloat16
        return F.cross_entropy(F.linear(batch.embeddings, self.weight.to(kind), self.bias.to(kind)), batch.labels)
