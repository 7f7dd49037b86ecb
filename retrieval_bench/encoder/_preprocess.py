"""From a decoded image to the square of pixels that an encoder takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval_bench.errors import BadConfig

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocessing:
    """From a decoded image to the encoder's input.

    Attributes:
        size: side of the square input in pixels.
        resize: the short side is resized to this many pixels before the centre crop; none: images already have `size`
            and are taken as they are (an image of another size is resized to size × size).
        interpolation: Pillow's name: nearest, bilinear, bicubic, lanczos.
        mean, std: per channel, of pixel values scaled to [0, 1].
    """

    size: int
    resize: int | None
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise BadConfig(f"interpolation={self.interpolation}: type one of {', '.join(INTERPOLATIONS)}")
        if self.size < 1 or (self.resize is not None and self.resize < self.size):
            raise BadConfig(
                f"an input of {self.size} pixels cannot be cut from a short side of {self.resize};"
                " type an input_size of 1 or more and a crop in (0, 1]"
            )

    def describe(self) -> dict[str, Any]:
        """The values as JSON, for cache keys and the record."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}


def prepare(image: NDArray[np.uint8], how: Preprocessing) -> NDArray[np.uint8]:
    """Resize the short side and cut the centre: [height, width, 3] → [size, size, 3], both uint8.

    Only the crop is computed: Pillow resizes the box of the source that the crop covers. Pillow's plain resize and
    crop gives the same pixels but for the rounding of the box's coordinates (one grey level, in fewer than 0.1 %).
    """
    height, width = image.shape[:2]
    if how.resize is None:
        if height == width == how.size:
            return image
        return _resized(image, how, (0.0, 0.0, float(width), float(height)))
    short = min(height, width)
    # torchvision's rules for the long side and for the centre
    new_height, new_width = (int(how.resize * side / short) for side in (height, width))
    top, left = round((new_height - how.size) / 2), round((new_width - how.size) / 2)
    across, down = width / new_width, height / new_height
    box = (left * across, top * down, (left + how.size) * across, (top + how.size) * down)
    return _resized(image, how, (box[0], box[1], min(box[2], width), min(box[3], height)))


def _resized(image: NDArray[np.uint8], how: Preprocessing, box: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    small = Image.fromarray(image).resize((how.size, how.size), INTERPOLATIONS[how.interpolation], box)
    return np.asarray(small)
