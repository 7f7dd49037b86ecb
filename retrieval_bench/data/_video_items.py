"""What is known of the videos of a data set besides their frames: of files, and of frames that are drawn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data.base import Anew, VideoItems
from retrieval_bench.errors import CorruptInput
from retrieval_bench.machine import cores

if TYPE_CHECKING:  # data sets of images do without the decoder of videos
    from retrieval_bench.media.clip import Clip, Decoded


@dataclass(frozen=True, eq=False)
class VideoFiles(VideoItems):
    """Items are files. keys: [n], relative to root."""

    clip: Clip
    root: Path
    keys: Sequence[str]

    def seconds(self) -> NDArray[np.float64]:
        """By the packets of every file."""
        with ThreadPoolExecutor(cores()) as pool:
            return np.fromiter(pool.map(self._length, self.keys), np.float64, len(self.keys))

    def anew(self, row: int, inputs: Collection[str]) -> Anew:
        """Decoded, with flow."""
        clip = self.clip.only(inputs)
        return _timed(lambda: clip.decode(self.root / self.keys[row]))

    def truncated(self) -> list[tuple[str, str]]:
        """By the ledger of the cache, so none where nothing is kept."""
        found = self.clip.truncated([self.root / key for key in self.keys])
        return [(key, found[path]) for key in self.keys if (path := self.root / key) in found]

    def _length(self, key: str) -> float:
        try:
            return self.clip.seconds(self.root / key)
        except CorruptInput:
            return float("nan")


@dataclass(frozen=True, eq=False)
class DrawnVideos(VideoItems):
    """Items are drawn, or windows of what is drawn.

    Attributes:
        frames: row → uint8 [t, h, w, 3], at `rate` a second. lengths: [n] as `seconds` gives them.
    """

    clip: Clip
    rate: float
    frames: Callable[[int], NDArray[np.uint8]]
    lengths: NDArray[np.float64]
    drawn = True

    def seconds(self) -> NDArray[np.float64]:
        """As they were drawn."""
        return self.lengths

    def anew(self, row: int, inputs: Collection[str]) -> Anew:
        """Resized, with flow."""
        clip = self.clip.only(inputs)
        return _timed(lambda: clip.take(self.frames(row), self.rate))


def _timed(read: Callable[[], Decoded]) -> Anew:
    begin = perf_counter()
    decoded = read()
    return Anew(decoded.arrays, perf_counter() - begin - decoded.flow_s, decoded.flow_s)
