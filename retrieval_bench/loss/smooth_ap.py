"""Smooth-AP: average precision whose ranks have a slope."""

from __future__ import annotations

from torch import Tensor

from retrieval_bench.errors import BadConfig
from retrieval_bench.loss._ranks import itself, soft_ranks
from retrieval_bench.loss.base import Batch, Loss, References


class SmoothAP(Loss):
    """1 - mean over queries of the mean over their positives of (soft rank among positives / soft rank among all).

    Brown, Xie, Kalogeiton, Zisserman: Smooth-AP, ECCV 2020. Every item of the batch is a query and the others
    are ranked by cosine; the query itself is not among them (in the authors' code it is, as a positive that is always
    first). Classes may come in any order and size; queries without positives are left out of the mean.

    Args:
        temperature: of the sigmoid that replaces "is more similar"; in units of cosine. → 0: 1 - average precision.
    """

    refers = True

    def __init__(self, dim: int, n_classes: int | None, temperature: float = 0.01) -> None:
        super().__init__(dim, n_classes)
        if temperature <= 0:
            raise BadConfig(f"loss.temperature={temperature}: type a number above 0, such as 0.01")
        self.temperature = temperature

    def compute(self, batch: Batch) -> Tensor:
        """As in `Loss`."""
        return self.against(batch, itself(batch))

    def against(self, batch: Batch, references: References) -> Tensor:
        """As in `Loss`."""
        ranks = soft_ranks(batch, references, self.temperature)
        if not len(ranks.query):
            return (batch.embeddings * 0).sum()
        precision = ranks.per_query(ranks.among_positives / ranks.among_all) / ranks.counts()
        return 1 - precision.mean()
