"""Parts of videos as values: overlap in time, true moments, ranked answers and their judgement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64
from numpy.typing import ArrayLike, NDArray

from retrieval_bench.types import Ragged

__all__ = ["MomentJudgement", "MomentResult", "MomentTruth", "RankedMoments", "temporal_iou"]

Values = NDArray[np.float64]


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def temporal_iou(starts: ArrayLike, ends: ArrayLike, other_starts: ArrayLike, other_ends: ArrayLike) -> Values:
    """Seconds that two intervals share / seconds that either covers; 0 where they do not meet. Shapes broadcast.

    Gao et al. 2017, "TALL: Temporal activity localization via language query". An interval without length has IoU 0.

    >>> temporal_iou(0, 10, [0, 5, 10], [10, 15, 20]).round(3)
    array([1.   , 0.333, 0.   ])
    """
    starts, ends = np.asarray(starts, np.float64), np.asarray(ends, np.float64)
    other_starts, other_ends = np.asarray(other_starts, np.float64), np.asarray(other_ends, np.float64)
    shared = np.maximum(np.minimum(ends, other_ends) - np.maximum(starts, other_starts), 0.0)
    covered = (ends - starts) + (other_ends - other_starts) - shared
    return np.asarray(np.divide(shared, covered, out=np.zeros_like(covered), where=covered > 0))


class RankedMoments(NamedTuple):
    """The answer to one query, best first: video ids int64 [m], seconds float64 [m], scores float32 [m].

    A plain tuple: it is made inside the timer, and checked as a `MomentResult` outside.
    """

    videos: NDArray[np.int64]
    starts: Values
    ends: Values
    scores: NDArray[np.float32]

    def take(self, order: NDArray[np.int64] | slice) -> RankedMoments:
        """Only these moments, in this order."""
        return RankedMoments(self.videos[order], self.starts[order], self.ends[order], self.scores[order])


@dataclass(frozen=True, eq=False)
class MomentResult:
    """Ranked moments of many queries, best first; video -1 only at the end of a row that has too few answers."""

    videos: Int64[np.ndarray, "q k"]
    starts: Float[np.ndarray, "q k"]  # seconds
    ends: Float[np.ndarray, "q k"]
    scores: Float32[np.ndarray, "q k"]

    def __post_init__(self) -> None:
        shape = self.videos.shape
        _need(len(shape) == 2, f"videos must be [q, k], not {shape}")
        for name in ("starts", "ends", "scores"):
            _need(getattr(self, name).shape == shape, f"{name} must be {shape} like videos")
        found = self.videos >= 0
        _need(bool((found[:, :-1] >= found[:, 1:]).all()), "-1 may stand only at the end of a row")
        _need(not np.isnan(self.scores[found]).any(), "a score is NaN")
        later = found[:, 1:]
        _need(bool((self.scores[:, :-1][later] >= self.scores[:, 1:][later]).all()), "scores must not rise in a row")
        _need(bool((self.ends[found] > self.starts[found]).all()), "every moment must end after it starts")

    def __len__(self) -> int:
        return len(self.videos)

    @classmethod
    def of(cls, answers: Sequence[RankedMoments], k: int) -> MomentResult:
        """The first k moments of each query's answer."""
        videos, times = np.full((len(answers), k), -1, np.int64), np.zeros((2, len(answers), k))
        scores = np.full((len(answers), k), -np.inf, np.float32)
        for row, answer in enumerate(answers):
            n = min(k, len(answer.videos))
            videos[row, :n], scores[row, :n] = answer.videos[:n], answer.scores[:n]
            times[0, row, :n], times[1, row, :n] = answer.starts[:n], answer.ends[:n]
        return cls(videos, times[0], times[1], scores)


@dataclass(frozen=True, eq=False)
class MomentTruth:
    """The true moments of each query: one or more parts of gallery videos.

    Attributes:
        query_ids: [q]; video_ids: [v] of the gallery.
        videos: one list of video ids a query; an id stands once for each true moment in that video.
        starts, ends: [m] seconds, in the order of `videos.values`.
    """

    query_ids: Int64[np.ndarray, " q"]
    video_ids: Int64[np.ndarray, " v"]
    videos: Ragged
    starts: Float[np.ndarray, " m"]
    ends: Float[np.ndarray, " m"]

    def __post_init__(self) -> None:
        for name, ids in (("query", self.query_ids), ("video", self.video_ids)):
            _need(len(np.unique(ids)) == len(ids), f"{name} ids must be unique")
        _need(int(self.video_ids.min(initial=0)) >= 0, "video ids must be 0 or more: -1 stands for no answer")
        _need(len(self.videos) == len(self.query_ids), "one list of true moments for each query")
        for name, column in (("starts", self.starts), ("ends", self.ends)):
            _need(len(column) == len(self.videos.values), f"{name} must have {len(self.videos.values)} entries")
            _need(bool(np.isfinite(column).all()), f"{name} must be finite")
        _need(bool((self.ends > self.starts).all()), "every moment must end after it starts")
        lost = self.videos.values[~np.isin(self.videos.values, self.video_ids)]
        _need(len(lost) == 0, f"videos names ids that are not in the gallery: {lost[:5].tolist()}")

    def __len__(self) -> int:
        return len(self.query_ids)


@dataclass(frozen=True, eq=False)
class MomentJudgement:
    """How well each answer meets each true moment. Moment metrics take this, never scores.

    Attributes:
        iou: [q, k, t] of the answer at this rank with the query's true moments; 0 in another video, and where the
            query has fewer than t true moments.
        lengths: [q, t] seconds of the true moments; NaN where the query has fewer.
        videos: [q, k] place of the answer's video among the different videos of the list, from 0; -1 where the video
            stood before, or there is no answer.
        same: [q, k, t] the answer is in the video of that true moment.
    """

    iou: Float[np.ndarray, "q k t"]
    lengths: Float[np.ndarray, "q t"]
    videos: Int64[np.ndarray, "q k"]
    same: Bool[np.ndarray, "q k t"]

    def __post_init__(self) -> None:
        q, k, t = self.iou.shape
        _need(self.lengths.shape == (q, t), f"lengths must be {(q, t)}, not {self.lengths.shape}")
        _need(self.videos.shape == (q, k), f"videos must be {(q, k)}, not {self.videos.shape}")
        _need(self.same.shape == (q, k, t), f"same must be {(q, k, t)}, not {self.same.shape}")

    def __len__(self) -> int:
        return len(self.iou)

    @property
    def depth(self) -> int:
        """Number of ranks judged."""
        return int(self.iou.shape[1])

    @property
    def relevant(self) -> NDArray[np.int64]:
        """True moments of each query: [q]."""
        return np.asarray(np.count_nonzero(~np.isnan(self.lengths), axis=1), np.int64)

    def between(self, shortest: float, longest: float) -> MomentJudgement:
        """Only true moments of shortest ≤ seconds < longest; queries without any have nothing relevant.

        As the evaluation of QVHighlights (Lei et al. 2021) does it: answers stay, and one that meets a true moment of
        another length is wrong.
        """
        kept = (self.lengths >= shortest) & (self.lengths < longest)
        iou = np.where(kept[:, None, :], self.iou, 0.0)
        return MomentJudgement(iou, np.where(kept, self.lengths, np.nan), self.videos, self.same & kept[:, None, :])
