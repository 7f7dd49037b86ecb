"""One linear layer, the usual embedding head of metric learning (Musgrave et al. 2020)."""

from __future__ import annotations

from torch import Tensor, nn

from retrieval_bench.errors import BadConfig
from retrieval_bench.head.base import Head


class Linear(Head):
    """[b, dim] → [b, out] by one linear layer.

    Args:
        dim: the encoder's columns.
        out: columns of the embeddings.
        bias: add a bias.
        normalise: normalise the encoder's vectors first (layer norm without parameters of its own).

    Raises:
        BadConfig: `out` is below 1.
    """

    def __init__(self, dim: int, out: int = 128, bias: bool = True, normalise: bool = False) -> None:
        super().__init__()
        if out < 1:
            raise BadConfig(f"head.out={out}: a whole number from 1 is needed, e.g. head.out=128")
        self.out = out
        self.norm = nn.LayerNorm(dim, elementwise_affine=False) if normalise else nn.Identity()
        self.layer = nn.Linear(dim, out, bias)

    def forward(self, vectors: Tensor) -> Tensor:
        """[b, dim] → [b, out]."""
        embeddings: Tensor = self.layer(self.norm(vectors))
        return embeddings
