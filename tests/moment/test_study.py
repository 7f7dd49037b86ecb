"""Made-up videos searched exactly, then by an index that misses more and more: moments degrade slowly."""

from functools import cache

import numpy as np
import pytest
from synthetic_moments import Study, answers, lists, study

from retrieval_bench.intervals import MomentResult
from retrieval_bench.moment.base import QueryWindows
from retrieval_bench.moment.search import Moments
from retrieval_bench.moment_truth import judge_moments, moment_values

COLUMNS = ("moment_hit_rate_iou0.5@1", "moment_hit_rate_iou0.7@1", "moment_iou@1", "video_hit_rate@1")


@cache
def made() -> Study:
    return study(videos=25, queries=80, noise=2.0, seed=7)


def means(result: MomentResult) -> list[float]:
    found = moment_values(judge_moments(result, made().truth))
    return [round(float(np.nanmean(found[name])), 4) for name in COLUMNS]


@pytest.mark.parametrize(
    ("dropped", "expected"),
    [
        (0.0, [1.0, 0.9875, 0.9368, 1.0]),
        (0.5, [0.9875, 0.925, 0.9139, 1.0]),
        (0.7, [0.975, 0.9, 0.879, 1.0]),
        (0.9, [0.9625, 0.8625, 0.8398, 0.975]),  # one neighbour in ten is found, and 0.96 of the moments
    ],
)
def test_moments_degrade_slowly(dropped: float, expected: list) -> None:
    assert means(answers(made(), Moments(), 50, dropped)) == expected


@pytest.mark.parametrize(
    ("dropped", "expected"), [(0.0, [1.0, 0.9875, 0.9368, 1.0]), (0.9, [0.7625, 0.575, 0.6315, 0.8375])]
)
def test_votes_alone_need_more_neighbours(dropped: float, expected: list) -> None:
    assert means(answers(made(), Moments(rerank=False), 50, dropped)) == expected


@pytest.mark.slow
def test_offsets_alone_place_clips_of_another_speed_worse() -> None:
    assert means(answers(made(), Moments(fastest=1.0))) == [1.0, 0.9125, 0.871, 1.0]


@pytest.mark.slow
def test_missed_neighbours_are_missed() -> None:
    exact, poor = (lists(made(), 50, dropped, 1) for dropped in (0.0, 0.9))
    rows = [np.concatenate([found for found, _ in side]) for side in (exact, poor)]
    kept = [len(np.intersect1d(a, b)) / 50 for a, b in zip(*rows, strict=True)]
    assert round(float(np.mean(kept)), 3) == 0.101


def test_one_vector_finds_the_video_but_not_the_length() -> None:
    """Of each query the window in its middle: its neighbours say little of how long the rest of the clip is."""
    found = []
    for query, (rows, scores) in zip(made().queries, lists(made(), 50, 0.0, 1), strict=True):
        at = slice(len(query) // 2, len(query) // 2 + 1)
        one = QueryWindows(query.starts[at], query.ends[at], query.vectors[at])
        found.append(Moments()(rows[at], scores[at], one, made().gallery))
    assert means(MomentResult.of(found, 20)) == [0.0375, 0.0, 0.0772, 0.3125]
