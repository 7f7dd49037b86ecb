"""Small pictures of items, as JPEG within a budget of bytes."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval_bench.data.base import Dataset, Items
from retrieval_bench.errors import CorruptInput

SIDE, STRIP = 92, 64  # pixels: longest side of a picture; height of the frames of a strip
FRAMES = 5  # of a strip
BUDGET = 900_000  # characters of base64 of a stage
QUALITY = 78

Pixels = NDArray[np.uint8]


class Thumbnails:
    """Pictures that were made, each once.

    Attributes:
        kept: name → base64 of a JPEG.
    """

    def __init__(self, data: Dataset) -> None:
        self._strips = "image" not in data.inputs
        self._rows: dict[int, dict[int, int]] = {}
        self.kept: dict[str, str] = {}
        self._size = 0

    def told(self, items: Items, item: int) -> dict[str, Any]:
        """Key, label and the name of the picture of an item, none where there is none: cannot be read, or no room."""
        rows = self._rows.setdefault(id(items), {})
        if not rows:
            rows |= {int(one): row for row, one in enumerate(items.ids)}
        row = rows[item]
        label = "" if items.labels is None else str(items.label_names.get(int(items.labels[row]), items.labels[row]))
        name = str(item)
        if name not in self.kept:
            self._keep(name, self._pixels(items, row))
        return {"key": str(items.keys[row]), "label": label, "picture": name if name in self.kept else None}

    def keep_frames(self, name: str, frames: Pixels | None) -> str | None:
        """Keep a strip of frames [t, height, width, 3] under a name; none where there is no room or no frame."""
        self._keep(name, None if frames is None or not len(frames) else _strip(frames))
        return name if name in self.kept else None

    def _pixels(self, items: Items, row: int) -> Pixels | None:
        try:
            arrays = items.read(row)
        except CorruptInput:
            return None
        if not self._strips:
            return arrays["image"]
        frames = arrays.get("rgb")
        return None if frames is None else _strip(frames)

    def _keep(self, name: str, pixels: Pixels | None) -> None:
        if pixels is None:
            return
        written = jpeg(pixels, None if self._strips else SIDE)
        if self._size + len(written) <= BUDGET:
            self.kept[name] = written
            self._size += len(written)


def jpeg(pixels: Pixels, side: int | None) -> str:
    """Base64 of a JPEG; the longest side at most `side` pixels, if it is given."""
    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    if side is not None:
        scale = side / max(picture.size)
        small = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(small, Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return b64encode(buffer.getvalue()).decode()


def _strip(frames: Pixels) -> Pixels:
    """At most FRAMES of the frames, spread evenly, side by side: uint8 [STRIP, width, 3]."""
    n = min(FRAMES, len(frames))
    rows = (2 * np.arange(n) + 1) * len(frames) // (2 * n)
    height, width = frames.shape[1:3]
    size = max(1, round(width * STRIP / height)), STRIP
    scaled = [Image.fromarray(np.ascontiguousarray(frames[row])).resize(size, Image.Resampling.LANCZOS) for row in rows]
    gap = np.full((STRIP, 2, 3), 128, np.uint8)
    parts = [part for one in scaled for part in (np.asarray(one.convert("RGB")), gap)]
    return np.concatenate(parts[:-1], axis=1)
