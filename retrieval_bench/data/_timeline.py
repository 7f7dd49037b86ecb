"""Long videos stitched from shots, and second takes of some of their parts: what is where, before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import log, pi

import numpy as np

from retrieval_bench.data._camera import KINDS, Kind, Pace, draw_look, draw_motion, evenly
from retrieval_bench.data._shot import Floats, Frames, Motion, Shot, View, render

# Seconds of a moment, and its share of its part where it is cut shorter. With three distractors that is 60 to 120 s.
LENGTHS = {"short": (3.5, 9.0), "medium": (10.7, 20.0), "long": (30.7, 34.0)}
SHARE = {"short": (0.6, 0.9), "medium": (0.7, 0.9), "long": (0.86, 0.95)}
CUT = 0.5  # probability that a moment is shorter than its part
DISTRACTOR = (7.0, 12.0)  # seconds
FADE = 0.5  # seconds of a cross-fade; every second passage is one, the others are cuts
SPEED = (0.8, 1.25)
VIDEO_NOISE, QUERY_NOISE = (1.0, 4.0), (3.0, 7.0)  # grey levels
CAMERA = KINDS[: KINDS.index(Kind.ENTERS)]  # an object crosses too quickly to fill half a minute


@dataclass(frozen=True, eq=False)
class Part:
    """A shot in a video: frames first … first + length - 1 of it, of which the ends may be under a cross-fade.

    Attributes:
        kind: its motion. like: index of the moment that it distracts from, or -1.
        begins, ends: frames of the video between which it is (mostly) seen: from the middle of one passage to the next.
    """

    shot: Shot
    kind: Kind
    length: int
    noise: float
    like: int = -1
    first: int = 0
    begins: int = 0
    ends: int = 0


@dataclass(frozen=True, eq=False)
class Take:
    """A query: frames start … stop - 1 of a video, filmed again.

    Attributes:
        video, part: indices. moment: length class. speed: query seconds are video seconds / speed.
        length: frames of the query.
    """

    video: int
    part: int
    moment: str
    start: int
    stop: int
    speed: float
    length: int
    view: View
    noise: float


@dataclass(frozen=True, eq=False)
class Timeline:
    """Videos as lists of parts, and takes of their moments."""

    videos: Sequence[Sequence[Part]]
    takes: Sequence[Take]


def pace(length: int, size: int) -> Pace:
    """How much happens in a part of so many frames: as much as shows no place twice, and not faster than 3 pixels."""

    def most(low: float, high: float, speed: float) -> tuple[float, float]:
        return min(low, speed * length), min(high, speed * length)

    side = size / 96
    return Pace(
        travel=most(180 * side, 320 * side, 3.0),
        growth=most(log(1.8), log(3), 0.03),
        turn=most(2 * pi / 3, 11 / 6 * pi, pi / 45),
        drift=most(50 * side, 120 * side, 1.2),
    )


@dataclass(frozen=True)
class Plan:
    """Draws timelines.

    Attributes:
        photographs: that are shown. n_videos. size: pixels. rate: frames a second.
    """

    photographs: Sequence[str]
    n_videos: int
    size: int
    rate: float

    def timeline(self, rng: np.random.Generator) -> Timeline:
        """Each video has a short, a medium and a long moment, and three parts that distract from moments."""
        n = len(LENGTHS) * self.n_videos
        names, kinds = evenly(self.photographs, n, rng), evenly(CAMERA, n, rng)
        classes = list(LENGTHS) * self.n_videos
        seconds = [self._seconds(moment, rng) for moment in classes]
        parts = [self._part(names[i], Kind(kinds[i]), seconds[i][0], rng) for i in range(n)]
        places = [(i // 3 + i % 3) % self.n_videos for i in range(n)]  # in its own video, the next or the one after it
        likes = [self._distractor(i, parts[i], rng) for i in range(n)]
        videos, takes = [], []
        for video in range(self.n_videos):
            mine = [(i, parts[i]) for i in range(3 * video, 3 * video + 3)]
            others = [(-1, likes[i]) for i in range(n) if places[i] == video]
            stitched = _stitched(_shuffled(mine + others, rng), round(FADE * self.rate), rng)
            videos.append([part for _, part in stitched])
            for at, (number, part) in enumerate(stitched):
                if number >= 0:
                    takes.append(self._take((video, at), classes[number], part, seconds[number][1], rng))
        return Timeline(videos, takes)

    def _seconds(self, moment: str, rng: np.random.Generator) -> tuple[float, float]:
        """Length of a part, and of the moment in it."""
        length, share = rng.uniform(*LENGTHS[moment]), rng.uniform(*SHARE[moment])
        return (length / share, length) if rng.random() < CUT else (length, length)

    def _part(self, name: str, kind: Kind, seconds: float, rng: np.random.Generator) -> Part:
        length = round(seconds * self.rate)
        motion = draw_motion(kind, pace(length, self.size), self.size, rng)
        look = draw_look(name, motion, self.size, rng)
        return Part(Shot(look, motion, self.size), kind, length, rng.uniform(*VIDEO_NOISE))

    def _distractor(self, number: int, moment: Part, rng: np.random.Generator) -> Part:
        """In turn the same place in the same colours in another motion, and the same motion on another photograph."""
        length = round(rng.uniform(*DISTRACTOR) * self.rate)
        noise = rng.uniform(*VIDEO_NOISE)
        shot, kind = moment.shot, moment.kind
        if (number // 3 + number % 3) % 2:
            others = [name for name in self.photographs if name != shot.look.photograph]
            motion = _shortened(shot.motion, min(1.0, length / moment.length))
            look = draw_look(others[int(rng.integers(len(others)))], motion, self.size, rng)
        else:
            kinds = [other for other in CAMERA if other != kind]
            kind = kinds[int(rng.integers(len(kinds)))]
            motion, look = draw_motion(kind, pace(length, self.size), self.size, rng), shot.look
        return Part(Shot(look, motion, self.size), kind, length, noise, like=number)

    def _take(self, place: tuple[int, int], moment: str, part: Part, seconds: float, rng: np.random.Generator) -> Take:
        free = max(0, part.ends - part.begins - round(seconds * self.rate))
        start = part.begins + int(rng.integers(free + 1))
        stop = part.ends - free + start - part.begins
        speed = rng.uniform(*SPEED)
        length = max(1, round((stop - start) / speed))
        view = View(
            zoom=rng.uniform(1.0, 1.15),
            angle=rng.uniform(-0.08, 0.08),
            shift=(rng.uniform(-0.06, 0.06) * self.size, rng.uniform(-0.06, 0.06) * self.size),
            gain=rng.uniform(0.8, 1.2),
        )
        noise = rng.uniform(*QUERY_NOISE)
        return Take(*place, moment, start, stop, (stop - start) / length, length, view, noise)


def _shortened(motion: Motion, share: float) -> Motion:
    """The same speeds for a share of the time."""
    return replace(
        motion,
        travel=(motion.travel[0] * share, motion.travel[1] * share),
        growth=motion.growth * share,
        turn=motion.turn * share,
    )


def _shuffled(parts: Sequence[tuple[int, Part]], rng: np.random.Generator) -> list[tuple[int, Part]]:
    """In random order; of a few orders the one with fewest neighbours from one photograph."""

    def same(order: Sequence[int]) -> int:
        names = [parts[i][1].shot.look.photograph for i in order]
        return sum(one == other for one, other in pairwise(names))

    orders = [[int(i) for i in rng.permutation(len(parts))] for _ in range(20)]
    return [parts[i] for i in min(orders, key=same)]


def _stitched(parts: Sequence[tuple[int, Part]], fade: int, rng: np.random.Generator) -> list[tuple[int, Part]]:
    """The parts one behind the other, where every passage is a cut or a cross-fade of so many frames."""
    fades = [0, *(fade * int(rng.integers(2)) for _ in parts[1:]), 0]
    placed, end = [], 0
    for i, (number, part) in enumerate(parts):
        first = end - fades[i]
        end = first + part.length
        begins, ends = first + fades[i] // 2, end - (fades[i + 1] - fades[i + 1] // 2)
        placed.append((number, replace(part, first=first, begins=begins, ends=ends)))
    return placed


def frames_of(parts: Sequence[Part]) -> int:
    """Frames of a video."""
    return parts[-1].first + parts[-1].length


def times(part: Part, start: float, stop: float, length: int) -> Floats:
    """Times in the part's shot (0 … 1) of `length` frames that show frames start … stop - 1 of the video: [length]."""
    frames = start + (np.arange(length) + 0.5) * (stop - start) / length - 0.5
    return np.clip((frames - part.first) / max(1, part.length - 1), 0, 1)


def draw_video(parts: Sequence[Part], rng: np.random.Generator) -> Frames:
    """The frames of a video: [n, size, size, 3]."""
    video = np.empty((frames_of(parts), *(parts[0].shot.size,) * 2, 3), np.uint8)
    seen = 0  # frames drawn so far
    for part in parts:
        drawn = render(part.shot, np.linspace(0, 1, part.length), part.noise, rng)
        blended = seen - part.first
        weight = ((np.arange(blended) + 1) / (blended + 1))[:, None, None, None]
        mixed = video[part.first : seen] * (1 - weight) + drawn[:blended] * weight
        video[part.first : seen] = np.rint(mixed).astype(np.uint8)
        video[seen : part.first + part.length] = drawn[blended:]
        seen = part.first + part.length
    return video


def draw_take(take: Take, part: Part, rng: np.random.Generator) -> Frames:
    """The frames of a query: [take.length, size, size, 3]."""
    shot = replace(part.shot, view=take.view)
    return render(shot, times(part, take.start, take.stop, take.length), take.noise, rng)
