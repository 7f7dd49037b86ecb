"""Edits that a copied picture goes through, at three named strengths."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from retrieval_bench.data import _fonts

RECIPE = 2  # raised whenever an edit changes, so that old caches are not taken
WORDS = ("SALE", "breaking", "@someone", "2 for 1", "copy", "WOW!", "live", "part 2", "share", "lol")


class Strength(StrEnum):
    """How far a copy is from its source."""

    MILD = "mild"
    MEDIUM = "medium"
    STRONG = "strong"


@dataclass(frozen=True)
class Limits:
    """Ranges of the edits of one strength; every edit of a copy is drawn from them anew."""

    crop: tuple[float, float]  # kept share of the side
    angle: float  # degrees, either way
    mirror: float  # probability
    blur: tuple[float, float]  # pixels at 112
    colour: float  # brightness, contrast and saturation change by up to this share
    text: float  # probability of a word written over it
    quality: tuple[int, int]  # JPEG


LIMITS = {
    Strength.MILD: Limits((0.85, 1.0), 4, 0.0, (0.0, 0.6), 0.15, 0.0, (50, 80)),
    Strength.MEDIUM: Limits((0.75, 0.9), 6, 0.2, (0.2, 0.8), 0.25, 0.4, (35, 60)),
    Strength.STRONG: Limits((0.6, 0.8), 15, 0.5, (0.5, 1.5), 0.4, 1.0, (15, 35)),
}


def edit(tile: Image.Image, strength: Strength, size: int, rng: np.random.Generator) -> Image.Image:
    """A copy of a square picture: cropped, rotated, mirrored, recoloured, blurred, written over, compressed."""
    limits = LIMITS[strength]
    picture = _window(tile, limits, size, rng)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(1 + limits.colour * rng.uniform(-1, 1))
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(*limits.blur) * size / 112))
    if rng.random() < limits.text:
        _write(picture, rng)
    file = BytesIO()
    picture.save(file, "JPEG", quality=int(rng.integers(*limits.quality, endpoint=True)))
    return Image.open(file).convert("RGB")


def _window(tile: Image.Image, limits: Limits, size: int, rng: np.random.Generator) -> Image.Image:
    """A rotated square inside the tile (nothing beside the tile is ever seen), enlarged to `size`."""
    angle = np.deg2rad(limits.angle * rng.uniform(-1, 1))
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    reach = abs(cos) + abs(sin)  # sides of the box around a rotated square of side 1
    side = float(rng.uniform(*limits.crop)) * tile.width / reach
    room = (tile.width - side * reach) / 2
    x, y = (float(tile.width / 2 + room * u) for u in rng.uniform(-1, 1, 2))
    scale = side / size
    flip = -1.0 if rng.random() < limits.mirror else 1.0
    a, b, c, d = scale * cos * flip, -scale * sin, scale * sin * flip, scale * cos
    half = size / 2
    matrix = (a, b, x - (a + b) * half, c, d, y - (c + d) * half)
    return tile.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def _write(picture: Image.Image, rng: np.random.Generator) -> None:
    """A word somewhere, in any colour, with an outline so that it can be read."""
    word = WORDS[int(rng.integers(len(WORDS)))]
    font = _fonts.font("DejaVuSans-Bold", max(10, round(picture.width * rng.uniform(0.09, 0.15))))
    width = font.getlength(word)
    place = (rng.uniform(0, max(1.0, picture.width - width)), rng.uniform(0, 0.8 * picture.height))
    red, green, blue = (int(v) for v in rng.integers(0, 256, 3))
    outline = (0, 0, 0) if red + green + blue > 380 else (255, 255, 255)
    ImageDraw.Draw(picture).text(place, word, (red, green, blue), font, stroke_width=1, stroke_fill=outline)
