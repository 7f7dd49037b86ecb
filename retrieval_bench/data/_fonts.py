"""Faces that ship inside matplotlib, their characters, and which characters are one shape."""

from __future__ import annotations

import threading
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFont

FACES = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
)
MIN_FACES = 10  # a character takes part if this many faces have it
SIDE = 36  # pixels; the side at which outlines are compared
SAME = 0.03  # squared difference of two outlines, relative to the thinner one, up to which they are one shape

_local = threading.local()


def path(face: str) -> Path:
    """The file of a face."""
    import matplotlib as mpl  # slow to import

    return Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"


@cache
def digest() -> str:
    """Digest of the bytes of all faces."""
    total = blake2b(digest_size=8)
    for face in FACES:
        total.update(path(face).read_bytes())
    return total.hexdigest()


def font(face: str, pixels: int) -> ImageFont.FreeTypeFont:
    """A face at a size, for the calling thread alone (a FreeType face serves one thread at a time)."""
    fonts = _local.__dict__.setdefault("fonts", {})
    if (face, pixels) not in fonts:
        if len(fonts) > 1024:
            fonts.clear()
        fonts[face, pixels] = ImageFont.truetype(str(path(face)), pixels, layout_engine=ImageFont.Layout.BASIC)
    found: ImageFont.FreeTypeFont = fonts[face, pixels]
    return found


def glyph(face: str, character: int, pixels: int) -> Image.Image | None:
    """Coverage (mode L) of a character at a font size, cut to its ink; none where it leaves no ink."""
    mask, _ = font(face, pixels).getmask2(chr(character), "L")
    if not all(mask.size):
        return None
    image = Image.frombytes("L", mask.size, bytes(mask))
    box = image.getbbox()
    return None if box is None else image.crop(box)


def characters() -> dict[int, frozenset[int]]:
    """Code point → numbers of the faces that have it; those in at least `MIN_FACES`, none for private use."""
    from matplotlib.ft2font import FT2Font

    maps = [FT2Font(str(path(face))).get_charmap() for face in FACES]
    counts = Counter(point for charmap in maps for point in charmap)
    return {
        point: frozenset(i for i, charmap in enumerate(maps) if point in charmap)
        for point in sorted(counts)
        if counts[point] >= MIN_FACES and unicodedata.category(chr(point)) != "Co"
    }


def _outlines(face: str, points: Sequence[int]) -> NDArray[np.float32]:
    """Each character's ink, scaled to the same longer side and centred: float32 whole numbers 0–15, [n, SIDE²].

    A row of a character without ink is zero.
    """
    flat = np.zeros((len(points), SIDE, SIDE), np.float32)
    for row, point in enumerate(points):
        ink = glyph(face, point, 64)
        if ink is None:
            continue
        scale = SIDE / max(ink.size)
        width, height = (max(1, round(side * scale)) for side in ink.size)
        small = np.asarray(ink.resize((width, height), Image.Resampling.BILINEAR))
        top, left = (SIDE - height) // 2, (SIDE - width) // 2
        flat[row, top : top + height, left : left + width] = small // 16
    return flat.reshape(len(points), -1)


def _same(flat: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Pairs alike in this face, and pairs identical in it: bool [n, n] each."""
    squares = (flat * flat).sum(axis=1)  # whole numbers below 2^24: exact in float32, in any order of summation
    apart = flat @ flat.T
    apart *= -2
    apart += squares[:, None]
    apart += squares[None, :]
    return apart <= SAME * np.minimum(squares[:, None], squares[None, :]), apart == 0


def _base(point: int) -> int | None:
    """The character of which this one is a raised or lowered form. Not the ordinals ª and º, which have a stroke."""
    tag, _, rest = unicodedata.decomposition(chr(point)).partition(" ")
    if tag not in ("<super>", "<sub>") or " " in rest or unicodedata.category(chr(point)) == "Lo":
        return None
    return int(rest, 16)


def shapes() -> list[list[int]]:
    """Characters sorted into shapes: lists of code points, each sorted, ordered by their first.

    Two characters are one shape if, scaled to one size, their ink is alike in at least half of the faces that have
    both, or identical in any of them, or if Unicode calls one the raised or lowered form of the other (x and
    superscript x); and so on through chains. Characters without ink (spaces) are left out.
    """
    from scipy.sparse.csgraph import connected_components

    found = characters()
    points = list(found)
    alike = np.zeros((len(points), len(points)), np.int8)
    common, identical = np.zeros_like(alike), np.zeros(alike.shape, bool)
    for number, face in enumerate(FACES):
        rows = np.flatnonzero([number in found[point] for point in points])
        flat = _outlines(face, [points[row] for row in rows])
        inked = flat.any(axis=1)
        square = np.ix_(rows[inked], rows[inked])
        close, equal = _same(flat[inked])
        alike[square] += close
        identical[square] |= equal
        common[square] += 1
    link = identical | ((2 * alike >= common) & (alike > 0))
    row_of = {point: row for row, point in enumerate(points)}
    for point, row in row_of.items():
        base = _base(point)
        if base in row_of:
            link[row, row_of[base]] = True
    n, group_of = connected_components(link, directed=False)
    groups: list[list[int]] = [[] for _ in range(n)]
    for row in np.flatnonzero(common.diagonal()).tolist():
        groups[group_of[row]].append(points[row])
    return sorted(group for group in groups if group)
