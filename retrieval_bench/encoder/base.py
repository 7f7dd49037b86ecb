"""What an encoder is, and what its input looks like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Preprocessing:
    """From a decoded image to the encoder's input.

    Attributes:
        size: side of the square input in pixels.
        resize: the short side is resized to this many pixels before the centre crop; none: images already have `size`
            and are taken as they are (an image of another size is resized to size × size).
        interpolation: Pillow's name: nearest, bilinear, bicubic, lanczos.
        mean, std: per channel, of pixel values scaled to [0, 1].
    """

    size: int
    resize: int | None
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def describe(self) -> dict[str, Any]:
        """The values as JSON, for cache keys and the record."""
        return asdict(self)


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
        from hashlib import blake2b

        digest = blake2b(digest_size=16)
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
