"""Small videos that tests write themselves: each frame carries its number as a pattern of blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BLOCK, BITS = 16, 8
SOUND_RATE = 16_000  # samples a second
WIDTH, HEIGHT = BLOCK * BITS // 2, BLOCK * 3  # two rows of four bits, and one that looks the same in every frame


def numbered(number: int) -> np.ndarray:
    """A frame [HEIGHT, WIDTH, 3] that carries a number below 256."""
    bits = (number >> np.arange(BITS) & 1).reshape(2, -1) * 200 + 28
    rows = np.vstack([bits, np.linspace(0, 255, BITS // 2).astype(int)])
    return np.repeat(np.kron(rows, np.ones((BLOCK, BLOCK), int))[:, :, None], 3, 2).astype(np.uint8)


def number_of(frame: np.ndarray) -> int:
    """The number that a frame carries, after lossy coding and resizing."""
    height, width = len(frame) / 3, frame.shape[1] / (BITS // 2)
    centres = [(int((i + 0.5) * height), int((j + 0.5) * width)) for i in range(2) for j in range(BITS // 2)]
    return sum(int(frame[y, x].mean() > 128) << bit for bit, (y, x) in enumerate(centres))


def write_video(
    path: Path,
    frames: Iterable[np.ndarray | av.VideoFrame],
    codec: str = "libx264",
    *,
    pix_fmt: str = "yuv420p",
    b_frames: int = 0,
    rate: int = 25,
    times: Sequence[int] | None = None,  # milliseconds
    turn: tuple[int, bool, bool] | None = None,  # degrees, then mirrored across and down
    options: dict[str, str] | None = None,
    sound: str | None = None,  # codec: with a tone beside the pictures, packet by packet
) -> Path:
    """Encode RGB frames, or frames of the codec's own kind."""
    made = [f if isinstance(f, av.VideoFrame) else av.VideoFrame.from_ndarray(f, "rgb24") for f in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = made[0].width, made[0].height, pix_fmt
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.colorspace, stream.codec_context.color_range = made[0].colorspace, made[0].color_range
        if codec == "mpeg4":
            stream.codec_context.bit_rate = 1_000_000
        if turn is not None:
            stream.set_display_rotation(turn[0], hflip=turn[1], vflip=turn[2])
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        heard = None if sound is None else container.add_stream(sound, rate=SOUND_RATE, layout="mono")
        for row, frame in enumerate(made):
            if times is not None:
                frame.pts, frame.time_base = times[row], stream.codec_context.time_base
            container.mux(stream.encode(frame))
            if heard is not None:
                container.mux(heard.encode(_tone(row * SOUND_RATE // rate, SOUND_RATE // rate)))
        container.mux(stream.encode(None))
        if heard is not None:
            container.mux(heard.encode(None))
    return path


def _tone(first: int, count: int) -> av.AudioFrame:
    """Samples of a tone, from the first on."""
    wave = 20_000 * np.sin(0.3 * np.arange(first, first + count))
    tone = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], "s16", "mono")
    tone.sample_rate, tone.pts = SOUND_RATE, first
    return tone
