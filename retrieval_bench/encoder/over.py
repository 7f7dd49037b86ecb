"""From the vectors of frames to the vector of a clip: mean, maximum, and recurrent networks."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from retrieval_bench.encoder.base import Temporal
from retrieval_bench.errors import BadConfig


class Cell(StrEnum):
    """What remembers from frame to frame."""

    LSTM = "lstm"  # Hochreiter & Schmidhuber 1997
    GRU = "gru"  # Cho et al. 2014


class Mean(Temporal):
    """Mean over the frames of a clip: blind to their order.

    Args:
        dim: columns of a frame's vector.
        out: columns of a linear map that follows, which is random until it is trained; none: no map.

    Raises:
        BadConfig: `out` is below 1.
    """

    def __init__(self, dim: int, out: int | None = None) -> None:
        super().__init__()
        if out is not None and out < 1:
            raise BadConfig(f"encoder.over.out={out}: a whole number from 1 is needed, or null for no map")
        self.out = dim if out is None else out
        self.project = nn.Identity() if out is None else nn.Linear(dim, out)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """As every `Temporal`."""
        vectors: Tensor = self.project(_mean(features, lengths))
        return vectors

    def describe(self) -> dict[str, Any]:
        """Its name, and its columns."""
        return {"over": "Mean", "out": self.out}


class Max(Temporal):
    """Maximum over the frames of a clip, of each column alone."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out = dim

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """As every `Temporal`."""
        return features.masked_fill(~_within(features, lengths), -torch.inf).amax(dim=1)

    def describe(self) -> dict[str, Any]:
        """Its name."""
        return {"over": "Max"}


class Recurrent(Temporal):
    """An LSTM or a GRU over the frames; clips of different lengths are packed, so none sees what is behind its end.

    The vector of a clip is a linear map of the mean of the network's outputs over time (of both directions, side by
    side). With `residual` it is added to the mean of the frames' vectors, and the map starts at zero: training starts
    from mean pooling.

    Args:
        dim: columns of a frame's vector.
        cell: lstm or gru.
        hidden: columns of the memory, in each direction. layers: networks on top of one another.
        bidirectional: a second network reads backwards.
        residual: add the mean of the frames; the result then has `dim` columns, else `out`.
        out: columns of the result without `residual`.
        normalise: layer norm (without parameters of its own) of each frame's vector before the network.
        centre: take the clip's mean from its frames' vectors before the network, which then sees what changes and not
            what is shown.

    Raises:
        BadConfig: a number below 1, or another cell.
    """

    def __init__(  # noqa: PLR0917
        self,
        dim: int,
        cell: Cell = Cell.LSTM,
        hidden: int = 256,
        layers: int = 1,
        bidirectional: bool = False,
        residual: bool = True,
        out: int = 256,
        normalise: bool = True,
        centre: bool = True,
    ) -> None:
        super().__init__()
        if cell not in list(Cell):
            raise BadConfig(f"encoder.over.cell={cell}: type one of {', '.join(Cell)}")
        for name, value in (("hidden", hidden), ("layers", layers), ("out", out)):
            if value < 1:
                raise BadConfig(f"encoder.over.{name}={value}: a whole number from 1 is needed")
        network = nn.LSTM if Cell(cell) is Cell.LSTM else nn.GRU
        self.out = dim if residual else out
        self.norm = nn.LayerNorm(dim, elementwise_affine=False) if normalise else nn.Identity()
        self.network = network(dim, hidden, layers, batch_first=True, bidirectional=bidirectional)
        self.project = nn.Linear(hidden * (2 if bidirectional else 1), self.out)
        self._residual, self._centre = residual, centre
        if residual:
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)
        known = {"cell": str(cell), "hidden": hidden, "layers": layers, "bidirectional": bidirectional}
        self._known = known | {"residual": residual, "out": self.out, "normalise": normalise, "centre": centre}

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """As every `Temporal`."""
        seen = self.norm(features)
        seen = seen - _mean(seen, lengths)[:, None] if self._centre else seen
        packed = pack_padded_sequence(seen, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.network(packed)[0], batch_first=True)
        vectors: Tensor = self.project(_mean(outputs, lengths))
        return vectors + _mean(features, lengths) if self._residual else vectors

    def describe(self) -> dict[str, Any]:
        """Name and parameters."""
        return {"over": "Recurrent", **self._known}


def _within(features: Tensor, lengths: Tensor) -> Tensor:
    """Whether a frame is one of its clip's: bool [b, t, 1]."""
    return (torch.arange(features.shape[1], device=features.device) < lengths.to(features.device)[:, None])[..., None]


def _mean(features: Tensor, lengths: Tensor) -> Tensor:
    """In float64, so that the same frames in another order have the same mean: a rounding is no sense of time.

    Apple's MPS has no float64: there the rounding stays.
    """
    inside = _within(features, lengths)
    return ((features.to(widest(features.device)) * inside).sum(dim=1) / inside.sum(dim=1)).to(features.dtype)


def widest(device: torch.device) -> torch.dtype:
    """The widest float that a device computes with."""
    return torch.float32 if device.type == "mps" else torch.float64
