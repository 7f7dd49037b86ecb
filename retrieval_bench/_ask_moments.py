"""A video against long videos: where in which of them is shown what it shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.text import Text

from retrieval_bench._ask_clips import clip_of, refuse_picture
from retrieval_bench._asking import GONE, Asked, Asking, save_sheet
from retrieval_bench._lists import places
from retrieval_bench._opened import Opened
from retrieval_bench.data.base import Arrays, MomentDataset, Video
from retrieval_bench.embed import encode_clip
from retrieval_bench.encoder.base import Engine
from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.intervals import RankedMoments
from retrieval_bench.media.clip import Clip
from retrieval_bench.media.sampling import Windows, windows
from retrieval_bench.media.video import frames_at
from retrieval_bench.moment.base import GalleryWindows, QueryWindows
from retrieval_bench.report.lettering import clock
from retrieval_bench.report.strips import SHOWN, FoundMoment, Strip, render_moments, shown, strip_sheet
from retrieval_bench.types import Embeddings, Segments

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Footage:
    """Frames of a file at the run's rate (a memory map), and its windows."""

    pixels: Pixels
    over: Windows


class AskMoments(Asking[Footage]):
    """Files are videos, cut into windows as those of the run are."""

    answers = "moments"

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        if not isinstance(opened.data, MomentDataset) or opened.experiment.moment is None:
            raise BadConfig(f"data={opened.data.name} has no moments to find")
        self._data, self._finder = opened.data, opened.experiment.moment

    def read(self, file: Path) -> Footage:
        """Decoded into the cache once; raises as every `Asking`."""
        refuse_picture(file)
        data, clip = self._data, self._clip
        try:
            frames = frames_at(file, data.rate, clip.width, clip.height, self.opened.experiment.cache).pixels
            footage = Footage(frames, windows(len(frames), data.rate, data.window, data.stride))
            self._arrays(footage, 0)  # all windows have one length: if this one is too short for flow, all are
        except CorruptInput as error:
            raise CorruptInput(f"{file}: {error}") from error
        return footage

    def answer(self, asked: Asked[Footage]) -> Iterator[RenderableType]:
        """The likeliest parts of videos."""
        opened, depth = self.opened, min(max(self.opened.experiment.k), self.opened.n)
        yield Text(f"{asked.file.name}: {self._said(asked.content, asked.k)}")
        ranked = self._ranked(asked.content, depth, asked.k)
        found = [
            FoundMoment(self._name(int(video)), float(start), float(end), float(score))
            for video, start, end, score in zip(*ranked, strict=True)
        ]
        searched = f"{len(self._videos)} videos ({opened.n} windows)"
        through = f"{opened.choice.at(depth)}, {depth} answers a window ({opened.stage} weights)"
        yield render_moments(f"{asked.file.name}: likeliest moments of {searched} through {through}", found)
        yield save_sheet(strip_sheet(self._query_strip(asked), self._strips(found, ranked)), asked.sheet)

    def _ranked(self, footage: Footage, depth: int, k: int) -> RankedMoments:
        """The first k moments, by `depth` answers to each window."""
        windows = range(len(footage.over.times))
        vectors = [encode_clip(self.opened.encoder, self._engines, self._arrays(footage, i)) for i in windows]
        asked = self.opened.like_gallery(np.stack(vectors))
        lists = self.opened.search(asked, depth)
        at, known = places(lists.ids.ravel(), self._ids)
        rows = np.where(known, at, -1).reshape(lists.ids.shape)
        query = QueryWindows(footage.over.times[:, 0], footage.over.times[:, 1], asked)
        return self._finder(rows, lists.scores, query, self._gallery).take(slice(k))

    @cached_property
    def _clip(self) -> Clip:
        return clip_of(self._data)

    @cached_property
    def _engines(self) -> dict[str, Engine]:
        return self.opened.engines()

    @cached_property
    def _videos(self) -> Mapping[int, Video]:
        return self._data.videos()

    @cached_property
    def _windows(self) -> Embeddings:
        """Of the gallery, as the index has them."""
        return self.opened.gallery()

    @property
    def _ids(self) -> NDArray[np.int64]:
        return self._windows.ids

    @cached_property
    def _gallery(self) -> GalleryWindows:
        rows, _ = places(self._ids, self.opened.items.ids)  # without those that could not be read
        cut = self._data.gallery_segments()
        segments = Segments(cut.items[rows], cut.starts[rows], cut.ends[rows])
        return GalleryWindows(segments, self._windows.vectors, self.opened.index.similarity)

    def _arrays(self, footage: Footage, window: int) -> Arrays:
        start, stop = footage.over.frames[window]
        return self._clip.of_frames(footage.pixels[start:stop], self._data.rate)

    def _name(self, video: int) -> str:
        return self._videos[video].name if video in self._videos else GONE

    def _said(self, footage: Footage, k: int) -> str:
        """What is made of a file, for people."""
        data, seconds, count = self._data, len(footage.pixels) / self._data.rate, len(footage.over.times)
        if seconds < data.window:
            return (
                f"{seconds:.1f} s, shorter than a window of {data.window:g} s: it is one window, and what is found is"
                " made of whole windows that look like it"
            )
        text = f"{seconds:.1f} s, {count} windows of {data.window:g} s, one every {data.stride:g} s"
        longest = max((video.seconds for video in self._videos.values()), default=0.0)
        if seconds > longest:
            text += (
                f"; it is longer than every video (the longest has {longest:.1f} s): what is found is the part of a"
                " video that some of it shows"
            )
        most = self._finder.moments
        return text + (f"; the run is answered with {most} moments at most (moment.moments)" if k > most else "")

    def _query_strip(self, asked: Asked[Footage]) -> Strip:
        rows, pixels = shown(len(asked.content.pixels)), asked.content.pixels
        name = f"{asked.file.name}, {len(pixels) / self._data.rate:.1f} s"
        return Strip("query", name, pixels[rows], rows / self._data.rate)

    def _strips(self, found: Sequence[FoundMoment], ranked: RankedMoments) -> list[Strip]:
        strips = []
        for rank, (moment, video) in enumerate(zip(found, ranked.videos.tolist(), strict=True), start=1):
            head = f"{rank}   {moment.score:.3f}   {clock(moment.start)} – {clock(moment.end)}"
            frames, times = self._frames(video, moment.start, moment.end)
            strips.append(Strip(head, moment.video, frames, times))
        return strips

    def _frames(self, video: int, start: float, end: float) -> tuple[Pixels | None, NDArray[np.float64] | None]:
        """Frames of a part of a gallery video with their times, from the windows that are nearest to these."""
        cut, data = self._data.gallery_segments(), self._data
        rows = np.flatnonzero(cut.items == video)
        middles = (cut.starts[rows] + cut.ends[rows]) / 2
        wanted = start + (np.arange(SHOWN) + 0.5) * (end - start) / SHOWN
        nearest = rows[np.abs(middles[:, None] - wanted).argmin(axis=0)]
        found: dict[float, Pixels] = {}
        try:
            for row in np.unique(nearest):
                frames = self.opened.items.read(int(row))["rgb"]
                count = round(float(cut.ends[row] - cut.starts[row]) * data.rate)
                times = cut.starts[row] + self._clip.sampling.indices(count, data.rate) / data.rate
                for time in wanted[nearest == row]:
                    place = int(np.abs(times - time).argmin())
                    found[float(times[place])] = frames[place]
        except CorruptInput:
            return None, None
        times = np.array(sorted(found))
        return np.stack([found[time] for time in times.tolist()]), times
