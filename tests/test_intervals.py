"""Overlap of intervals, and values that check themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_bench.intervals import MomentJudgement, MomentResult, MomentTruth, RankedMoments, temporal_iou
from retrieval_bench.types import Ragged

seconds = st.floats(0, 1e4, allow_subnormal=False)
lengths = st.floats(1e-3, 1e3)


@pytest.mark.parametrize(
    ("first", "second", "iou"),
    [
        ((0, 10), (0, 10), 1.0),
        ((0, 10), (5, 15), 1 / 3),
        ((0, 10), (2, 7), 0.5),
        ((0, 10), (10, 20), 0.0),
        ((0, 1), (50, 60), 0.0),
        ((-4, 4), (0, 8), 1 / 3),
        ((3, 3), (3, 3), 0.0),  # no length
    ],
)
def test_golden_overlaps(first: tuple, second: tuple, iou: float) -> None:
    assert temporal_iou(*first, *second) == iou
    assert temporal_iou(*second, *first) == iou


@given(seconds, lengths, seconds, lengths)
def test_overlap_is_symmetric_bounded_and_one_with_itself(a: float, m: float, b: float, n: float) -> None:
    iou = float(temporal_iou(a, a + m, b, b + n))
    assert iou == float(temporal_iou(b, b + n, a, a + m))
    assert 0 <= iou <= 1
    assert temporal_iou(a, a + m, a, a + m) == 1


def test_shapes_broadcast() -> None:
    starts, ends = np.array([0.0, 4.0, 9.0]), np.array([2.0, 8.0, 10.0])
    both = temporal_iou(starts[:, None], ends[:, None], starts, ends)
    np.testing.assert_array_equal(both, np.eye(3))


def answer(*moments: tuple) -> RankedMoments:
    videos, starts, ends, scores = (np.array(column) for column in zip(*moments, strict=True))
    return RankedMoments(videos, starts.astype(float), ends.astype(float), scores.astype(np.float32))


NOTHING = RankedMoments(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.float32))


def test_answers_of_different_length_stand_in_one_result() -> None:
    three = answer((4, 1, 3, 0.9), (2, 0, 5, 0.8), (4, 9, 12, 0.1))
    result = MomentResult.of([three, answer((7, 2, 4, 0.5)), NOTHING], 2)
    assert result.videos.tolist() == [[4, 2], [7, -1], [-1, -1]]
    assert result.starts[0].tolist() == [1, 0] and result.ends[1, 0] == 4
    assert result.scores[1].tolist() == [0.5, -np.inf]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"videos": np.array([[-1, 3]])}, "-1 may stand only at the end"),
        ({"scores": np.array([[0.1, 0.2]], np.float32)}, "scores must not rise"),
        ({"scores": np.array([[np.nan, 0.2]], np.float32)}, "NaN"),
        ({"ends": np.array([[1.0, 0.0]])}, "must end after it starts"),
        ({"starts": np.zeros((1, 3))}, r"starts must be \(1, 2\)"),
        ({"videos": np.array([1, 2])}, r"must be \[q, k\]"),
    ],
)
def test_a_bad_result_is_refused(change: dict, message: str) -> None:
    good = {
        "videos": np.array([[1, 3]]),
        "starts": np.zeros((1, 2)),
        "ends": np.ones((1, 2)),
        "scores": np.array([[0.9, 0.8]], np.float32),
    }
    MomentResult(**good)
    with pytest.raises(ValueError, match=message):
        MomentResult(**good | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ends": np.array([4.0, 5.0, 0.5])}, "must end after it starts"),
        ({"ends": np.array([4.0, 5.0])}, "ends must have 3 entries"),
        ({"starts": np.array([0.0, np.nan, 1.0])}, "finite"),
        ({"video_ids": np.array([7, 8])}, r"not in the gallery: \[9\]"),
        ({"video_ids": np.array([7, 8, 9, -1])}, "0 or more"),
        ({"query_ids": np.array([1, 1])}, "query ids must be unique"),
        ({"query_ids": np.array([1, 2, 3])}, "one list of true moments for each query"),
    ],
)
def test_a_bad_truth_is_refused(change: dict, message: str) -> None:
    good = {
        "query_ids": np.array([1, 2]),
        "video_ids": np.array([7, 8, 9]),
        "videos": Ragged(np.array([7, 7, 9]), np.array([0, 2, 3])),
        "starts": np.array([0.0, 4.0, 1.0]),
        "ends": np.array([4.0, 5.0, 2.0]),
    }
    MomentTruth(**good)
    with pytest.raises(ValueError, match=message):
        MomentTruth(**good | change)


def test_a_bad_judgement_is_refused() -> None:
    iou, lengths, videos = np.zeros((1, 2, 3)), np.zeros((1, 3)), np.zeros((1, 2), np.int64)
    MomentJudgement(iou, lengths, videos, iou > 0)
    for wrong in (
        (iou, lengths[:, :2], videos, iou > 0),
        (iou, lengths, videos[:, :1], iou > 0),
        (iou, lengths, videos, iou[:, :1] > 0),
    ):
        with pytest.raises(ValueError, match="must be"):
            MomentJudgement(*wrong)
