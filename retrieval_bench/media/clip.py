"""What is read of a video: frames chosen by a sampling and, where wanted, stacks of optical flow beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.media.flow import Flow
from retrieval_bench.media.sampling import Sampling

Arrays = dict[str, NDArray[np.uint8]]


class Clip:
    """How a video becomes arrays: `rgb` uint8 [t, height, width, 3] and `flow` uint8 [t, height, width, 2 L].

    Args:
        sampling: which frames.
        width, height: pixels of the upright picture; none = as stored.
        flow: method and number of pairs L of the optical flow; none = frames only.
        cache: folder in which decoded clips are kept; none = they are decoded each time.
    """

    def __init__(
        self, sampling: Sampling, width: int | None, height: int | None, flow: Flow | None, cache: str | None
    ) -> None:
        for name, value in (("width", width), ("height", height)):
            if value is not None and value < 1:
                raise BadConfig(f"clip.{name}={value}: type a number of pixels from 1, or null for the stored size")
        self.sampling, self.width, self.height, self.flow, self.cache = sampling, width, height, flow, cache

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the arrays: ("rgb",) or ("rgb", "flow")."""
        return ("rgb",) if self.flow is None else ("rgb", "flow")

    def describe(self) -> dict[str, Any]:
        """Everything that decides a pixel besides the file, as JSON: part of the protocol and of cache keys."""
        return {
            "sampling": self.sampling.describe(),
            "width": self.width,
            "height": self.height,
            "flow": None if self.flow is None else self.flow.describe(),
        }

    def read(self, path: Path) -> Arrays:
        """Decode a file, or take it from the cache.

        Raises:
            CorruptInput: no frame can be read, or fewer than a stack of flow needs; the message is the reason alone.
        """
        import av

        try:
            with av.open(str(path)) as container:
                rate = float(container.streams.video[0].average_rate or 25)
                frames = [f.to_ndarray(format="rgb24", width=self.width, height=self.height)
                          for f in container.decode(video=0)]  # fmt: skip
        except (av.FFmpegError, IndexError) as error:
            raise CorruptInput(str(error)) from error
        return self.of_frames(np.stack(frames), rate)

    def of_frames(self, frames: NDArray[np.uint8], rate: float) -> Arrays:
        """The same of frames in memory, RGB uint8 [n, h, w, 3] at `rate` frames a second; sizes stay as they are."""
        rows = self.sampling.indices(len(frames), rate)
        if self.flow is None:
            return {"rgb": frames[rows]}
        pairs = self.flow.pairs
        if len(frames) <= pairs:
            raise CorruptInput(f"{len(frames)} frames; a stack of {pairs} flow pairs needs {pairs + 1}")
        flow = self.flow.flow_of(frames)
        starts = np.minimum(rows, len(frames) - 1 - pairs)
        return {"rgb": frames[rows], "flow": np.stack([np.concatenate(flow[s : s + pairs], axis=-1) for s in starts])}
