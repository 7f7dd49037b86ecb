"""Which ranked moments are right, and every moment metric of them (MEASURING.md, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.intervals import MomentJudgement, MomentResult, MomentTruth, temporal_iou
from retrieval_bench.metric.moment_average_precision import moment_average_precision
from retrieval_bench.metric.moment_hit_rate import moment_hit_rate
from retrieval_bench.metric.moment_iou import moment_iou
from retrieval_bench.metric.video_hit_rate import video_hit_rate

Values = NDArray[np.float64]
CUTS = (1, 5, 10)
IOUS = (0.3, 0.5, 0.7)


class MomentLength(StrEnum):
    """Groups of true moments: short < 10 s ≤ medium < 30 s ≤ long."""

    SHORT = "short"
    MEDIUM = "medium"
    LONG = "long"


BORDERS = {
    MomentLength.SHORT: (0.0, 10.0),
    MomentLength.MEDIUM: (10.0, 30.0),
    MomentLength.LONG: (30.0, np.inf),
}


def judge_moments(result: MomentResult, truth: MomentTruth) -> MomentJudgement:
    """How well each answer meets each true moment of its query.

    Raises:
        ValueError: `result` does not hold one row for each query of `truth`.
    """
    if len(result) != len(truth):
        raise ValueError(f"{len(result)} rows of answers for {len(truth)} queries; give one row each")
    counts = np.diff(truth.videos.offsets)
    filled = np.arange(counts.max(initial=0)) < counts[:, None]  # [q, t]
    videos, times = np.full(filled.shape, -1, np.int64), np.zeros((2, *filled.shape))
    videos[filled], times[0][filled], times[1][filled] = truth.videos.values, truth.starts, truth.ends
    same = (result.videos[:, :, None] == videos[:, None, :]) & filled[:, None, :]
    iou = temporal_iou(result.starts[:, :, None], result.ends[:, :, None], times[0][:, None, :], times[1][:, None, :])
    lengths = np.where(filled, times[1] - times[0], np.nan)
    return MomentJudgement(np.where(same, iou, 0.0), lengths, _places_of_videos(result.videos), same)


def _places_of_videos(videos: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each answer's video among the different ones of its row; -1 where it stood before or is missing."""
    k = videos.shape[1]
    before = np.tri(k, k=-1, dtype=np.bool_)
    fresh = (videos >= 0) & ~((videos[:, :, None] == videos[:, None, :]) & before).any(axis=2)
    return np.where(fresh, np.cumsum(fresh, axis=1) - 1, -1)


def moment_values(
    judgement: MomentJudgement, cuts: Sequence[int] = CUTS, ious: Sequence[float] = IOUS
) -> dict[str, Values]:
    """Every moment metric of every query: column → [q]; NaN for queries without a true moment (of that length).

    Columns: `moment_hit_rate_iou<m>@<n>`, `moment_average_precision` (over the whole list), `moment_iou@<n>`,
    `video_hit_rate@<n>`; and by length `moment_hit_rate_iou0.5_short@1`, `moment_average_precision_short`, ….
    Cut-offs beyond the judged depth are left out.
    """
    cuts = [cut for cut in cuts if cut <= judgement.depth]
    values: dict[str, Values] = {}
    for iou in ious:
        values |= {f"moment_hit_rate_iou{iou:g}@{cut}": moment_hit_rate(judgement, cut, iou) for cut in cuts}
    values["moment_average_precision"] = moment_average_precision(judgement, judgement.depth)
    values |= {f"moment_iou@{cut}": moment_iou(judgement, cut) for cut in cuts}
    values |= {f"video_hit_rate@{cut}": video_hit_rate(judgement, cut) for cut in cuts}
    for length, borders in BORDERS.items():
        part = judgement.between(*borders)
        values[f"moment_hit_rate_iou0.5_{length}@1"] = moment_hit_rate(part, 1, 0.5)
        values[f"moment_average_precision_{length}"] = moment_average_precision(part, part.depth)
    return values
