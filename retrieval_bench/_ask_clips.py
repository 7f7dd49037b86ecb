"""A video against a gallery of videos: each is one vector, made of the frames that the run's sampling chooses."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.text import Text

from retrieval_bench._asking import GONE, Asked, Asking, save_sheet
from retrieval_bench.data.base import Dataset
from retrieval_bench.embed import encode_clip
from retrieval_bench.encoder.base import Engine
from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.media.clip import Clip, Decoded
from retrieval_bench.media.image import is_picture
from retrieval_bench.report.contact_sheet import Neighbour, Verdict, render_neighbours
from retrieval_bench.report.lettering import clock
from retrieval_bench.report.strips import Strip, strip_sheet
from retrieval_bench.types import SearchResult


def clip_of(data: Dataset) -> Clip:
    """How the run's videos are read: what it leaves open is as its drawn frames are, else as stored in each file.

    Raises:
        BadConfig: a data set of the user's own does not say.
    """
    if data.clip is None:
        raise BadConfig(
            f"data={data.name} does not say how its videos are read, so no other video can be read like them; set the"
            " attribute `clip` of its class"
        )
    return data.clip.sized(data.image_size)


def refuse_picture(file: Path) -> None:
    """Raises CorruptInput for a still picture, which a decoder of videos would take for a video of one frame."""
    if is_picture(file):
        raise CorruptInput(
            f"{file}: a picture, and this run searches videos: give a video (.mp4, .avi, .mkv, …), or ask a run over"
            " pictures"
        )


class AskClips(Asking[Decoded]):
    """Files are videos."""

    @cached_property
    def _clip(self) -> Clip:
        return clip_of(self.opened.data)

    @cached_property
    def _engines(self) -> dict[str, Engine]:
        return self.opened.engines()

    def read(self, file: Path) -> Decoded:
        """The sampled frames, with flow where the run has it; raises as every `Asking`."""
        refuse_picture(file)
        try:
            return self._clip.decode(file)
        except CorruptInput as error:
            raise CorruptInput(f"{file}: {error}") from error

    def answer(self, asked: Asked[Decoded]) -> Iterator[RenderableType]:
        """The nearest videos."""
        opened, depth = self.opened, min(asked.k, self.opened.n)
        yield Text(f"{asked.file.name}: {looked_at(asked.content)}")
        vector = encode_clip(opened.encoder, self._engines, asked.content.arrays)
        lists = opened.search(opened.like_gallery(vector[None]), depth)
        found, strips = self._neighbours(lists)
        through = f"{opened.choice.at(depth)} ({opened.stage} weights)"
        yield render_neighbours(f"{asked.file.name}: nearest of {opened.n} through {through}", found)
        query = Strip("query", asked.file.name, asked.content.arrays["rgb"], asked.content.times)
        yield save_sheet(strip_sheet(query, strips), asked.sheet)

    def _neighbours(self, lists: SearchResult) -> tuple[list[Neighbour], list[Strip]]:
        found, strips, ids = [], [], lists.ids[0]
        for rank, (item, score) in enumerate(zip(ids[ids >= 0], lists.scores[0], strict=False), start=1):
            row = self.opened.rows.get(int(item))
            key, label = (GONE, "") if row is None else (str(self.opened.items.keys[row]), self.label(row))
            found.append(Neighbour(key, float(score), label, Verdict.UNKNOWN))
            frames = None if row is None else self._frames(row)
            strips.append(Strip(f"{rank}   {score:.3f}   {label}".rstrip(), key, frames))
        return found, strips

    def _frames(self, row: int) -> NDArray[np.uint8] | None:
        try:
            return self.opened.items.read(row)["rgb"]
        except CorruptInput:
            return None


def looked_at(decoded: Decoded) -> str:
    """How much of a file its vector is made of, for people."""
    times, seconds = decoded.times, decoded.frames / decoded.rate
    distinct = len(np.unique(times))
    text = f"{distinct} of its {decoded.frames} frames ({seconds:.1f} s) are looked at"
    if distinct > 1:
        text += f", from {clock(float(times.min()))} to {clock(float(times.max()))}"
    if distinct < len(times):
        text += f"; it is so short that some of them stand for {len(times)}"
    return text + (f"; it is cut off: {decoded.truncated}" if decoded.truncated else "")
