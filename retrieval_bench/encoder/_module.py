"""The torch modules behind `base`: what an encoder is, what a pooling is, and what puts frames together over time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from retrieval_bench.encoder._preprocess import Preprocessing
from retrieval_bench.encoder._weights import fill_named


class Encoder(nn.Module, ABC):
    """Named tensors [b, …] → vectors [b, dim].

    Attributes:
        inputs: names of the tensors that `forward` takes.
        dim: columns of the output.
        blocks: named column ranges (start, stop) of a vector of several streams; none of one stream.
        head_weights: of a trained head that came with the weights' file, without the prefix `head.`; empty otherwise.
        head_node: the configuration of that head; none otherwise.
    """

    inputs: tuple[str, ...]
    dim: int
    blocks: dict[str, tuple[int, int]] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.head_weights: dict[str, Tensor] = {}
        self.head_node: dict[str, Any] | None = None

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Normalised float tensors by input name, images [b, 3, size, size] → [b, dim]."""

    @abstractmethod
    def preprocessing(self, native_size: int | None) -> Preprocessing:
        """How images become this encoder's input; `native_size` is the data set's `image_size`."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Architecture, weights, pooling and library version as JSON, for the record."""

    def frames(self) -> dict[str, Encoder]:
        """What encodes the single frames of each input, where inputs are clips; empty where they are images."""
        return {}

    def over_time(self, features: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:
        """Vectors of frames, as `frames` give them → vectors of clips [b, dim]; only where inputs are clips.

        Args:
            features: float [b, t, c] of each input, 0 behind the end of a clip. lengths: int64 [b], frames of each.
        """
        raise TypeError(f"{type(self).__name__} takes images, which have no frames")

    def exported(self) -> dict[str, Tensor]:
        """Every parameter and buffer, named as `encoder.weights=FILE` takes them."""
        return self.state_dict()

    def settings(self) -> dict[str, Any]:
        """Constructor values that decide the input, as JSON: a weights' file brings them along."""
        return {}

    def take(self, tensors: dict[str, Tensor], file: Path) -> None:
        """Fill with what `exported` gave.

        Raises:
            CorruptInput: they are of another architecture; names the first that differ.
        """
        fill_named(self, tensors, file)

    def weights_fingerprint(self) -> str:
        """Digest of every parameter and buffer, and of a head that came along: one changed weight changes it."""
        digest = blake2b(digest_size=16)
        for name, tensor in sorted((self.state_dict() | self.head_weights).items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


class Headed(Encoder):
    """An encoder with a trained projection on top: what training gives.

    Args:
        encoder: takes the inputs. head: [b, encoder.dim] → [b, out]. out: columns of the result.
        origin: how the weights came about, for the record.
    """

    def __init__(self, encoder: Encoder, head: nn.Module, out: int, origin: dict[str, Any]) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.inputs, self.dim, self.origin = encoder.inputs, out, origin

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """As the encoder's, projected: [b, out]."""
        embeddings: Tensor = self.head(self.encoder(inputs))
        return embeddings

    def preprocessing(self, native_size: int | None) -> Preprocessing:
        """The encoder's."""
        return self.encoder.preprocessing(native_size)

    def frames(self) -> dict[str, Encoder]:
        """The encoder's."""
        return self.encoder.frames()

    def over_time(self, features: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:
        """The encoder's, projected."""
        embeddings: Tensor = self.head(self.encoder.over_time(features, lengths))
        return embeddings

    def describe(self) -> dict[str, Any]:
        """The encoder's, the head, and how both were trained."""
        return self.encoder.describe() | {"dim": self.dim, "head": repr(self.head)} | self.origin


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


class Temporal(nn.Module, ABC):
    """Vectors of the frames of a clip → one vector.

    Constructors take `dim`, the columns of a frame's vector, which the encoder knows; the rest comes from the
    configuration.

    Attributes:
        out: columns of the result.
    """

    out: int

    @abstractmethod
    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Float [b, t, dim] with 0 behind the end of a clip, and int64 [b] frames of each → [b, out]."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Name and parameters as JSON."""


def by_frames(encoder: Encoder, inputs: dict[str, Tensor]) -> Tensor:
    """Clips of one length → vectors [b, dim]: every frame encoded, then put together.

    Args:
        inputs: normalised floats [b, t, c, size, size] of each input.
    """
    features, lengths = {}, {}
    for name, frame in encoder.frames().items():
        clips = inputs[name]
        b, t = clips.shape[:2]
        features[name] = frame({"image": clips.flatten(0, 1)}).view(b, t, -1)
        lengths[name] = torch.full((b,), t, dtype=torch.int64)
    return encoder.over_time(features, lengths)
