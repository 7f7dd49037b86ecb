"""Ranks with a slope, shared by the losses that rank."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own name for it)

from retrieval_bench.loss.base import Batch, References


@dataclass(frozen=True, eq=False)
class SoftRanks:
    """Of every positive of every query that has one, [t] each, and of the queries.

    Attributes:
        query: row of the query, 0 … b-1.
        among_all: soft rank of the positive among all candidates, from 1.
        among_positives: the same among the query's positives alone.
        positives: how many positives each query has: [b].
    """

    query: Tensor
    among_all: Tensor
    among_positives: Tensor
    positives: Tensor

    def per_query(self, values: Tensor) -> Tensor:
        """Sums of values [t, …] over the positives of each query that has some: [q, …]."""
        sums = values.new_zeros(len(self.positives), *values.shape[1:]).index_add(0, self.query, values)
        return sums[self.positives > 0]

    def counts(self) -> Tensor:
        """Positives of each query that has some: [q]."""
        return self.positives[self.positives > 0]


def itself(batch: Batch) -> References:
    """A batch as its own references: only the anchor itself is left out."""
    own = torch.eye(len(batch.labels), dtype=torch.bool, device=batch.labels.device)
    return References(batch.embeddings, batch.labels, own)


def soft_ranks(batch: Batch, references: References, temperature: float) -> SoftRanks:
    """Rank by cosine: 1 + Σ over other candidates of sigmoid((their similarity - the positive's) / temperature).

    Takes memory for positives × references numbers, not b × r × r.
    """
    queries = F.normalize(batch.embeddings)
    similarity = queries @ F.normalize(references.embeddings).T  # [b, r]
    positive = (batch.labels[:, None] == references.labels) & ~references.left_out
    query, item = positive.nonzero(as_tuple=True)
    above = torch.sigmoid((similarity[query] - similarity[query, item][:, None]) / temperature)  # [t, r]
    other = ~references.left_out[query]
    other[torch.arange(len(item), device=item.device), item] = False  # nothing outranks itself
    among_all = 1 + (above * other).sum(1)
    among_positives = 1 + (above * (other & positive[query])).sum(1)
    return SoftRanks(query, among_all, among_positives, positive.sum(1))
