"""The video stream of a file: opened, decoded in one sequential pass, its rate taken from its packets (PyAV)."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from retrieval_bench.errors import CorruptInput, MissingExtra, ReadFailed
from retrieval_bench.media._ending import UNKNOWN_RATE, cut_short

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# The average rate that the container names is taken, as the rounder number, where its packets agree so far.
AGREEMENT = 0.005
PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE})  # faults of the machine


class Probe(NamedTuple):
    """Number of packets that hold a picture: nearly always the number of frames; average frames a second."""

    packets: int
    rate: float


def refuse_passing(error: Exception) -> None:
    """A fault of the machine says nothing of the file, which must not be remembered as damaged."""
    code = getattr(error, "errno", None)
    if code in PASSING:
        raise ReadFailed(
            f"the machine could not read a video ({error}); type the same command again when that is mended: what is"
            " done is kept"
        ) from error


def decoder_version() -> str:
    """Of everything that decides decoded pixels: PyAV, and FFmpeg's decoders and scaler inside it.

    Raises:
        MissingExtra: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtra("av", "video") from error
    codec, scale = (".".join(map(str, av.library_versions[name])) for name in ("libavcodec", "libswscale"))
    return f"av {av.__version__}, libavcodec {codec}, libswscale {scale}"


def open_stream(path: Path, threads: int = 1) -> tuple[InputContainer, VideoStream]:
    """The container and its first video stream that is no cover picture.

    One thread a file by default: clips are read by several workers at once. More than one decodes frames in parallel
    (`AUTO`): slices alone would leave most files, which have one slice a frame, at one thread; and each takes the
    memory of a few frames.

    Raises:
        CorruptInput: missing, empty, no video, or cut off before its index; the message is the reason alone.
        MissingExtra: PyAV is not installed.
    """
    decoder_version()
    import av
    from av.stream import Disposition

    try:
        if path.stat().st_size == 0:
            raise CorruptInput("the file is empty (0 bytes)")
        # `file:` and the list: neither the file's name nor what is written in it may lead to other places.
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except OSError as error:
        refuse_passing(error)
        raise CorruptInput(f"cannot be opened: {error.strerror}") from error
    except av.FFmpegError as error:
        refuse_passing(error)
        raise CorruptInput(_not_a_video(path, str(error.strerror))) from error
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        kinds = sorted({s.type for s in container.streams if s.type != "video"})
        container.close()
        raise CorruptInput(f"no video in it ({', '.join(kinds) or 'no stream'} only)")
    stream = streams[0]
    if threads > 1:
        stream.thread_type = "AUTO"
    stream.thread_count = threads
    return container, stream


def _not_a_video(path: Path, reason: str) -> str:
    with path.open("rb") as file:
        first = file.read(12)
    if first[4:8] == b"ftyp":
        return f"an MP4 or MOV file whose index (moov) cannot be read: cut off, or never finished ({reason})"
    return f"not a video in a known format ({reason}); its first bytes are {first!r}"


def probe(path: Path) -> Probe:
    """Read the packets of a file without decoding them. Raises as `open_stream` does.

    The rate is that of the packets' own times: (count - 1) / (last - first).
    """
    import av

    container, stream = open_stream(path)
    count = 0
    timed, first, last = 0, 0, 0
    with container, contextlib.suppress(av.FFmpegError):  # cut off: what came until then is counted
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                count += 1
                time = packet.dts if packet.pts is None else packet.pts
                if time is not None:
                    first, last = (min(first, time), max(last, time)) if timed else (time, time)
                    timed += 1
    return Probe(count, _rate(stream, timed, last - first))


def _rate(stream: VideoStream, timed: int, ticks: int) -> float:
    """Frames a second of so many packets with times, the first and the last so many ticks apart."""
    named = float(stream.average_rate or stream.guessed_rate or 0)
    span = ticks * float(stream.time_base or 0)
    if span <= 0:
        return named or UNKNOWN_RATE
    measured = (timed - 1) / span
    return named if abs(named - measured) <= AGREEMENT * measured else measured


