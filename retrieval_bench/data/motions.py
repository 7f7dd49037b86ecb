"""Short clips in which only the order of frames tells what happens: fourteen motions in reversed pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from math import log, radians
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data._camera import KINDS, PAIRS, PHOTOGRAPHS, Pace, draw_look, draw_motion
from retrieval_bench.data._checks import need_whole
from retrieval_bench.data._footage import Footage, Script, footage, side_read
from retrieval_bench.data._shot import Frames, Shot, render, versions
from retrieval_bench.data._video_items import DrawnVideos
from retrieval_bench.data.base import Arrays, Dataset, Items, item_id
from retrieval_bench.errors import BadConfig
from retrieval_bench.hashing import json_digest
from retrieval_bench.media.clip import Clip
from retrieval_bench.types import GroundTruth, Ragged

# From one frame to the next: pixels, logarithm and radians. Optical flow finds such motion with ease.
TRAVEL, GROWTH, TURN = (1.2, 4.5), (0.02, 0.04), (radians(1.5), radians(4.0))
DRIFT = (0.0, 0.3)
MOST_GROWTH = log(3)  # of a whole clip: a photograph has no more detail to zoom into
NOISE = (1.0, 5.0)  # grey levels


class Member(NamedTuple):
    """A clip that was drawn, before it is played in either direction."""

    pair: int
    photograph: str
    key: str


class Motions(Dataset):
    """Class = what happens in a clip; its reversed twin, the same frames in the other order, is of the partner class.

    Pan left and right, pan up and down, zoom in and out, rotate clockwise and counter-clockwise, fade in and out, an
    object enters and leaves, an object crosses from left to right and from right to left. Every clip stands in the
    data in both directions, so that no frame and no set of frames tells a class from its partner: a mean over all
    frames is right in one half of the cases. (Over some frames: if they are chosen symmetrically in time, as the
    middles of 8 or 24 equal parts of 24 frames are.)

    The clips are drawn from sixteen photographs: eight to train, three to validate, five to test; every photograph
    serves every class with the same number of clips. Crop, scale, tilt, mirror image and hue of the photograph, and
    direction of whatever the class leaves open, speed, brightness, noise and a hand-held sway are drawn anew for each
    clip. A mirrored photograph is still panned as the class says: it is mirrored before the camera moves.

    Each test clip is searched among the others; its photograph's clips are ignored, so that the answer must come from
    another photograph. All parts have the same fourteen classes; their photographs are disjoint.

    Args:
        clip: which frames are read of a clip, and whether with optical flow.
        cache: folder into which the clips are drawn once (0.19 GB for the test part, 0.35 GB for the others).
        seed: decides every clip; apart from the seed of a run.
        image_size: side in pixels as drawn; `clip` may enlarge what is read. Pans and rotations have the same speed, in
            pixels and degrees a frame, at any size.
        frames: of a clip. rate: of these a second.
        train_clips, validation_clips, test_clips: of each class and photograph.
        within_pairs: a clip is searched among those of its own class and of the reversed one, all others are ignored:
            hit_rate@1 is then 0.5 for whoever has no sense of the order of frames.

    Attributes:
        partner: int64 [14], label → label of the reversed class.

    Raises:
        BadConfig: a number out of its range.
    """

    name = "motions"
    partner: NDArray[np.int64] = np.arange(len(KINDS)) ^ 1

    def __init__(
        self,
        clip: Clip,
        cache: str,
        *,
        seed: int = 0,
        image_size: int = 96,
        frames: int = 24,
        rate: float = 12.0,
        train_clips: int = 8,
        validation_clips: int = 4,
        test_clips: int = 8,
        within_pairs: bool = False,
    ) -> None:
        need_whole("seed", seed, 0, 2**63 - 1)
        need_whole("image_size", image_size, 32, 512)
        need_whole("frames", frames, 8, 64)
        counts = {"train": train_clips, "validation": validation_clips, "test": test_clips}
        for part, count in counts.items():
            need_whole(f"{part}_clips", count, 1, 10_000)
        if isinstance(rate, bool) or not 1 <= rate <= 240:
            raise BadConfig(f"data.rate={rate}: type a number of frames a second from 1 to 240")
        self.image_size, self._size = side_read(clip, image_size), image_size
        self.inputs, self.clip = clip.inputs, clip
        self._clip, self._cache, self._seed = clip, cache, seed
        self._frames, self._rate, self._counts = frames, float(rate), counts
        self._within_pairs = within_pairs

    def train(self) -> Items:
        """Clips of the training photographs."""
        return self._items("train")

    def validation(self) -> Items:
        """Clips of the validation photographs."""
        return self._items("validation")

    def queries(self) -> Items:
        """The gallery: each clip is searched among the others."""
        return self._test

    def gallery(self) -> Items:
        """Clips of the test photographs."""
        return self._test

    def truth(self) -> GroundTruth:
        """Equal motion = relevant; clips of the query's photograph are ignored."""
        ids, labels, groups = self._test.ids, self._test.labels, self._test.groups
        junk = self._of_other_pairs(np.asarray(labels) // 2) if self._within_pairs else None
        return GroundTruth(ids, ids, labels, labels, groups, groups, junk=junk)

    def _of_other_pairs(self, pairs: NDArray[np.int64]) -> Ragged:
        """For each query the clips of all other pairs."""
        others = [self._test.ids[pairs != pair] for pair in range(len(PAIRS))]
        lengths = np.array([len(others[pair]) for pair in pairs], np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Ragged(np.concatenate([others[pair] for pair in pairs]), offsets)

    @property
    def protocol(self) -> dict[str, Any]:
        """Leave-one-out over the test part, the whole photograph of the query being ignored."""
        return {
            "data": self.name,
            "split": "by photograph, the same classes in all parts: "
            + "; ".join(f"{part}: {', '.join(names)}" for part, names in PHOTOGRAPHS.items()),
            "crop": f"none; drawn at {self._size} x {self._size}",
            "self": "leave-one-out: queries and gallery are the same clips",
            "group": "the photograph: all clips of the query's photograph are ignored",
            "relevance": "equal motion" + ("; clips of other pairs are ignored" if self._within_pairs else ""),
            "pairs": [[str(one), str(other)] for one, other in PAIRS],
            "twins": "each clip stands in the data in both directions of time",
            "twins_are_read_at_the_same_frames": self._symmetric(),
            "n_classes": len(KINDS),
            "n_photographs": {part: len(names) for part, names in PHOTOGRAPHS.items()},
            "clips_of_a_class_and_photograph": dict(self._counts),
            "n_queries": len(self._members("test")) * 2,
            "n_gallery": len(self._members("test")) * 2,
            "frames": self._frames,
            "rate": self._rate,
            "seed": self._seed,
            "clip": self._clip.describe(),
            "drawn_with": versions(tuple(name for names in PHOTOGRAPHS.values() for name in names)),
        }

    def _symmetric(self) -> bool:
        """Whether a clip and its twin give the same frames, so that no mean over them tells the two apart."""
        rows = np.sort(self._clip.sampling.indices(self._frames, self._rate))
        return bool((rows == self._frames - 1 - rows[::-1]).all())

    @cached_property
    def _test(self) -> Items:
        return self._items("test")

    def _members(self, part: str) -> list[Member]:
        return [
            Member(pair, photograph, f"{PAIRS[pair][0]}/{photograph}/{number}")
            for pair in range(len(PAIRS))
            for photograph in PHOTOGRAPHS[part]
            for number in range(self._counts[part])
        ]

    def _items(self, part: str) -> Items:
        """Row 2 i is the clip of member i as it was drawn; row 2 i + 1 is its reversed twin."""
        members = self._members(part)
        script = Script(
            name=f"motions-{part}",
            decides={**versions(PHOTOGRAPHS[part]), "seed": self._seed},
            keys=[member.key for member in members],
            lengths=[self._frames] * len(members),
            size=self._size,
            draw=lambda row: self._draw(members[row]),
        )
        shots = footage(self._cache, script)
        places = {name: i for i, name in enumerate(name for names in PHOTOGRAPHS.values() for name in names)}
        return Items(
            _keys(members),
            lambda row: self._read(shots, row),
            json_digest([shots.fingerprint, self._rate, self._clip.describe()]),
            labels=np.array([[2 * m.pair, 2 * m.pair + 1] for m in members], np.int64).ravel(),
            groups=np.repeat(np.array([places[m.photograph] for m in members], np.int64), 2),
            label_names={label: str(kind) for label, kind in enumerate(KINDS)},
            video=DrawnVideos(
                self._clip,
                self._rate,
                partial(_played, shots),
                np.full(2 * len(members), self._frames / self._rate),
            ),
        )

    def _read(self, shots: Footage, row: int) -> Arrays:
        return self._clip.of_frames(_played(shots, row), self._rate)

    def _draw(self, member: Member) -> Frames:
        rng = np.random.default_rng((self._seed, item_id(member.key)))
        size, steps = self._size, self._frames - 1
        ranges = [(low * steps, high * steps) for low, high in (TRAVEL, GROWTH, TURN, DRIFT)]
        ranges[1] = (min(ranges[1][0], MOST_GROWTH), min(ranges[1][1], MOST_GROWTH))
        pace = Pace(*ranges)
        motion = draw_motion(PAIRS[member.pair][0], pace, size, rng)
        look = draw_look(member.photograph, motion, size, rng)
        return render(Shot(look, motion, size), np.linspace(0, 1, self._frames), rng.uniform(*NOISE), rng)


def _played(shots: Footage, row: int) -> Frames:
    """The frames of a clip in its direction of time."""
    frames = shots.shot(row // 2)
    return frames[::-1] if row % 2 else frames


def _keys(members: Sequence[Member]) -> list[str]:
    """Each clip's key in either direction: motion, photograph and number."""
    keys = []
    for member in members:
        rest = member.key.split("/", 1)[1]
        keys += [f"{kind}/{rest}" for kind in PAIRS[member.pair]]
    return keys
