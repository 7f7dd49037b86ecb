"""Whether a video file ends before it should, by what its container says of its own bytes or length."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

UNKNOWN_RATE = 25.0  # frames a second of a stream without any time (FFmpeg's own assumption)
UNKNOWN_LENGTH = 0xFFFFFFFF  # of a chunk of an AVI that went into a pipe


def cut_short(path: Path, container: InputContainer, stream: VideoStream, end: int) -> str:
    """Why the pictures of a file that was read to its end are not all there, or none. Counts in headers are not asked.

    Known of MP4 and MOV (their index says where each picture lies), AVI (how long its chunks are) and Matroska.

    Args:
        end: of the last packet seen, in ticks of the stream.
    """
    kinds = container.format.name.split(",")
    if "mp4" in kinds:
        return _missing_by_index(container, stream)
    if "avi" in kinds:
        return _missing_by_chunks(path, container.size)
    return _missing_by_length(stream, end)


def _missing_by_index(container: InputContainer, stream: VideoStream) -> str:
    lost = sum(entry.pos + entry.size > container.size for entry in stream.index_entries)
    return f"the file ends before {lost} of {len(stream.index_entries)} pictures of its index" if lost else ""


def _missing_by_chunks(path: Path, size: int) -> str:
    """By the list of packets (movi) in each RIFF chunk. Blind where its writer was stopped before it noted lengths."""
    with path.open("rb") as file:
        place, inner = 0, 0  # of the next chunk; of the end of the RIFF chunk around it
        while place + 12 <= size:
            file.seek(place)
            tag, length, kind = struct.unpack("<4sI4s", file.read(12))
            if tag == b"RIFF" and place >= inner:
                place, inner = place + 12, place + 8 + length
                continue
            if place >= inner:
                break  # what follows the chunks is none
            if (tag, kind) == (b"LIST", b"movi") and length != UNKNOWN_LENGTH and place + 8 + length > size:
                return f"the file ends at byte {size}, its packets at {place + 8 + length}"
            place += 8 + length + length % 2
    return ""


def _missing_by_length(stream: VideoStream, end: int) -> str:
    """Matroska ends without a sign, but its writer noted how long each stream is. Blind to the last few frames."""
    parts = stream.metadata.get("DURATION", "").split(":")
    if len(parts) == 3:
        with contextlib.suppress(ValueError):
            length = 3600 * int(parts[0]) + 60 * int(parts[1]) + float(parts[2])
            seconds = float(end * (stream.time_base or 0))
            if seconds < length - 1.5 / float(stream.average_rate or UNKNOWN_RATE):
                return f"the file ends at {seconds:.2f} of {length:.2f} seconds"
    return ""
