"""Long videos stitched from moving photographs, and second takes of their moments: find the video and the interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrieval_bench.data._camera import PHOTOGRAPHS
from retrieval_bench.data._checks import need_whole
from retrieval_bench.data._footage import side_read
from retrieval_bench.data._shot import versions
from retrieval_bench.data._stitched import Settings, Stitched
from retrieval_bench.data._timeline import LENGTHS
from retrieval_bench.data.base import Items, MomentDataset, TrueMoments, Video
from retrieval_bench.errors import BadConfig
from retrieval_bench.media.clip import Clip
from retrieval_bench.types import Segments


class Moments(MomentDataset):
    """Videos of 60 to 120 seconds; a query is a moment of one of them, filmed again, and its answer an exact interval.

    A video is stitched, by cuts and short cross-fades, from six parts: a short moment (3 to 9 s), a medium one (10 to
    20 s), a long one (30 to 34 s), and three distractors of 7 to 12 s. A distractor belongs to a moment of the same
    video or of one of the two before it, and shows in turn the same place in the same colours in another motion, or the
    same motion on another photograph: neither what is seen nor how it moves is enough. The motions are pans, zooms,
    rotations and fades of `motions`, as slow as a part is long, so that no two seconds of a part look the same.

    Queries: every moment, half of them cut shorter than their part, with another crop (up to 1.15 × larger, shifted by
    6 %, turned by 5 degrees), at 0.8 to 1.25 × the speed, with other brightness and more noise. Its interval runs from
    the middle of the passage before its part to the middle of the one behind, or is the piece that was cut.

    Labels to train on, which the test part does not have: stretches of about 4 s of one part, in the video and in the
    query alike. Training, validation and test videos show different photographs.

    Args:
        clip: which frames are read of a window, and whether with optical flow.
        cache: folder into which the videos are drawn once (about 0.75 GB for the test part, 0.35 GB for the others).
        seed: decides every video and query; apart from the seed of a run.
        image_size: side in pixels as drawn; `clip` may enlarge what is read.
        rate: frames a second.
        n_videos, train_videos, validation_videos: each has three queries.
        window, stride: seconds, of the windows over videos and queries.
        least_overlap: share of a gallery window inside the moment from which on it is relevant, for label metrics.

    Raises:
        BadConfig: a number out of its range.
    """

    name = "moments"

    def __init__(
        self,
        clip: Clip,
        cache: str,
        *,
        seed: int = 0,
        image_size: int = 96,
        rate: float = 8.0,
        n_videos: int = 24,
        train_videos: int = 8,
        validation_videos: int = 3,
        window: float = 2.0,
        stride: float = 1.0,
        least_overlap: float = 0.5,
    ) -> None:
        need_whole("seed", seed, 0, 2**63 - 1)
        need_whole("image_size", image_size, 32, 512)
        for name, count in (("n", n_videos), ("train", train_videos), ("validation", validation_videos)):
            need_whole(f"{name}_videos", count, 1, 2000)
        for name, value, low, high in (
            ("rate", rate, 2, 60),
            ("window", window, 0.1, 600),
            ("stride", stride, 0.1, 600),
            ("least_overlap", least_overlap, 0.01, 1),
        ):
            if isinstance(value, bool) or not low <= value <= high:
                raise BadConfig(f"data.{name}={value}: type a number from {low} to {high}")
        self.image_size = side_read(clip, image_size)
        self.inputs, self.clip, self.rate = clip.inputs, clip, float(rate)
        self.window, self.stride, self.least_overlap = float(window), float(stride), float(least_overlap)
        self._settings = Settings(clip, cache, seed, image_size, self.rate, self.window, self.stride)
        counts = {"train": train_videos, "validation": validation_videos, "test": n_videos}
        self._parts = {part: Stitched(part, count, self._settings) for part, count in counts.items()}
        self._test = self._parts["test"]

    def train(self) -> Items:
        """Windows of training videos and of second takes of their moments."""
        return self._parts["train"].labelled

    def validation(self) -> Items:
        """As `train`, of other photographs."""
        return self._parts["validation"].labelled

    def queries(self) -> Items:
        """Windows of the queries."""
        return self._test.queries

    def gallery(self) -> Items:
        """Windows of the videos."""
        return self._test.gallery

    def gallery_segments(self) -> Segments:
        """Row of `gallery()` → (video, start, end)."""
        return self._test.over_videos.segments

    def query_segments(self) -> Segments:
        """Row of `queries()` → (query, start, end)."""
        return self._test.over_takes.segments

    def videos(self) -> Mapping[int, Video]:
        """The test videos."""
        return self._test.videos()

    def moments(self) -> TrueMoments:
        """Of the test queries; a name ends in the length of the moment: short, medium or long."""
        return self._test.moments()

    @property
    def protocol(self) -> dict[str, Any]:
        """Queries are searched among windows of videos of the same photographs."""
        takes = self._test.timeline.takes
        return {
            "data": self.name,
            "split": "by photograph: " + "; ".join(f"{part}: {', '.join(p)}" for part, p in PHOTOGRAPHS.items()),
            "crop": f"none; drawn at {self._settings.size} x {self._settings.size}",
            "self": "queries and gallery share no item: a query is filmed again",
            "group": "none",
            "relevance": f"windows that lie in the query's moment by {self.least_overlap:g} of their length or more",
            "window": self.window,
            "stride": self.stride,
            "n_videos": {part: stitched.count for part, stitched in self._parts.items()},
            "seconds": sum(video.seconds for video in self.videos().values()),
            "n_moments": {moment: sum(take.moment == moment for take in takes) for moment in LENGTHS},
            "n_queries": len(self._test.over_takes.keys),
            "n_gallery": len(self._test.over_videos.keys),
            "n_photographs": {part: len(names) for part, names in PHOTOGRAPHS.items()},
            "rate": self._settings.rate,
            "seed": self._settings.seed,
            "clip": self._settings.clip.describe(),
            "drawn_with": versions(tuple(name for names in PHOTOGRAPHS.values() for name in names)),
        }
