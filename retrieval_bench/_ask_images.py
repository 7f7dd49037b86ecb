"""A picture against a gallery of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType

from retrieval_bench._asking import GONE, Asked, Asking, save_sheet
from retrieval_bench.embed import encode_one
from retrieval_bench.encoder.base import Engine
from retrieval_bench.errors import CorruptInput
from retrieval_bench.media.image import decode
from retrieval_bench.media.suffixes import VIDEO_SUFFIXES
from retrieval_bench.report.contact_sheet import Neighbour, Verdict, contact_sheet, render_neighbours
from retrieval_bench.types import SearchResult

Pixels = NDArray[np.uint8]


class AskImages(Asking[Pixels]):
    """Files are pictures; torch is not needed where the cache keeps the engine's graph."""

    @cached_property
    def _engine(self) -> Engine:
        return self.opened.engine()

    def read(self, file: Path) -> Pixels:
        """[height, width, 3]; raises as every `Asking`."""
        try:
            return decode(file)
        except CorruptInput as error:
            if file.suffix.lower() not in VIDEO_SUFFIXES or not file.is_file():
                raise
            raise CorruptInput(
                f"{error}. By its name it is a video, and this run searches pictures: give a picture, one frame of it"
                " for instance, or ask a run over videos (data=ucf101, data=video_folder, …)"
            ) from error

    def answer(self, asked: Asked[Pixels]) -> Iterator[RenderableType]:
        """The nearest pictures."""
        opened, depth = self.opened, min(asked.k, self.opened.n)
        vectors = opened.like_gallery(encode_one(self._engine, asked.content)[None])
        found = self._neighbours(opened.search(vectors, depth))
        through = f"{opened.choice.at(depth)} ({opened.stage} weights)"
        yield render_neighbours(f"{asked.file.name}: nearest of {opened.n} through {through}", found)
        yield save_sheet(contact_sheet(asked.content, asked.file.name, found), asked.sheet)

    def _neighbours(self, lists: SearchResult) -> list[Neighbour]:
        """What the gallery knows of the answers; a picture that cannot be read any more is left out of the sheet."""
        found, ids = [], lists.ids[0]
        for item, score in zip(ids[ids >= 0], lists.scores[0], strict=False):
            row = self.opened.rows.get(int(item))
            if row is None:
                found.append(Neighbour(GONE, float(score), "", Verdict.UNKNOWN, None))
                continue
            key, image = str(self.opened.items.keys[row]), self._image(row)
            found.append(Neighbour(key, float(score), self.label(row), Verdict.UNKNOWN, image))
        return found

    def _image(self, row: int) -> Pixels | None:
        try:
            return self.opened.items.read(row)["image"]
        except CorruptInput:
            return None
