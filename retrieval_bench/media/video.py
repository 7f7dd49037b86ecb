"""Video files → uint8 RGB frames in the order of their output, in one sequential pass, resized while converted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._once import once
from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.hashing import json_digest
from retrieval_bench.machine import cores
from retrieval_bench.media._kept import content_digest
from retrieval_bench.media._stream import Decoding, decoder_version, probe, refuse_passing
from retrieval_bench.media.sampling import SLACK

if TYPE_CHECKING:
    from av.sidedata.sidedata import SideData
    from av.video.frame import VideoFrame

Pixels = NDArray[np.uint8]
MOST_THREADS = 8  # of one file; each holds a few frames of stored size
ROUND = 1 << 16  # a display matrix has 16 fractional bits


class Video:
    """The frames of a file: uint8 RGB [height, width, 3], C-contiguous, upright, in the order of their output.

    A context manager, and an iterator that is read once. Frames are never sought: seeking by time gives wrong ones on
    AVI files with B-frames. Nothing that a header says of their number or length is believed.

    Colours are converted by the matrix that the stream names (BT.601 where it names none). Resizing is bilinear: the
    scaler widens that filter when it shrinks, so that it averages, and of those that do so it is the cheapest; at
    stored size it changes nothing. A picture that its file says is to be turned or mirrored (a phone's) is. Pixels that
    are not square stay so. Where the size changes within a file, all frames get the first one's.

    Args:
        path: the file.
        width, height: pixels of the upright picture; none = as stored.
        threads: that decode this file, to the same frames; 1 where several files are read at once.

    Attributes:
        count: frames decoded so far. truncated: why the frames end before the file should, or none. Both are known when
            the last frame was given.

    Raises:
        CorruptInput: the file is missing, empty, no video or has no frame; the message is the reason alone.
        MissingExtra: PyAV is not installed.
    """

    def __init__(self, path: Path, width: int | None = None, height: int | None = None, threads: int = 1) -> None:
        self._path, self._width, self._height = path, width, height
        self._decoding = Decoding(path, min(threads, MOST_THREADS))
        self._convert: _Converter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._decoding.close()

    @property
    def count(self) -> int:
        """Frames decoded so far."""
        return self._decoding.count

    @property
    def truncated(self) -> str | None:
        """Why the frames end before the file should, or none; known at the end."""
        return self._decoding.truncated or None

    @cached_property
    def rate(self) -> float:
        """Average frames a second. Frame i is at i / rate seconds, of a video of variable rate too."""
        return probe(self._path).rate

    def __iter__(self) -> Iterator[Pixels]:
        for frame in self._decoding:
            yield self._pixels(frame)

    def chosen(self, wanted: Callable[[int], bool]) -> Iterator[tuple[int, Pixels]]:
        """(index, frame) of the wanted ones, in order. All are decoded, but only these are converted."""
        for index, frame in enumerate(self._decoding):
            if wanted(index):
                yield index, self._pixels(frame)

    def _pixels(self, frame: VideoFrame) -> Pixels:
        if self._convert is None:
            self._convert = _Converter(frame, self._width, self._height)
        return self._convert(frame)


class _Converter:
    """From decoded frames of one video to RGB, through one reformatter, which keeps its tables from frame to frame."""

    def __init__(self, first: VideoFrame, width: int | None, height: int | None) -> None:
        from av.error import FFmpegError
        from av.video.reformatter import Interpolation, VideoReformatter

        self._failure, self._bilinear = FFmpegError, Interpolation.BILINEAR
        self._reformatter = VideoReformatter()
        self._transposed, self._mirrored = orientation(first)
        if self._transposed:
            width, height = height, width
        self._width, self._height = width or first.width, height or first.height

    def __call__(self, frame: VideoFrame) -> Pixels:
        try:
            rgb = self._reformatter.reformat(
                frame, self._width, self._height, "rgb24", interpolation=self._bilinear, threads=1
            )
        except self._failure as error:
            refuse_passing(error)
            raise CorruptInput(f"frames of {frame.format.name} cannot be converted to RGB ({error})") from error
        pixels: Pixels = rgb.to_ndarray()  # type: ignore[assignment]
        if self._transposed:
            pixels = pixels.transpose(1, 0, 2)
        return np.ascontiguousarray(pixels[self._mirrored])


def orientation(frame: VideoFrame) -> tuple[bool, tuple[slice, slice]]:
    """How a stored picture becomes upright: whether rows and columns change places, then what to index it with.

    The display matrix [[a, b, u], [c, d, v], [x, y, w]] moves a point to (a x + c y, b x + d y), y downwards. Angles
    between the right ones are taken for the nearest.
    """
    stored = cast("SideData | None", frame.side_data.get("DISPLAYMATRIX"))
    a, b, c, d = ROUND, 0, 0, ROUND
    if stored is not None:
        a, b, c, d = np.frombuffer(bytes(stored), np.int32)[[0, 1, 3, 4]].tolist()
    transposed = abs(a) + abs(d) < abs(b) + abs(c)
    x, y = (c, b) if transposed else (a, d)
    return transposed, (slice(None, None, -1 if y < 0 else 1), slice(None, None, -1 if x < 0 else 1))


def resized(frames: Iterable[Pixels], width: int | None, height: int | None) -> Iterator[Pixels]:
    """Frames in memory, RGB [h, w, 3], in another size, as `Video` resizes them; none = as they are."""
    convert: _Converter | None = None
    for frame in frames:
        if (height or frame.shape[0], width or frame.shape[1]) == frame.shape[:2]:
            yield frame
            continue
        decoder_version()  # MissingExtra
        from av.video.frame import VideoFrame

        wrapped = VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
        convert = convert or _Converter(wrapped, width, height)
        yield convert(wrapped)


class Frames(NamedTuple):
    """A long video at a fixed rate.

    Attributes:
        pixels: read-only memory map, uint8 RGB [n, height, width, 3].
        times: float64 [n], seconds of each frame in its video: its index / average rate.
    """

    pixels: Pixels
    times: NDArray[np.float64]


def frames_at(path: Path, rate: float, width: int | None, height: int | None, cache: str | Path) -> Frames:
    """The frames shown at times 0, 1 / rate, 2 / rate, … of a video: decoded once into the cache, then mapped.

    A slower video than `rate` repeats frames, as `sampling.uniform` does. The memory used does not grow with the
    length. A process that is killed leaves nothing behind that counts, and the next one begins anew; two processes
    decode once.

    Raises:
        CorruptInput: as `Video`. BadConfig: a rate or size that is no positive number.
        OutOfSpace: the cache's disk is full.
    """
    if not 0 < rate < math.inf or any(side is not None and side < 1 for side in (width, height)):
        raise BadConfig(f"rate={rate} width={width} height={height}: numbers above 0 are needed")
    decides = {
        "rate": rate,
        "width": width,
        "height": height,
        "decoder": decoder_version(),
        "file": content_digest(path),
    }
    place = Path(cache).expanduser() / "frames" / json_digest(decides, 16)

    def load() -> Frames | None:
        try:
            pixels = np.load(place / "frames.npy", mmap_mode="r")
            return Frames(pixels, np.load(place / "times.npy"))
        except (OSError, ValueError, EOFError):
            return None

    def make(part: Path) -> None:
        with Video(path, width, height, cores()) as video:
            _write_frames(part, video, rate)
            about = {**decides, "truncated": video.truncated, "frames_in_file": video.count}
        (part / "about.json").write_text(json.dumps(about, indent=1))

    return once(place, load, make)


def _repeats(index: int, step: float) -> int:
    """How many of 0, step, 2 step, … fall on a frame; step = frames of the video to one that is wanted."""
    return math.ceil((index + 1 - SLACK) / step) - math.ceil((index - SLACK) / step)


def _write_frames(part: Path, video: Video, rate: float) -> None:
    """Plain writes: on a full disk they are an error, a memory map would kill us. The header is set at the end."""
    shape: tuple[int, ...] = ()
    indices: list[int] = []
    step = video.rate / rate
    with (part / "frames.npy").open("wb") as file:
        for index, frame in video.chosen(lambda index: _repeats(index, step) > 0):
            if not indices:
                shape = frame.shape
                _write_header(file, (0, *shape))
            for _ in range(_repeats(index, step)):
                file.write(frame.data)
                indices.append(index)
        file.seek(0)
        _write_header(file, (len(indices), *shape))  # numpy leaves room for the first axis to grow
    np.save(part / "times.npy", np.array(indices) / video.rate)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
