"""Two streams (Simonyan & Zisserman 2014): what is seen, and how it moves, in one vector of two blocks."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from retrieval_bench.encoder._trained import take_trained
from retrieval_bench.encoder.base import Encoder, Preprocessing, by_frames
from retrieval_bench.errors import BadConfig


class TwoStream(Encoder):
    """The normalised vectors of two encoders side by side, each scaled by the root of its weight.

    The cosine of two such vectors is the weighted mean of the streams' cosines: late fusion in one index. Searching the
    blocks in an index each, and merging the lists, is `search=merge`.

    Args:
        rgb, flow: encoders of one input each, two different ones.
        rgb_weight: share of the first in the cosine, from 0 to 1.
        weights: none: the streams bring their own; or a file that a training of such an encoder wrote.

    Raises:
        BadConfig: a weight outside [0, 1], one input twice, or weights other than these. CorruptInput: a file of
        another architecture.
    """

    def __init__(self, rgb: Encoder, flow: Encoder, rgb_weight: float = 0.5, weights: str = "none") -> None:
        super().__init__()
        if not 0 <= rgb_weight <= 1:
            raise BadConfig(f"encoder.rgb_weight={rgb_weight}: type a share from 0 to 1, such as 0.5")
        if rgb.inputs == flow.inputs:
            raise BadConfig(
                f"both streams take {rgb.inputs[0]}; type encoder.rgb.input=rgb and encoder.flow.input=flow"
            )
        self.rgb, self.flow = rgb, flow
        self.inputs = (*rgb.inputs, *flow.inputs)
        self.dim = rgb.dim + flow.dim
        self.blocks = {"rgb": (0, rgb.dim), "flow": (rgb.dim, self.dim)}
        self._weight, self._from = rgb_weight, take_trained(self, weights)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Normalised floats [b, t, c, size, size] of both inputs → [b, dim]."""
        return by_frames(self, inputs)

    def frames(self) -> dict[str, Encoder]:
        """Both streams'."""
        return self.rgb.frames() | self.flow.frames()

    def over_time(self, features: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:
        """As in `Encoder`; of length 1."""
        parts = [F.normalize(stream.over_time(features, lengths), dim=1) for stream in (self.rgb, self.flow)]
        return torch.cat([parts[0] * math.sqrt(self._weight), parts[1] * math.sqrt(1 - self._weight)], dim=1)

    def preprocessing(self, native_size: int | None) -> Preprocessing:
        """Of the first stream's frames."""
        return self.rgb.preprocessing(native_size)

    def settings(self) -> dict[str, Any]:
        """Of both streams."""
        return self.rgb.settings() | self.flow.settings()

    def describe(self) -> dict[str, Any]:
        """Both streams, and their weight."""
        return {
            "dim": self.dim,
            "rgb": self.rgb.describe(),
            "flow": self.flow.describe(),
            "rgb_weight": self._weight,
        } | self._from
