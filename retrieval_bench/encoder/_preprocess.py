"""From a decoded image to the square of pixels that an encoder takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval_bench.encoder._resize import resized
from retrieval_bench.errors import BadConfig

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_FAST = ("bilinear", "bicubic")  # have a kernel for bytes of any number of channels
_LONGEST = 3  # times the short side
_Resize = Callable[[NDArray[np.uint8], tuple[int, int], str], NDArray[np.uint8]]


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
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise BadConfig(f"interpolation={self.interpolation}: type one of {', '.join(INTERPOLATIONS)}")
        if self.channels != 3 and self.interpolation not in _FAST:
            raise BadConfig(
                f"interpolation={self.interpolation} is for pictures of three channels, not of {self.channels}; type"
                f" {' or '.join(_FAST)}"
            )
        if self.size < 1 or (self.resize is not None and self.resize < self.size):
            raise BadConfig(
                f"an input of {self.size} pixels cannot be cut from a short side of {self.resize};"
                " type an input_size of 1 or more and a crop in (0, 1]"
            )

    @property
    def channels(self) -> int:
        """Of an image: 3, or 2 L of a stack of L fields of optical flow."""
        return len(self.mean)

    def describe(self) -> dict[str, Any]:
        """The values as JSON, for cache keys and the record."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Preprocessing:
        """What `describe` described."""
        return cls(**{**described, "mean": tuple(described["mean"]), "std": tuple(described["std"])})


def prepare(image: NDArray[np.uint8], how: Preprocessing) -> NDArray[np.uint8]:
    """Resize the short side and cut the centre: [height, width, c] → [size, size, c], both uint8.

    Fields of optical flow keep their values: they stay displacements in pixels of the size that they were found at.

    Bilinear and bicubic go through torch's antialiased kernel for bytes, which takes a quarter of Pillow's time and
    always resizes along the width first, as Pillow does (Pillow 13 resizes some upright images along the height first
    and so differs from its older versions by a few grey levels). Against Pillow in that order, fewer than 1 % of the
    values differ, by one grey level. All else goes through Pillow, which computes the crop alone.
    """
    return _prepared(image, how, _torch)


def prepare_alone(image: NDArray[np.uint8], how: Preprocessing) -> NDArray[np.uint8]:
    """The pixels of `prepare`, every one, without torch: for a few images in a process that has not imported it."""
    return _prepared(image, how, resized)


def _prepared(image: NDArray[np.uint8], how: Preprocessing, fast: _Resize) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if how.resize is None:
        if height == width == how.size:
            return image
        if _is_fast(image, how):
            return fast(image, (how.size, how.size), how.interpolation)
        return _pillow(image, how, None)
    short = min(height, width)
    # torchvision's rules for the long side and for the centre
    new_height, new_width = (int(how.resize * side / short) for side in (height, width))
    top, left = round((new_height - how.size) / 2), round((new_width - how.size) / 2)
    if _is_fast(image, how):
        return fast(image, (new_height, new_width), how.interpolation)[top : top + how.size, left : left + how.size]
    across, down = width / new_width, height / new_height
    box = (left * across, top * down, (left + how.size) * across, (top + how.size) * down)
    return _pillow(image, how, (box[0], box[1], min(box[2], width), min(box[3], height)))


def _is_fast(image: NDArray[np.uint8], how: Preprocessing) -> bool:
    """The kernel resizes the whole image, which is wasteful for a very long one."""
    longest = _LONGEST * min(image.shape[:2]) if how.channels == 3 else max(image.shape[:2])
    return how.interpolation in _FAST and max(image.shape[:2]) <= longest


def _torch(image: NDArray[np.uint8], shape: tuple[int, int], interpolation: str) -> NDArray[np.uint8]:
    import torch
    from torch.nn import functional as F  # noqa: N812

    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)[None]
    resized = F.interpolate(pixels, shape, mode=interpolation, antialias=True)
    small: NDArray[np.uint8] = resized[0].permute(1, 2, 0).numpy()
    return small


def _pillow(
    image: NDArray[np.uint8], how: Preprocessing, box: tuple[float, float, float, float] | None
) -> NDArray[np.uint8]:
    small = Image.fromarray(image).resize((how.size, how.size), INTERPOLATIONS[how.interpolation], box)
    return np.asarray(small)
