"""A hidden layer before the embedding (as SimCLR's projection, Chen et al. 2020, but searched instead of dropped)."""

from __future__ import annotations

from torch import Tensor, nn

from retrieval_bench.errors import BadConfig
from retrieval_bench.head.base import Head


class MLP(Head):
    """[b, dim] → [b, hidden] → ReLU → [b, out].

    Args:
        dim: the encoder's columns.
        hidden, out: columns of the hidden layer and of the embeddings.
        dropout: share of the hidden units that is switched off in training.

    Raises:
        BadConfig: a size below 1, or a share outside [0, 1).
    """

    def __init__(self, dim: int, hidden: int = 512, out: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        if min(hidden, out) < 1 or not 0 <= dropout < 1:
            raise BadConfig(
                f"head.hidden={hidden} head.out={out} head.dropout={dropout}: whole numbers from 1 and a share from 0"
                " and below 1 are needed"
            )
        self.out = out
        self.layers = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, out))

    def forward(self, vectors: Tensor) -> Tensor:
        """[b, dim] → [b, out]."""
        embeddings: Tensor = self.layers(vectors)
        return embeddings
