"""What is read of a video: frames chosen by a sampling and, where wanted, stacks of optical flow beside them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.media._kept import KeptClips, Outcome, content_digest
from retrieval_bench.media._stream import decoder_version, probe
from retrieval_bench.media.flow import Flow, grey
from retrieval_bench.media.sampling import Sampling
from retrieval_bench.media.video import Video, resized

Pixels = NDArray[np.uint8]
Arrays = Mapping[str, Pixels]
FORMAT = 2  # of what is kept: raised when this code gives other bytes for the same description


class Decoded(NamedTuple):
    """What is read of a file, and of how much.

    Attributes:
        arrays: as `Clip.read` gives them.
        times: float64 [t] seconds of each frame of `rgb`: its index / average rate.
        frames: of the whole file. rate: of these a second.
        truncated: why the frames end before the file should, or none.
        flow_s: seconds that optical flow took.
    """

    arrays: Arrays
    times: NDArray[np.float64]
    frames: int
    rate: float
    truncated: str | None
    flow_s: float = 0.0


class Clip:
    """How a video becomes arrays: `rgb` uint8 [t, height, width, 3] and `flow` uint8 [t, height, width, 2 L].

    One pass decodes the file: only frames that are looked at are converted, and flow is computed of them on the way.
    Where the sampling must know how many frames there are, that is first taken to be the number of packets; if decoding
    gives another number, a second pass takes the right frames. Safe to call from several threads.

    Args:
        sampling: which frames.
        width, height: pixels of the upright picture; none = as stored.
        flow: method of the optical flow and number L of pairs in a stack; none = frames only.
        cache: folder in which decoded clips are kept; none = they are decoded each time.

    Raises:
        BadConfig: a size below 1.
    """

    def __init__(
        self, sampling: Sampling, width: int | None, height: int | None, flow: Flow | None, cache: str | None
    ) -> None:
        for name, value in (("width", width), ("height", height)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise BadConfig(f"clip.{name}={value}: type a number of pixels from 1, or null for the stored size")
        self.sampling, self.width, self.height, self.flow, self.cache = sampling, width, height, flow, cache

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the arrays: ("rgb",) or ("rgb", "flow")."""
        return ("rgb",) if self.flow is None else ("rgb", "flow")

    def describe(self) -> dict[str, Any]:
        """Everything besides the file that decides a byte, as JSON: part of the protocol and of cache keys."""
        return {
            "sampling": self.sampling.describe(),
            "width": self.width,
            "height": self.height,
            "flow": None if self.flow is None else self.flow.describe(),
            "decoder": decoder_version(),
            "format": FORMAT,
        }

    def read(self, path: Path) -> Arrays:
        """Decode a file, or take it from the cache.

        Raises:
            CorruptInput: no frame can be read, or fewer than a stack of flow needs; the message is the reason alone.
            ReadFailed: the machine could not read the file, of which nothing is remembered then.
            OutOfSpace, BadConfig: the cache cannot be written. MissingExtra: PyAV or OpenCV is not installed.
        """
        if self._kept is None:
            return self.decode(path).arrays
        digest = content_digest(path)
        kept = self._kept.load(digest)
        if kept is not None:
            return kept
        try:
            decoded = self.decode(path)
        except CorruptInput as error:
            self._kept.note(digest, path, Outcome.FAILED, str(error))
            raise
        if decoded.truncated:
            self._kept.note(digest, path, Outcome.TRUNCATED, decoded.truncated)
        self._kept.save(digest, decoded.arrays)
        return decoded.arrays

    def decode(self, path: Path) -> Decoded:
        """Decode a file, cache or not. Raises as `read`, but for the cache."""
        guess, rate = probe(path)
        plan = _Plan(self, max(1, guess), rate)
        with Video(path, self.width, self.height) as video:
            plan.take(video.chosen(plan.wanted.__contains__))  # to the end, for the count
            n, truncated = video.count, video.truncated
        if n != plan.n:
            plan = _Plan(self, n, rate, plan.flow_s)
            with Video(path, self.width, self.height) as video:
                plan.take(islice(video.chosen(plan.wanted.__contains__), len(plan.wanted)))
        return Decoded(plan.arrays(), plan.rows / rate, n, rate, truncated, plan.flow_s)

    def seconds(self, path: Path) -> float:
        """Length of a file by its packets, of which none is decoded. Raises as `read`, but for the cache."""
        found = probe(path)
        return found.packets / found.rate

    def truncated(self, paths: Sequence[Path]) -> dict[Path, str]:
        """Those of the files that were found to be cut off when they were read into the cache, with the reason."""
        return {} if self._kept is None else self._kept.truncated(paths)

    def only(self, inputs: Collection[str]) -> Clip:
        """The same for whoever takes these arrays: without flow where that is not among them; nothing is kept."""
        return Clip(self.sampling, self.width, self.height, self.flow if "flow" in inputs else None, None)

    def sized(self, side: int | None) -> Clip:
        """The same, with this width and height in pixels where it names none; nothing is kept."""
        return Clip(self.sampling, self.width or side, self.height or side, self.flow, None)

    def of_frames(self, frames: Pixels, rate: float) -> Arrays:
        """The same of frames in memory, RGB uint8 [n, h, w, 3] at `rate` frames a second: sampled, resized, with flow.

        An array is made when it is asked for: whoever wants the frames alone does not pay for their flow.

        Raises:
            CorruptInput: fewer frames than a stack of flow needs. MissingExtra: as `read`.
        """
        return _Later(self, frames, rate)

    def take(self, frames: Pixels, rate: float) -> Decoded:
        """As `of_frames`, all arrays at once, as `decode` gives those of a file."""
        plan = _Plan(self, len(frames), rate)
        chosen = sorted(plan.wanted)
        plan.take(zip(chosen, resized((frames[i] for i in chosen), self.width, self.height), strict=True))
        return Decoded(plan.arrays(), plan.rows / rate, len(frames), rate, None, plan.flow_s)

    @cached_property
    def _kept(self) -> KeptClips | None:
        return None if self.cache is None else KeptClips(self.cache, self.describe())


