"""How one character is drawn: distorted ink, filled with one crop of a photograph, on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, features

from retrieval_bench.data import _fonts, _photographs
from retrieval_bench.data.base import item_id

RECIPE = 3  # raised whenever the drawing below changes, so that old caches are not taken
LUMA = np.array([0.299, 0.587, 0.114])
# Set so that ImageNet features find half of the characters: photographs at full contrast drown the ink (0.06).
GROUND_TEXTURE, INK_TEXTURE, TINT = 0.04, 0.15, 0.2
PHOTO_SIDE = 320  # pixels; the shorter side of a photograph before crops are taken


def versions() -> dict[str, str]:
    """What decides the pixels besides our own parameters. JSON values."""
    return {
        "recipe": str(RECIPE),
        "fonts": _fonts.digest(),
        "matplotlib": version("matplotlib"),
        "pillow": version("pillow"),
        "freetype": str(features.version("freetype2")),
        "numpy": version("numpy"),
    }


@dataclass(frozen=True)
class Painter:
    """Draws characters; the same (character, face, key, seed, strength) gives the same bytes in any order.

    Attributes:
        photographs: names of the photographs for ink and ground.
        size: side in pixels. strength: scale of all distortions, 1 = default.
    """

    photographs: Sequence[str]
    size: int
    strength: float
    seed: int

    def __call__(self, point: int, face: str, key: str) -> NDArray[np.uint8]:
        """Draw one item: uint8 [size, size, 3]."""
        rng = np.random.default_rng((self.seed, item_id(key)))
        mask = self._mask(rng, point, face)
        ground, ink = self._colours(rng)
        # blur the picture as a camera would: coverage and both textures alike
        radius = rng.uniform(0.3, 0.3 + 0.4 * self.strength) * self.size / 112
        picture = Image.composite(ink, ground, mask).filter(ImageFilter.GaussianBlur(radius))
        noise = rng.standard_normal((self.size, self.size, 3), dtype=np.float32)
        noise *= np.float32(rng.uniform(0, 6 * self.strength))
        noise += np.asarray(picture)
        return np.clip(np.rint(noise), 0, 255).astype(np.uint8)

    def _mask(self, rng: np.random.Generator, point: int, face: str) -> Image.Image:
        """The ink: scaled to its own box, rotated, sheared, shifted. Mode L."""
        amount = self.strength
        side = self.size * (0.7 + 0.08 * amount * rng.uniform(-1, 1))  # of the longer side of the ink's box
        angle = np.deg2rad(4 * amount * rng.uniform(-1, 1))
        shear, stretch = 0.05 * amount * rng.uniform(-1, 1), 1 + 0.05 * amount * rng.uniform(-1, 1)
        shift = amount * rng.uniform(-1, 1, 2)
        probe = _fonts.glyph(face, point, 64)
        if probe is None:
            raise ValueError(f"U+{point:04X} leaves no ink in {face}")
        pixels = min(max(round(64 * side / max(probe.size)), 8), 4 * self.size)
        ink = _fonts.glyph(face, point, pixels) or probe
        cos, sin = np.cos(angle), np.sin(angle)
        scale = side / max(ink.size)
        forward = scale * np.array([[cos, -sin], [sin, cos]]) @ np.array([[stretch, shear], [0, 1 / stretch]])
        inverse = np.linalg.inv(forward)
        half = np.array(ink.size) / 2
        room = np.clip(self.size / 2 - np.abs(forward) @ half, 0.02 * self.size, 0.06 * self.size)
        offset = half - inverse @ (self.size / 2 + shift * room)  # ink leaves the picture by a hair at most
        a, b, c, d = (float(x) for x in inverse.ravel())
        matrix = (a, b, float(offset[0]), c, d, float(offset[1]))
        return ink.transform((self.size, self.size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)

    def _colours(self, rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
        """Crops for ground and ink, moved apart in brightness so that the ink can be seen."""
        contrast = 155 + rng.uniform(-30, 30) * min(3.0, self.strength)
        middle = 127.5 + rng.uniform(-0.3, 0.3) * min(3.0, self.strength) * (127.5 - contrast / 2)
        bright_ink = rng.random() < min(0.5, 0.03 * self.strength)
        half = -contrast / 2 if bright_ink else contrast / 2
        ground = self._filling(rng, middle + half, GROUND_TEXTURE)
        return ground, self._filling(rng, middle - half, INK_TEXTURE)

    def _filling(self, rng: np.random.Generator, level: float, texture: float) -> Image.Image:
        """A random square of a photograph, its texture weakened, its mean brightness set."""
        photo = _photographs.photograph(self.photographs[int(rng.integers(len(self.photographs)))], PHOTO_SIDE)
        side = rng.uniform(0.05, 0.3) * min(photo.size)
        left, top = rng.uniform(0, photo.width - side), rng.uniform(0, photo.height - side)
        box = (left, top, left + side, top + side)
        crop = photo.resize((self.size, self.size), Image.Resampling.BILINEAR, box)
        if rng.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        keep = rng.uniform(0, min(1.0, texture * self.strength))
        mean = np.asarray(crop)[::4, ::4].reshape(-1, 3).mean(axis=0)
        target = level + TINT * self.strength * (mean - mean @ LUMA)  # some colour stays, the brightness is set
        table = np.rint((np.arange(256) - mean[:, None]) * keep + target[:, None])
        return crop.point(np.clip(table, 0, 255).astype(int).ravel().tolist())