class Decoding:
    """One pass over a file's video stream: an iterator of decoded frames in the order of their output; read once.

    Frames end where the decoder refuses a packet, or at a packet that the end of the file cuts. What the decoder still
    holds then is given as far as no frame can be missing before it: packets come in the order of their decoding, so
    that of a cut file the last frames in time may be there and those before them not. Packets that are refused before
    the first frame are passed over: a recording may begin between two key frames.

    Not seen are damage that the decoder conceals, and packets that the reader of the container skips on its way to the
    next good one (of Matroska, for instance): a hole in the times may as well be a good video of variable rate.

    Frames do not depend on the number of threads: several tell an error some packets late, so that on the first sign of
    damage one thread reads the file anew and gives what comes behind the frames that were given.

    Args:
        path: the file. threads: as of `open_stream`, which says what is raised.

    Attributes:
        count: frames given so far.
        truncated: why the frames end before the file should, or none; known at the end.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.count, self.truncated = 0, ""
        self._path, self._threads = path, threads
        self._refused = "no picture in the stream"
        self._open(threads)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        for frame in self._frames():
            self.count += 1
            yield frame
        if not self.count:
            raise CorruptInput(f"no frame can be decoded ({self.truncated or self._refused})")

    def _open(self, threads: int) -> None:
        self._container, self._stream = open_stream(self._path, threads)
        self._end = 0  # of the packets seen, in ticks of the stream: fractions are slow, and packets many
        self._last_dts: int | None = None
        self._pictures = 0  # packets that should give a frame: PyAV hides an error that comes right behind a frame

    def _frames(self) -> Iterator[VideoFrame]:
        if self._threads > 1:
            yield from self._decoded(careful=False)
            if not self.truncated and self.count == self._pictures:
                return  # else damaged, or of a kind whose packets are not a frame each
            self.truncated = ""
            self.close()
            self._open(1)
        yield from islice(self._decoded(careful=True), self.count, None)

    def _decoded(self, careful: bool) -> Iterator[VideoFrame]:
        """Frames of a pass; if not careful, only to the first sign of damage."""
        import av

        count = 0
        try:
            for packet in self._whole_packets():
                try:
                    for frame in self._stream.decode(packet):
                        count += 1
                        yield frame
                except av.FFmpegError as error:
                    refuse_passing(error)
                    self._refused = str(error.strerror)
                    if count or not careful:
                        self.truncated = f"frame {count} or one of the next cannot be decoded: {self._refused}"
                        break
                self._note(packet)
        except av.FFmpegError as error:
            refuse_passing(error)
            self.truncated = f"reading ends at frame {count}: {error.strerror}"
        self.truncated = self.truncated or cut_short(self._path, self._container, self._stream, self._end)
        if careful or not self.truncated:
            yield from self._held_back(count)

    def _held_back(self, count: int) -> Iterator[VideoFrame]:
        """What the decoder still holds at the end, behind so many frames."""
        import av

        try:
            for frame in self._stream.decode(None):
                if self.truncated and (frame.pts is None or self._last_dts is None or frame.pts > self._last_dts):
                    break  # no packet that is missing can belong before `_last_dts`
                yield frame
        except av.FFmpegError as error:
            refuse_passing(error)
            self._refused = str(error.strerror)
            self.truncated = self.truncated or f"the frames behind {count} cannot be decoded: {self._refused}"

    def _whole_packets(self) -> Iterator[Packet[VideoStream]]:
        """All packets but the last if it is cut (a transport stream has marked ones that are not the last).

        The packets of all streams are looked at: the end of the file may cut one of sound.
        """
        held: Packet[VideoStream] | None = None
        cut = dict[int, bool]()  # stream → whether its last packet so far is
        for packet in self._container.demux():
            if not packet.size:  # the end, or nothing: a decoder would take it for the end
                continue
            cut[packet.stream_index] = packet.is_corrupt
            if packet.stream_index != self._stream.index:
                continue
            picture = cast("Packet[VideoStream]", packet)
            if held is not None:
                yield held
                held = None
            if picture.is_corrupt:
                held = picture
            else:
                yield picture
        if held is not None:
            self.truncated = "the file ends within a frame"
        elif any(cut.values()):
            self.truncated = "the file ends within a packet of another stream, such as its sound"

    def _note(self, packet: Packet[VideoStream]) -> None:
        self._pictures += not packet.is_discard
        self._last_dts = self._last_dts if packet.dts is None else packet.dts
        if packet.pts is not None:
            self._end = max(self._end, packet.pts + (packet.duration or 0))
