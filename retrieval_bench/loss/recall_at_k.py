"""The surrogate of recall@k: two sigmoids, one for the ranks and one for the cut."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from retrieval_bench.errors import BadConfig
from retrieval_bench.loss._ranks import itself, soft_ranks
from retrieval_bench.loss.base import Batch, Loss, References


class RecallAtK(Loss):
    """1 - mean over queries and cuts k of Σ over positives of sigmoid((k - soft rank) / t) / min(k, positives).

    Patel, Tolias, Matas: Recall@k Surrogate Loss, CVPR 2022; the sum is cut at k, and divided by the most
    that fits into k, as in the authors' code. Here, the query itself has no rank. A positive at rank k exactly counts
    one half, so the loss is 0 nowhere; queries without positives are left out of the mean. Made for large batches.

    Args:
        k: cuts, each from 1.
        rank_temperature: of the ranks' sigmoid, in units of cosine.
        cut_temperature: of the cut's sigmoid, in ranks.
    """

    refers = True

    def __init__(
        self,
        dim: int,
        n_classes: int | None,
        k: Sequence[int] = (1, 2, 4, 8, 16),
        rank_temperature: float = 0.01,
        cut_temperature: float = 1.0,
    ) -> None:
        super().__init__(dim, n_classes)
        if not k or min(k) < 1:
            raise BadConfig(f"loss.k={list(k)}: whole numbers from 1 are needed, for instance loss.k=[1,2,4,8,16]")
        if rank_temperature <= 0 or cut_temperature <= 0:
            raise BadConfig(
                f"loss.rank_temperature={rank_temperature} loss.cut_temperature={cut_temperature}: type numbers above "
                f"0, such as 0.01 and 1"
            )
        self.k = tuple(k)
        self.rank_temperature, self.cut_temperature = rank_temperature, cut_temperature

    def compute(self, batch: Batch) -> Tensor:
        """As in `Loss`."""
        return self.against(batch, itself(batch))

    def against(self, batch: Batch, references: References) -> Tensor:
        """As in `Loss`."""
        ranks = soft_ranks(batch, references, self.rank_temperature)
        if not len(ranks.query):
            return (batch.embeddings * 0).sum()
        k = torch.tensor(self.k, dtype=ranks.among_all.dtype, device=ranks.among_all.device)
        within = torch.sigmoid((k - ranks.among_all[:, None]) / self.cut_temperature)  # [t, cuts]
        found = torch.minimum(ranks.per_query(within), k)  # [q, cuts]
        return 1 - (found / torch.minimum(ranks.counts()[:, None], k)).mean()
