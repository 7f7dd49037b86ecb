"""Which frames of a video are looked at: pure functions from its number of frames to indices.

Frames are addressed by their order of output; time = index / average rate. A short video repeats frames by the rule
that each function states; no index is ever n or more, and a video of one frame works everywhere.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig

Indices = NDArray[np.int64]

# A frame's time is a quotient of floats: 3 / 29.97 · 29.97 may be 2.9999999999999996. Far less than a frame.
SLACK = 1e-6


def segment_centres(n: int, count: int) -> Indices:
    """The middle frame of each of `count` equal parts of n frames: [count] (Wang et al. 2016, TSN, testing).

    With fewer frames than parts each frame is repeated, in order, as often as parts have their middle in it.

    >>> segment_centres(80, 8).tolist(), segment_centres(3, 8).tolist()
    ([5, 15, 25, 35, 45, 55, 65, 75], [0, 0, 0, 1, 1, 2, 2, 2])
    """
    _need_frames(n)
    found: Indices = (2 * np.arange(count, dtype=np.int64) + 1) * n // (2 * count)
    return found


def dense(n: int, count: int, stride: int) -> Indices:
    """`count` frames, every `stride`-th one, from the middle of n frames: [count].

    A video that is too short for that is read from its first frame, and its last frame is repeated: order in time is
    kept, which looping would break.

    >>> dense(100, 4, 8).tolist(), dense(10, 4, 4).tolist()
    ([37, 45, 53, 61], [0, 4, 8, 9])
    """
    _need_frames(n)
    return views(n, count, stride, 1)


def views(n: int, count: int, stride: int, clips: int) -> Indices:
    """`clips` dense clips, the first at the start of the video and the last at its end: [clips · count].

    The temporal views of Feichtenhofer et al. 2019 (SlowFast: 10 views). One clip is taken from the middle. Short
    videos as in `dense`: every clip is then the same.

    >>> views(20, 3, 2, 3).tolist()
    [0, 2, 4, 7, 9, 11, 15, 17, 19]
    """
    _need_frames(n)
    free = max(0, n - (count - 1) * stride - 1)  # last possible start
    starts = np.arange(clips, dtype=np.int64) * free // (clips - 1) if clips > 1 else np.array([free // 2], np.int64)
    found: Indices = np.minimum(starts[:, None] + np.arange(count, dtype=np.int64) * stride, n - 1).ravel()
    return found


def uniform(n: int, rate: float, per_second: float, most: int | None = None) -> Indices:
    """The frame shown at times 0, 1 / per_second, 2 / per_second, … of n frames at `rate` a second: [≤ most].

    Where that gives more than `most` frames, the middle ones of `most` equal parts of them stay, so that the whole
    video is covered. A slower video than `per_second` repeats frames.

    >>> uniform(100, 25.0, 1.0).tolist(), uniform(100, 25.0, 1.0, 2).tolist(), uniform(3, 1.0, 2.0).tolist()
    ([0, 25, 50, 75], [25, 75], [0, 0, 1, 1, 2, 2])
    """
    _need_frames(n)
    _need_rate(rate)
    step = rate / per_second
    found: Indices = np.floor(np.arange(math.ceil(n / step) + 1) * step + SLACK).astype(np.int64)
    found = found[found < n]
    if most is not None and len(found) > most:
        found = found[segment_centres(len(found), most)]
    return found


class Windows(NamedTuple):
    """Sliding windows over a video, in order of their start: window i is frames[i, 0] … frames[i, 1] - 1.

    Attributes:
        frames: int64 [w, 2], first frame and the one behind the last.
        times: float64 [w, 2], the same in seconds.
    """

    frames: Indices
    times: NDArray[np.float64]


def windows(n: int, rate: float, window: float, stride: float) -> Windows:
    """Windows of `window` seconds, one every `stride` seconds, over n frames at `rate` a second.

    All have the same number of frames, round(window · rate) and at least one. Window i starts at frame
    round(i · stride · rate). If the last one that fits does not reach the end of the video, one more does, which is
    shifted back so far that it fits. A window longer than the video gives one window: the whole video.

    >>> windows(10, 2.0, 2.0, 1.5).frames.tolist()
    [[0, 4], [3, 7], [6, 10]]
    >>> windows(11, 2.0, 2.0, 1.5).frames[-1].tolist(), windows(3, 2.0, 2.0, 1.0).times.tolist()
    ([7, 11], [[0.0, 1.5]])

    Raises:
        BadConfig: a window or stride that is not a positive number of seconds.
    """
    _need_frames(n)
    _need_rate(rate)
    if not (0 < window < math.inf and 0 < stride < math.inf):
        raise BadConfig(f"window={window} stride={stride}: type positive numbers of seconds, for instance 2.0 and 1.0")
    length = min(n, max(1, round(window * rate)))
    steps = np.arange(int((n - length) / (stride * rate) + SLACK) + 2)
    starts = np.floor(steps * (stride * rate) + 0.5 + SLACK).astype(np.int64)
    starts = np.unique(np.append(starts[starts <= n - length], n - length))  # a stride below a frame repeats none
    frames = np.stack([starts, starts + length], axis=1)
    return Windows(frames, frames / rate)


class Sampling(ABC):
    """A rule by which frames of a video are chosen."""

    @abstractmethod
    def indices(self, n: int, rate: float) -> Indices:
        """Indices int64 [t] into n ≥ 1 frames at `rate` a second; each in 0 … n - 1, t ≥ 1."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Name and parameters, as JSON: part of the protocol and of cache keys."""


