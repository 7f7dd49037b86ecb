"""Windows cover every second of every video."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_bench.moment.windows import SLACK, windows


def cut(duration: float, window: float = 2.0, stride: float = 1.0) -> list[tuple[float, float]]:
    found = windows(np.array([3]), np.array([duration]), window, stride)
    return list(zip(found.starts.tolist(), found.ends.tolist(), strict=True))


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (4.0, [(0, 2), (1, 3), (2, 4)]),
        (4.25, [(0, 2), (1, 3), (2, 4), (2.25, 4.25)]),  # the last one ends with the video
        (2.0, [(0, 2)]),
        (1.25, [(0, 1.25)]),  # shorter than a window: all of it
        (4.0 + SLACK / 2, [(0, 2), (1, 3), (2, 4)]),  # rounding is no second
        (4.0 - SLACK / 2, [(0, 2), (1, 3), (2 - SLACK / 2, 4 - SLACK / 2)]),
    ],
)
def test_golden_windows(duration: float, expected: list) -> None:
    assert cut(duration) == [pytest.approx(pair, abs=1e-12) for pair in expected]


def test_other_strides() -> None:
    assert cut(5.0, 2.0, 1.5) == [(0, 2), (1.5, 3.5), (3, 5)]
    assert cut(7.0, 1.0, 3.0) == [(0, 1), (3, 4), (6, 7)]  # with gaps


def test_videos_in_any_order_are_sorted_by_id() -> None:
    found = windows(np.array([9, 2]), np.array([3.0, 2.0]), 2.0, 1.0)
    assert found.items.tolist() == [2, 9, 9]
    assert found.starts.tolist() == [0, 0, 1]


@settings(deadline=None)
@given(
    st.lists(st.floats(0.01, 300), min_size=1, max_size=5), st.floats(0.1, 20), st.floats(0.1, 1), st.integers(0, 2**40)
)
def test_windows_cover_and_have_one_length(durations: list, window: float, part: float, first: int) -> None:
    stride = window * part
    ids = first + np.arange(len(durations))
    found = windows(ids, np.array(durations), window, stride)
    for video, duration in zip(ids.tolist(), durations, strict=True):
        mine = found.items == video
        starts, ends = found.starts[mine], found.ends[mine]
        assert starts[0] == 0 and ends[-1] == pytest.approx(duration, abs=SLACK)
        np.testing.assert_allclose(ends - starts, min(window, duration), rtol=1e-9)
        assert (np.diff(starts) > 0).all() and (np.diff(starts) <= stride + 1e-9).all()
        assert (np.diff(starts)[:-1] >= stride - 1e-9).all()
        assert (ends <= duration).all()


def test_wrong_numbers() -> None:
    one, long = np.array([3]), np.array([4.0])
    for window, stride in ((0.0, 1.0), (1.0, -1.0), (np.nan, 1.0), (1.0, np.inf)):
        with pytest.raises(ValueError, match="positive"):
            windows(one, long, window, stride)
    with pytest.raises(ValueError, match=r"videos \[5, 6\] last \[0.0, nan\] s"):
        windows(np.array([4, 5, 6]), np.array([1.0, 0.0, np.nan]), 2.0, 1.0)
    with pytest.raises(ValueError, match="unique"):
        windows(np.array([4, 4]), np.array([1.0, 2.0]), 2.0, 1.0)
