"""One part of `moments`: its videos and queries drawn, cut into windows, and labelled to train on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data._camera import PHOTOGRAPHS
from retrieval_bench.data._footage import Footage, Script, footage
from retrieval_bench.data._shot import Frames, versions
from retrieval_bench.data._timeline import Plan, Timeline, draw_take, draw_video, frames_of
from retrieval_bench.data._video_items import DrawnVideos
from retrieval_bench.data.base import Arrays, Items, TrueMoments, Video, item_id, item_ids
from retrieval_bench.hashing import json_digest
from retrieval_bench.media.clip import Clip
from retrieval_bench.media.sampling import windows
from retrieval_bench.types import Segments

LABELS = 2**20  # kept for each part of the data
STRETCHES = 64  # labels kept for each part of a video: far more than it has stretches
STRETCH = 4.0  # seconds of a part that are one class to train on
INSIDE = 0.75  # share of a training window that must lie in one part of its video
Draw = Callable[[int, np.random.Generator], Frames]  # a row and its own randomness → its frames


@dataclass(frozen=True, eq=False)
class Settings:
    """What decides a part of the data besides its name. Window and stride in seconds, size in pixels."""

    clip: Clip
    cache: str
    seed: int
    size: int
    rate: float
    window: float
    stride: float


@dataclass(frozen=True, eq=False)
class Windowed:
    """Windows over several clips, in the order of (id of the clip, start).

    Attributes:
        keys: [n] of the windows. clips: int64 [n] the clip of each. frames: int64 [n, 2] its start and stop in it.
        segments: [n] (id of the clip, start, end) in seconds.
    """

    keys: Sequence[str]
    clips: NDArray[np.int64]
    frames: NDArray[np.int64]
    segments: Segments


@dataclass(eq=False)
class Stitched:
    """Videos and queries of one part of the data; nothing is drawn before items are asked for.

    Attributes:
        part: train, validation or test. count: number of videos.
    """

    part: str
    count: int
    settings: Settings

    @cached_property
    def timeline(self) -> Timeline:
        """What is where."""
        settings = self.settings
        plan = Plan(PHOTOGRAPHS[self.part], self.count, settings.size, settings.rate)
        return plan.timeline(np.random.default_rng((settings.seed, item_id(f"moments/{self.part}"))))

    @cached_property
    def video_names(self) -> list[str]:
        """Of each video."""
        return [f"{self.part} video {number:03}" for number in range(self.count)]

    @cached_property
    def take_names(self) -> list[str]:
        """Of each query: its video, the place of its part there, and the length of its moment in a word."""
        return [f"{self.part} query {take.video:03}.{take.part} {take.moment}" for take in self.timeline.takes]

    @cached_property
    def over_videos(self) -> Windowed:
        """Windows of the videos."""
        return self._windowed(self.video_names, [frames_of(parts) for parts in self.timeline.videos])

    @cached_property
    def over_takes(self) -> Windowed:
        """Windows of the queries."""
        return self._windowed(self.take_names, [take.length for take in self.timeline.takes])

    @cached_property
    def gallery(self) -> Items:
        """Windows of the videos, as items."""
        return self._items(self.over_videos, self._videos)

    @cached_property
    def queries(self) -> Items:
        """Windows of the queries, as items."""
        return self._items(self.over_takes, self._takes)

    @cached_property
    def labelled(self) -> Items:
        """Windows of videos and queries that show one stretch of one part."""
        gallery, queries = self.gallery, self.queries
        labels = np.concatenate([self._video_labels(), self._take_labels()])
        rows = np.flatnonzero(labels >= 0)
        keys = [*gallery.keys, *queries.keys]

        def read(row: int) -> Arrays:
            at = int(rows[row])
            return gallery.read(at) if at < len(gallery) else queries.read(at - len(gallery))

        return Items(
            [keys[row] for row in rows],
            read,
            json_digest([gallery.fingerprint, queries.fingerprint, labels.tolist()]),
            labels=labels[rows],
        )

    def videos(self) -> Mapping[int, Video]:
        """Id → name and seconds."""
        lengths = [frames_of(parts) / self.settings.rate for parts in self.timeline.videos]
        return {item_id(name): Video(name, length) for name, length in zip(self.video_names, lengths, strict=True)}

    def moments(self) -> TrueMoments:
        """What each query shows."""
        names, takes, rate = self.take_names, self.timeline.takes, self.settings.rate
        ids, videos = item_ids(names), item_ids(self.video_names)
        order = np.argsort(ids)
        return TrueMoments(
            ids[order],
            [names[i] for i in order],
            np.array([videos[takes[i].video] for i in order], np.int64),
            np.array([takes[i].start for i in order]) / rate,
            np.array([takes[i].stop for i in order]) / rate,
        )

    @cached_property
    def _videos(self) -> Footage:
        videos = self.timeline.videos
        lengths = [frames_of(parts) for parts in videos]
        return self._drawn("videos", self.video_names, lengths, lambda row, rng: draw_video(videos[row], rng))

    @cached_property
    def _takes(self) -> Footage:
        videos, takes = self.timeline.videos, self.timeline.takes

        def draw(row: int, rng: np.random.Generator) -> Frames:
            take = takes[row]
            return draw_take(take, videos[take.video][take.part], rng)

        return self._drawn("queries", self.take_names, [take.length for take in takes], draw)

    def _drawn(self, what: str, names: Sequence[str], lengths: Sequence[int], draw: Draw) -> Footage:
        settings = self.settings
        script = Script(
            name=f"moments-{self.part}-{what}",
            decides={
                **versions(PHOTOGRAPHS[self.part]),
                "seed": settings.seed,
                "rate": settings.rate,
                "videos": self.count,
            },
            keys=names,
            lengths=lengths,
            size=settings.size,
            draw=lambda row: draw(row, np.random.default_rng((settings.seed, item_id(names[row])))),
        )
        return footage(settings.cache, script)

    def _windowed(self, names: Sequence[str], lengths: Sequence[int]) -> Windowed:
        ids, settings = item_ids(names), self.settings
        order = np.argsort(ids)
        cut = [windows(lengths[i], settings.rate, settings.window, settings.stride) for i in order]
        clips = np.repeat(order, [len(found.frames) for found in cut])
        times = np.concatenate([found.times for found in cut])
        keys = [f"{names[clip]} {a:.2f}-{b:.2f} s" for clip, (a, b) in zip(clips.tolist(), times, strict=True)]
        frames = np.concatenate([found.frames for found in cut])
        return Windowed(keys, clips, frames, Segments(ids[clips], times[:, 0], times[:, 1]))

    def _items(self, over: Windowed, shots: Footage) -> Items:
        settings = self.settings

        def frames(row: int) -> Frames:
            start, stop = over.frames[row]
            return shots.shot(int(over.clips[row]))[start:stop]

        about = [shots.fingerprint, settings.rate, settings.window, settings.stride, settings.clip.describe()]
        count = np.bincount(over.clips, minlength=len(shots.starts) - 1)
        shares = (np.diff(shots.starts) / settings.rate / np.maximum(count, 1))[over.clips]  # of its clip's length
        return Items(
            over.keys,
            lambda row: settings.clip.of_frames(frames(row), settings.rate),
            json_digest(about),
            video=DrawnVideos(settings.clip, settings.rate, frames, shares),
        )

    def _video_labels(self) -> NDArray[np.int64]:
        """The stretch that a window of a video shows, or -1 where it shows too much of two parts."""
        labels = np.full(len(self.over_videos.keys), -1, np.int64)
        for row, (clip, (start, stop)) in enumerate(zip(self.over_videos.clips, self.over_videos.frames, strict=True)):
            for number, part in enumerate(self.timeline.videos[clip]):
                if min(stop, part.ends) - max(start, part.begins) >= INSIDE * (stop - start):
                    labels[row] = self._label(int(clip), number, (start + stop) / 2)
        return labels

    def _take_labels(self) -> NDArray[np.int64]:
        """The stretch of the video that a window of a query shows."""
        labels = []
        for clip, (start, stop) in zip(self.over_takes.clips, self.over_takes.frames, strict=True):
            take = self.timeline.takes[clip]
            middle = take.start + (start + stop) / 2 * take.speed
            labels.append(self._label(take.video, take.part, middle))
        return np.array(labels, np.int64)

    def _label(self, video: int, number: int, middle: float) -> int:
        """Of a window whose middle is this frame of a video's part; parts are cut into equal stretches."""
        parts = self.timeline.videos[video]
        part, first = parts[number], LABELS * list(PHOTOGRAPHS).index(self.part)
        length = part.ends - part.begins
        stretches = max(1, round(length / self.settings.rate / STRETCH))
        stretch = min(stretches - 1, max(0, int((middle - part.begins) / length * stretches)))
        return first + (video * len(parts) + number) * STRETCHES + stretch