@dataclass(frozen=True)
class SegmentSampling(Sampling):
    """The middle frame of each of `frames` equal parts of the video: `segment_centres` (TSN, Wang et al. 2016)."""

    frames: int = 8

    def __post_init__(self) -> None:
        _need_whole("frames", self.frames)

    def indices(self, n: int, rate: float) -> Indices:
        """[frames]."""
        return segment_centres(n, self.frames)

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": "segments", **asdict(self)}


@dataclass(frozen=True)
class DenseSampling(Sampling):
    """`frames` frames from the middle of the video, every `stride`-th one: `dense`."""

    frames: int = 16
    stride: int = 4

    def __post_init__(self) -> None:
        _need_whole("frames", self.frames)
        _need_whole("stride", self.stride)

    def indices(self, n: int, rate: float) -> Indices:
        """[frames]."""
        return dense(n, self.frames, self.stride)

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": "dense", **asdict(self)}


@dataclass(frozen=True)
class UniformSampling(Sampling):
    """A frame every 1 / `per_second` seconds, at most `most` (none: no limit): `uniform`."""

    per_second: float = 1.0
    most: int | None = 64

    def __post_init__(self) -> None:
        if not 0 < self.per_second < math.inf:
            raise BadConfig(f"sampling.per_second={self.per_second}: type a number of frames a second above 0")
        if self.most is not None:
            _need_whole("most", self.most)

    def indices(self, n: int, rate: float) -> Indices:
        """[≤ most]."""
        return uniform(n, rate, self.per_second, self.most)

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": "uniform", **asdict(self)}


@dataclass(frozen=True)
class ViewSampling(Sampling):
    """`clips` dense clips of `frames` frames, spread over the video: `views` (SlowFast, Feichtenhofer et al. 2019)."""

    clips: int = 10
    frames: int = 8
    stride: int = 4

    def __post_init__(self) -> None:
        for name in ("clips", "frames", "stride"):
            _need_whole(name, getattr(self, name))

    def indices(self, n: int, rate: float) -> Indices:
        """[clips · frames], clip after clip."""
        return views(n, self.frames, self.stride, self.clips)

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": "views", **asdict(self)}


def _need_whole(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadConfig(f"sampling.{name}={value}: type a whole number from 1")


def _need_frames(n: int) -> None:
    if n < 1:
        raise ValueError(f"a video of {n} frames: a decoder gives one frame at least, or CorruptInput")


def _need_rate(rate: float) -> None:
    if not 0 < rate < math.inf:
        raise ValueError(f"a rate of {rate} frames a second")
