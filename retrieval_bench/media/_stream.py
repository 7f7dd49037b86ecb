"""The video stream of a file: opened, decoded in one sequential pass, its rate taken from its packets (PyAV)."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from retrieval_bench.errors import CorruptInput, MissingExtra, ReadFailed

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# The average rate that the container names is taken, as the rounder number, where its packets agree so far.
AGREEMENT = 0.005
PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE})  # faults of the machine
UNKNOWN_RATE = 25.0  # frames a second of a stream without any time (FFmpeg's own assumption)


class Probe(NamedTuple):
    """Number of packets that hold a picture: nearly always the number of frames; average frames a second."""

    packets: int
    rate: float


def _refuse_passing(error: Exception) -> None:
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
        _refuse_passing(error)
        raise CorruptInput(f"cannot be opened: {error.strerror}") from error
    except av.FFmpegError as error:
        _refuse_passing(error)
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
    """One pass over a stream: an iterator of decoded frames in the order of their output.

    Frames end where the decoder refuses a packet, or at a packet that the end of the file cuts. What the decoder still
    holds then is given as far as no frame can be missing before it: packets come in the order of their decoding, so
    that of a cut file the last frames in time may be there and those before them not. Damage that the decoder conceals
    is not seen. Packets that are refused before the first frame are passed over: a recording may begin between two key
    frames.

    Attributes:
        count: frames given so far.
        truncated: why the frames end before the file should, or none; known at the end.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.count, self.truncated = 0, ""
        self._container, self._stream = container, stream
        self._refused = "no picture in the stream"
        self._end = 0  # of the packets seen, in ticks of the stream: fractions are slow, and packets many
        self._last_dts: int | None = None

    def __iter__(self) -> Iterator[VideoFrame]:
        for frame in self._frames():
            self.count += 1
            yield frame
        if not self.count:
            raise CorruptInput(f"no frame can be decoded ({self.truncated or self._refused})")

    def _frames(self) -> Iterator[VideoFrame]:
        import av

        try:
            for packet in self._whole_packets():
                try:
                    yield from self._stream.decode(packet)
                except av.FFmpegError as error:
                    _refuse_passing(error)
                    self._refused = str(error.strerror)
                    if self.count:
                        self.truncated = f"frame {self.count} or one of the next cannot be decoded: {self._refused}"
                        break
                self._note(packet)
        except av.FFmpegError as error:
            _refuse_passing(error)
            self.truncated = f"reading ends at frame {self.count}: {error.strerror}"
        self.truncated = self.truncated or self._missing_by_header()
        with contextlib.suppress(av.FFmpegError):
            for frame in self._stream.decode(None):
                if self.truncated and (frame.pts is None or self._last_dts is None or frame.pts > self._last_dts):
                    break  # no packet that is missing can belong before `_last_dts`
                yield frame

    def _whole_packets(self) -> Iterator[Packet[VideoStream]]:
        """All packets but the last if it is cut (a transport stream has marked ones that are not the last)."""
        held: Packet[VideoStream] | None = None
        for packet in self._container.demux(self._stream):
            if not packet.size:  # the end, or nothing: a decoder would take it for the end
                continue
            if held is not None:
                yield held
                held = None
            if packet.is_corrupt:
                held = packet
            else:
                yield packet
        if held is not None:
            self.truncated = "the file ends within a frame"

    def _note(self, packet: Packet[VideoStream]) -> None:
        self._last_dts = self._last_dts if packet.dts is None else packet.dts
        if packet.pts is not None:
            self._end = max(self._end, packet.pts + (packet.duration or 0))

    def _missing_by_header(self) -> str:
        """Matroska ends without a sign, but its writer noted how long each stream is. Blind to the last few frames."""
        parts = self._stream.metadata.get("DURATION", "").split(":")
        if len(parts) == 3:
            with contextlib.suppress(ValueError):
                length = 3600 * int(parts[0]) + 60 * int(parts[1]) + float(parts[2])
                end = float(self._end * (self._stream.time_base or 0))
                if end < length - 1.5 / float(self._stream.average_rate or UNKNOWN_RATE):
                    return f"the file ends at {end:.2f} of {length:.2f} seconds"
        return ""
