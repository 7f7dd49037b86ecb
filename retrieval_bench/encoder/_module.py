"""The torch modules behind `base`: what an encoder is, and what a pooling is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from retrieval_bench.encoder._preprocess import Preprocessing


class Encoder(nn.Module, ABC):
    """Named tensors [b, …] → vectors [b, dim].

    Attributes:
        inputs: names of the tensors that `forward` takes.
        dim: columns of the output.
    """

    inputs: tuple[str, ...]
    dim: int

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Normalised float tensors by input name, images [b, 3, size, size] → [b, dim]."""

    @abstractmethod
    def preprocessing(self, native_size: int | None) -> Preprocessing:
        """How images become this encoder's input; `native_size` is the data set's `image_size`."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Architecture, weights, pooling and library version as JSON, for the record."""

    def weights_fingerprint(self) -> str:
        """Digest of every parameter and buffer: one changed weight changes it."""
        digest = blake2b(digest_size=16)
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


class Pool(nn.Module, ABC):
    """Feature maps [b, c, h, w] → vectors [b, factor · c].

    Attributes:
        factor: by how much the number of channels grows.
    """

    factor: int = 1

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """[b, c, h, w] → [b, factor · c]."""

    def describe(self) -> dict[str, Any]:
        """Name and parameters as JSON."""
        return {"pool": type(self).__name__}
