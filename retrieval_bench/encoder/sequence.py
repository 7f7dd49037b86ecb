"""Clips: an image encoder for the frames, and what puts their vectors together over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from retrieval_bench.encoder._trained import take_trained
from retrieval_bench.encoder.base import Encoder, Preprocessing, Temporal, by_frames


class Sequence(Encoder):
    """One vector of a clip from those of its frames: mean, maximum, LSTM or GRU over any image encoder.

    A frame's encoder with a spatial grid as its pooling (`pool=grid`) keeps where something is, which a mean over all
    positions hides from the network above it.

    Args:
        frame: encodes single frames (or single stacks of optical flow).
        over: completed with the columns of a frame's vector.
        input: which input of the data: rgb or flow.
        weights: none: `frame` brings its own, `over` is random; or a file that a training of such an encoder wrote.
        seed: decides random weights of `over`.

    Raises:
        BadConfig: weights other than these. CorruptInput: a file of another architecture.
    """

    def __init__(
        self,
        frame: Encoder,
        over: Callable[[int], Temporal],
        input: str = "rgb",
        weights: str = "none",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.frame = frame
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.over = over(frame.dim)
        self.inputs, self.dim, self._seed = (input,), self.over.out, seed
        self._random = any(True for _ in self.over.parameters())
        self._from = take_trained(self, weights)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Normalised floats [b, t, c, size, size] → [b, dim]."""
        return by_frames(self, inputs)

    def frames(self) -> dict[str, Encoder]:
        """The encoder of frames, of the one input."""
        return {self.inputs[0]: self.frame}

    def over_time(self, features: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:
        """As in `Encoder`."""
        name = self.inputs[0]
        vectors: Tensor = self.over(features[name], lengths[name])
        return vectors

    def preprocessing(self, native_size: int | None) -> Preprocessing:
        """Of a frame."""
        return self.frame.preprocessing(native_size)

    def settings(self) -> dict[str, Any]:
        """Of the frame's encoder."""
        return {self.inputs[0]: self.frame.settings()}

    def describe(self) -> dict[str, Any]:
        """The frame's encoder, and what is above it."""
        known = {"input": self.inputs[0], "dim": self.dim, "frame": self.frame.describe(), **self.over.describe()}
        seed: dict[str, Any] = {"seed": self._seed} if self._random else {}
        return known | (self._from or seed)
