"""What small videos show, and what is none."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 48, 64


def panned(seed: int, frames: int, step: int = 2) -> NDArray[np.uint8]:
    """A camera that moves to the right over blots of colour: uint8 [frames, HEIGHT, WIDTH, 3]."""
    blots = np.random.default_rng(seed).integers(0, 256, (6, 16, 3), dtype=np.uint8)
    wide = np.asarray(Image.fromarray(blots).resize((WIDTH + step * frames, HEIGHT), Image.Resampling.BICUBIC))
    return np.stack([wide[:, step * i : step * i + WIDTH] for i in range(frames)])


def write_sound(path: Path) -> Path:
    """A tenth of a second of silence, and no picture."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        for _ in range(5):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate = 44_100
            container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path
