"""Moment metrics against hand-made values, slow references and the properties that they must have."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_bench.intervals import MomentJudgement, MomentResult, MomentTruth, RankedMoments
from retrieval_bench.metric.moment_average_precision import IOUS, moment_average_precision
from retrieval_bench.metric.moment_hit_rate import moment_hit_rate
from retrieval_bench.metric.moment_iou import moment_iou
from retrieval_bench.metric.video_hit_rate import video_hit_rate
from retrieval_bench.moment_truth import judge_moments, moment_values
from retrieval_bench.stats import bootstrap_columns
from retrieval_bench.types import Ragged

Moment = tuple[int, float, float]
DEPTH = 10


def judged(asked: list[tuple[list[Moment], list[Moment]]], depth: int = DEPTH) -> MomentJudgement:
    """(answers, true moments) of each query."""
    return judge_moments(*values_of(asked, depth))


def values_of(asked: list[tuple[list[Moment], list[Moment]]], depth: int = DEPTH) -> tuple[MomentResult, MomentTruth]:
    answers = [
        RankedMoments(
            np.array([m[0] for m in found], np.int64),
            np.array([m[1] for m in found], np.float64),
            np.array([m[2] for m in found], np.float64),
            -np.arange(len(found), dtype=np.float32),
        )
        for found, _ in asked
    ]
    true = [moment for _, moments in asked for moment in moments]
    offsets = np.concatenate([[0], np.cumsum([len(moments) for _, moments in asked])]).astype(np.int64)
    truth = MomentTruth(
        np.arange(len(asked)) + 100,
        np.arange(6),
        Ragged(np.array([m[0] for m in true], np.int64), offsets),
        np.array([m[1] for m in true], np.float64),
        np.array([m[2] for m in true], np.float64),
    )
    return MomentResult.of(answers, depth), truth


# Slow references, one query at a time.
def overlap(a: Moment, b: Moment) -> float:
    if a[0] != b[0]:
        return 0.0
    shared = max(0.0, min(a[2], b[2]) - max(a[1], b[1]))
    return shared / ((a[2] - a[1]) + (b[2] - b[1]) - shared)


def reference_hit(found: list[Moment], true: list[Moment], k: int, iou: float) -> float:
    return float(any(overlap(f, t) >= iou for f in found[:k] for t in true))


def reference_iou(found: list[Moment], true: list[Moment], k: int) -> float:
    return max([overlap(f, t) for f in found[:k] for t in true], default=0.0)


def reference_video(found: list[Moment], true: list[Moment], k: int) -> float:
    return float(bool(set(list(dict.fromkeys(f[0] for f in found))[:k]) & {t[0] for t in true}))


def reference_precision(found: list[Moment], true: list[Moment], iou: float) -> float:
    """The evaluation of ActivityNet detection: matching in rank order, then the area under the interpolated curve."""
    locked, right = set(), []
    for f in found:
        best = max((t for t in range(len(true)) if t not in locked), key=lambda t: overlap(f, true[t]), default=None)
        right.append(best is not None and overlap(f, true[best]) >= iou)
        if right[-1]:
            locked.add(best)
    recall, precision = [0.0], [0.0]
    for rank in range(len(found)):
        recall.append(sum(right[: rank + 1]) / len(true))
        precision.append(sum(right[: rank + 1]) / (rank + 1))
    recall.append(1.0)
    precision.append(0.0)
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


# Times on a grid: shifted ones are then exact, and many overlaps lie exactly on a threshold.
moments = st.builds(
    lambda video, start, length: (video, start / 4, (start + length) / 4),
    st.integers(0, 5),
    st.integers(0, 160),
    st.integers(1, 160),
)
queries = st.lists(
    st.tuples(st.lists(moments, max_size=DEPTH), st.lists(moments, min_size=1, max_size=4)), min_size=1, max_size=6
)


@settings(deadline=None, max_examples=60)
@given(queries)
def test_metrics_equal_their_references(asked: list) -> None:
    judgement = judged(asked)
    for k in (1, 3, DEPTH):
        np.testing.assert_array_equal(video_hit_rate(judgement, k), [reference_video(f, t, k) for f, t in asked])
        np.testing.assert_allclose(moment_iou(judgement, k), [reference_iou(f, t, k) for f, t in asked], atol=1e-12)
        for iou in (0.3, 0.5, 0.7):
            expected = [reference_hit(f, t, k, iou - 1e-12) for f, t in asked]
            np.testing.assert_array_equal(moment_hit_rate(judgement, k, iou), expected)
        expected = [np.mean([reference_precision(f[:k], t, iou - 1e-12) for iou in IOUS]) for f, t in asked]
        np.testing.assert_allclose(moment_average_precision(judgement, k), expected, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(queries, st.integers(-400, 4000), st.randoms(use_true_random=False))
def test_metrics_do_not_depend_on_shifts_or_the_order_of_queries(asked: list, shift: int, random) -> None:
    values = moment_values(judged(asked))
    moved = [tuple([(v, s + shift, e + shift) for v, s, e in side] for side in both) for both in asked]
    order = list(range(len(asked)))
    random.shuffle(order)
    for name, column in moment_values(judged([moved[i] for i in order])).items():
        np.testing.assert_array_equal(column, values[name][order])


@settings(deadline=None, max_examples=40)
@given(queries)
def test_metrics_are_bounded_and_rise_and_fall_as_they_should(asked: list) -> None:
    judgement = judged(asked)
    rates = np.array([[moment_hit_rate(judgement, k, iou) for iou in (0.1, 0.3, 0.5, 0.7, 1)] for k in range(1, DEPTH)])
    assert (np.diff(rates, axis=0) >= 0).all() and (np.diff(rates, axis=1) <= 0).all()
    for k in range(1, DEPTH):
        assert (video_hit_rate(judgement, k) >= moment_hit_rate(judgement, k, 0.01)).all()
        assert (moment_iou(judgement, k) <= video_hit_rate(judgement, k)).all()
    for column in moment_values(judgement).values():
        known = column[~np.isnan(column)]
        assert ((known >= 0) & (known <= 1)).all()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(moments, min_size=1, max_size=4, unique=True), min_size=1, max_size=5))
def test_perfect_answers_score_one_everywhere(true: list) -> None:
    for name, column in moment_values(judged([(one, one) for one in true])).items():
        if not name.partition("@")[0].endswith(("short", "medium", "long")):  # the first may have another length
            assert (column == 1).all()
    for column in moment_values(judged([(one[:1], one[:1]) for one in true])).values():
        assert set(column[~np.isnan(column)]) <= {1.0}


def test_golden_values() -> None:
    # IoU 6/10 with the first true moment, then another video, then the second true moment, then the first one again.
    found = [(0, 0.0, 6.0), (3, 0.0, 10.0), (1, 20.0, 60.0), (0, 0.0, 10.0)]
    judgement = judged([(found, [(0, 0.0, 10.0), (1, 20.0, 60.0)])])
    assert [float(moment_hit_rate(judgement, 1, iou)[0]) for iou in (0.3, 0.5, 0.6, 0.7)] == [1, 1, 1, 0]
    assert [float(moment_hit_rate(judgement, k, 0.7)[0]) for k in (1, 2, 3)] == [0, 0, 1]
    assert [float(moment_iou(judgement, k)[0]) for k in (1, 2, 3)] == [0.6, 0.6, 1]
    # IoU ≤ 0.6: right, wrong, right, taken: (1 + 2/3)/2. Above: wrong, wrong, right, right: (1/2 + 1/2)/2.
    assert moment_average_precision(judgement, 4, [0.5]) == pytest.approx((1 + 2 / 3) / 2)
    assert moment_average_precision(judgement, 4, [0.65]) == 0.5
    assert moment_average_precision(judgement, 4) == pytest.approx((3 * (1 + 2 / 3) / 2 + 7 * 0.5) / 10)
    assert moment_average_precision(judgement, 2, [0.5]) == 0.5
    values = moment_values(judgement)
    assert values["moment_hit_rate_iou0.7@10"] == 1 and values["moment_hit_rate_iou0.7@1"] == 0
    assert math.isnan(values["moment_hit_rate_iou0.5_short@1"][0])  # both true moments last 10 s or longer
    assert values["moment_hit_rate_iou0.5_medium@1"] == 1 and values["moment_hit_rate_iou0.5_long@1"] == 0
    assert values["moment_average_precision_long"] == pytest.approx(1 / 3)


def test_every_answer_takes_one_true_moment_only() -> None:
    true = [(0, 0.0, 10.0), (0, 0.5, 10.0)]
    assert moment_average_precision(judged([([(0, 0.0, 10.0)], true)]), 1, [0.5]) == 0.5
    assert moment_average_precision(judged([([(0, 0.0, 10.0), (0, 0.2, 10.0)], true)]), 2, [0.5]) == 1
    assert moment_average_precision(judged([([(0, 0.0, 10.0)] * 4, true[:1])]), 4, [0.5]) == 1


def test_missing_answers_and_missing_true_moments_do_not_meet() -> None:
    judgement = judged([([(0, 0.0, 5.0)], [(0, 0.0, 5.0)]), ([], [(0, 0.0, 5.0), (1, 0.0, 5.0)])], depth=2)
    assert judgement.same.tolist() == [[[True, False], [False, False]], [[False, False], [False, False]]]
    assert judgement.relevant.tolist() == [1, 2] and judgement.videos.tolist() == [[0, -1], [-1, -1]]


def test_a_video_counts_once_at_its_best_rank() -> None:
    judgement = judged([([(2, 0.0, 1.0), (2, 5.0, 6.0), (4, 0.0, 1.0)], [(4, 90.0, 95.0)])])
    assert [float(video_hit_rate(judgement, k)[0]) for k in (1, 2, 3)] == [0, 1, 1]
    assert moment_iou(judgement, 3) == 0


def test_lengths_on_the_borders() -> None:
    asked = [([(0, 0.0, length)], [(0, 0.0, length)]) for length in (9.75, 10.0, 29.75, 30.0)]
    values = moment_values(judged(asked))
    known = {
        name: np.flatnonzero(~np.isnan(values[f"moment_average_precision_{name}"])).tolist()
        for name in ("short", "medium", "long")
    }
    assert known == {"short": [0], "medium": [1, 2], "long": [3]}


def test_no_answers_score_zero_and_no_truth_is_left_out() -> None:
    values = moment_values(judged([([], [(0, 0.0, 5.0)]), ([(0, 0.0, 5.0)], [])]))
    for name, column in values.items():
        assert math.isnan(column[1]), name
        assert column[0] == 0 or name.partition("@")[0].endswith(("medium", "long")), name
    only = judged([([(0, 0.0, 5.0)], [])])
    assert all(math.isnan(column[0]) for column in moment_values(only).values())


def test_columns() -> None:
    asked = [([(0, 0.0, 5.0)], [(0, 0.0, 5.0)])]
    names = list(moment_values(judged(asked)))
    assert names[:3] == ["moment_hit_rate_iou0.3@1", "moment_hit_rate_iou0.3@5", "moment_hit_rate_iou0.3@10"]
    assert len(names) == 9 + 1 + 3 + 3 + 6
    assert all(int(name.partition("@")[2] or 0) >= 0 for name in names)  # what the report reads them by
    shallow = moment_values(judged(asked, 5))
    assert "video_hit_rate@5" in shallow and "video_hit_rate@10" not in shallow


def test_values_per_query_have_intervals() -> None:
    asked = [([(0, 0.0, 5.0)], [(0, 0.0, 5.0 if i % 2 else 50.0)]) for i in range(20)]
    found = bootstrap_columns(moment_values(judged(asked)), seed=0)["moment_hit_rate_iou0.5@1"]
    assert found.value == 0.5 and found.lo < 0.5 < found.hi


def test_wrong_arguments() -> None:
    judgement = judged([([], [(0, 0.0, 5.0)])])
    for metric in (moment_hit_rate, moment_iou, video_hit_rate, moment_average_precision):
        for k in (0, DEPTH + 1):
            with pytest.raises(ValueError, match="cut-off"):
                metric(judgement, k)
    with pytest.raises(ValueError, match="iou"):
        moment_hit_rate(judgement, 1, 0.0)
    for wrong in ([], [1.5]):
        with pytest.raises(ValueError, match="ious"):
            moment_average_precision(judgement, 1, wrong)
    result, _ = values_of([([], [(0, 0.0, 5.0)])])
    with pytest.raises(ValueError, match="1 rows of answers for 2 queries"):
        judge_moments(result, values_of([([], []), ([], [])])[1])
