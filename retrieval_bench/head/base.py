"""What a head is: a trained projection of an encoder's vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Head(nn.Module, ABC):
    """Vectors of an encoder [b, dim] → embeddings [b, out].

    Constructors take `dim`, the encoder's columns, which the pipeline knows; the rest comes from the configuration.

    Attributes:
        out: columns of the embeddings.
        mixes: a column of the embeddings depends on several of the vectors, so that blocks of these are lost.
    """

    out: int
    mixes: bool = True

    @abstractmethod
    def forward(self, vectors: Tensor) -> Tensor:
        """[b, dim] → [b, out]. Not normalised: the similarity of the run decides about length."""