class _Later(Mapping[str, Pixels]):
    """The arrays of frames in memory, each made when it is asked for."""

    def __init__(self, clip: Clip, frames: Pixels, rate: float) -> None:
        self._clip, self._frames = clip, frames
        self._rows = clip.sampling.indices(len(frames), rate)
        if clip.flow is not None:
            clip.flow.starts(self._rows, len(frames))  # too few frames are told at once
        self._rate = rate

    def __getitem__(self, name: str) -> Pixels:
        clip, frames = self._clip, self._frames
        if name not in clip.inputs:
            raise KeyError(name)
        if name == "rgb":
            return np.stack(list(resized((frames[i] for i in self._rows.tolist()), clip.width, clip.height)))
        return clip.take(frames, self._rate).arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._clip.inputs)

    def __len__(self) -> int:
        return len(self._clip.inputs)


class _Plan:
    """Which frames of a video of n are looked at, what was taken of them, and the seconds that flow took."""

    def __init__(self, clip: Clip, n: int, rate: float, flow_s: float = 0.0) -> None:
        self.n, self.flow_s, self._flow = n, flow_s, clip.flow
        self.rows = clip.sampling.indices(n, rate)
        self._pairs: set[int] = set()  # first frames of the pairs between which motion is estimated
        self.wanted = set(self.rows.tolist())
        if clip.flow is not None and n > clip.flow.pairs:
            starts = clip.flow.starts(self.rows, n).tolist()
            self._pairs = {s + i for s in starts for i in range(clip.flow.pairs)}
            self.wanted |= self._pairs | {s + 1 for s in self._pairs}
        self._rgb: dict[int, Pixels] = {}
        self._motion: dict[int, Pixels] = {}

    def take(self, frames: Iterable[tuple[int, Pixels]]) -> None:
        """Keep of the wanted frames, which come in order, what belongs to the clip."""
        sampled = set(self.rows.tolist())
        last: Pixels | None = None
        for index, frame in frames:
            if index in sampled:
                self._rgb[index] = frame
            if self._flow is None:
                continue
            begin = perf_counter()
            current = grey(frame) if index in self._pairs or index - 1 in self._pairs else None
            if index - 1 in self._pairs and last is not None and current is not None:
                self._motion[index - 1] = self._flow.between(last, current)
            last = current
            self.flow_s += perf_counter() - begin

    def arrays(self) -> Arrays:
        """Raises CorruptInput: too few frames for a stack of flow."""
        found = {"rgb": np.stack([self._rgb[row] for row in self.rows.tolist()])}
        if self._flow is not None:
            length = self._flow.pairs
            starts = self._flow.starts(self.rows, self.n).tolist()
            stacks = [np.concatenate([self._motion[s + i] for i in range(length)], axis=2) for s in starts]
            found["flow"] = np.stack(stacks)
        return found
