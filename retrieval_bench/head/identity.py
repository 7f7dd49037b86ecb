"""No projection: the encoder's own vectors are trained."""

from __future__ import annotations

from torch import Tensor

from retrieval_bench.head.base import Head


class Identity(Head):
    """[b, dim] → [b, dim], unchanged.

    Args:
        dim: the encoder's columns.
    """

    mixes = False

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out = dim

    def forward(self, vectors: Tensor) -> Tensor:
        """The vectors themselves."""
        return vectors
