"""Optical flow between consecutive frames (OpenCV), as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class FlowMethod(StrEnum):
    """How flow is estimated."""

    DIS = "dis"
    FARNEBACK = "farneback"


@dataclass(frozen=True)
class Flow:
    """Settings of flow."""

    method: FlowMethod = FlowMethod.DIS
    pairs: int = 5
    bound: float = 20.0

    def flow_of(self, frames: Bytes) -> Bytes:
        """Flow from each frame to the next: RGB [n, h, w, 3] → [n - 1, h, w, 2]."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        return {"method": str(self.method), "pairs": self.pairs, "bound": self.bound}


def flip_flow(flow: Bytes) -> Bytes:
    """The flow of mirrored frames: [..., h, w, 2 L] → the same; x is negated, y is not."""
    mirrored = flow[..., ::-1, :].copy()
    mirrored[..., 0::2] = 256 - mirrored[..., 0::2].astype(np.int16)
    return mirrored
