"""Non-maximum suppression against the greedy loop."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_bench.intervals import temporal_iou
from retrieval_bench.moment.suppression import suppressed

moments = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(1, 30), st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.9])),
    max_size=25,
)
thresholds = st.sampled_from([0.1, 0.3, 0.5, 0.7, 1.0])


def columns(found: list) -> tuple:
    video, start, length, score = np.array(found, np.float64).reshape(-1, 4).T
    return video.astype(np.int64), start, start + length, score


def reference(found: list, threshold: float) -> list[int]:
    """Greedy, one after another."""
    kept: list[int] = []
    for i in sorted(range(len(found)), key=lambda i: (-found[i][3], *found[i][:3])):
        video, start, length, _ = found[i]
        for j in kept:
            other, begin, long, _ = found[j]
            shared = max(0, min(start + length, begin + long) - max(start, begin))
            if other == video and shared / (length + long - shared) >= threshold:
                break
        else:
            kept.append(i)
    return kept


@settings(deadline=None, max_examples=200)
@given(moments, thresholds)
def test_equals_the_greedy_loop(found: list, threshold: float) -> None:
    assert suppressed(*columns(found), threshold).tolist() == reference(found, threshold)


@settings(deadline=None)
@given(moments, thresholds)
def test_what_is_left_overlaps_little_and_holds_the_best(found: list, threshold: float) -> None:
    videos, starts, ends, scores = columns(found)
    kept = suppressed(videos, starts, ends, scores, threshold)
    assert len(kept) > 0 or not found
    if found:
        assert scores[kept[0]] == scores.max()
    assert (np.diff(scores[kept]) <= 0).all()
    s, e = starts[kept], ends[kept]
    over = (temporal_iou(s[:, None], e[:, None], s, e) >= threshold) & (videos[kept][:, None] == videos[kept])
    assert (over == np.eye(len(kept), dtype=bool)).all()


@settings(deadline=None)
@given(moments, thresholds, st.randoms(use_true_random=False))
def test_the_order_of_the_input_decides_nothing(found: list, threshold: float, random) -> None:
    shuffled = random.sample(found, len(found))
    first, second = columns(found), columns(shuffled)
    one, two = suppressed(*first, threshold), suppressed(*second, threshold)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a[one], b[two])


def test_a_suppressed_moment_suppresses_nothing() -> None:
    # 0-10 removes 3-13 (IoU 7/13), which would have removed 6-16.
    found = [(0, 0, 10, 0.9), (0, 3, 10, 0.8), (0, 6, 10, 0.7)]
    assert suppressed(*columns(found), 0.5).tolist() == [0, 2]
    assert suppressed(*columns([(0, 0, 10, 0.9), (1, 0, 10, 0.8)]), 0.5).tolist() == [0, 1]  # another video
    assert suppressed(*columns([(0, 0, 10, 0.9), (0, 0, 5, 0.8)]), 0.5).tolist() == [0]  # exactly the threshold
