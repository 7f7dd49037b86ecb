"""Golden indices by hand; properties; a slow reference that walks through time."""

from __future__ import annotations

from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_bench.errors import BadConfig
from retrieval_bench.media.sampling import (
    DenseSampling,
    Sampling,
    SegmentSampling,
    UniformSampling,
    ViewSampling,
    dense,
    segment_centres,
    uniform,
    views,
    windows,
)

SAMPLINGS = [
    SegmentSampling(8),
    DenseSampling(16, 4),
    UniformSampling(1.5, 10),
    UniformSampling(2, None),
    ViewSampling(3, 4, 5),
]
lengths = st.integers(1, 2000)
rates = st.sampled_from([1.0, 5.0, 12.5, 24000 / 1001, 25.0, 30000 / 1001, 60.0])


@pytest.mark.parametrize(
    ("n", "count", "expected"),
    [
        (80, 8, [5, 15, 25, 35, 45, 55, 65, 75]),
        (10, 3, [1, 5, 8]),
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (3, 8, [0, 0, 0, 1, 1, 2, 2, 2]),
        (1, 3, [0, 0, 0]),
        (7, 1, [3]),
    ],
)
def test_segment_centres(n: int, count: int, expected: list[int]) -> None:
    assert segment_centres(n, count).tolist() == expected


@pytest.mark.parametrize(
    ("n", "count", "stride", "expected"),
    [
        (100, 4, 8, [37, 45, 53, 61]),
        (13, 4, 4, [0, 4, 8, 12]),
        (14, 4, 4, [0, 4, 8, 12]),
        (15, 4, 4, [1, 5, 9, 13]),
        (10, 4, 4, [0, 4, 8, 9]),
        (1, 3, 2, [0, 0, 0]),
    ],
)
def test_dense(n: int, count: int, stride: int, expected: list[int]) -> None:
    assert dense(n, count, stride).tolist() == expected


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (20, [[0, 2, 4], [7, 9, 11], [15, 17, 19]]),
        (5, [[0, 2, 4]] * 3),
        (6, [[0, 2, 4], [0, 2, 4], [1, 3, 5]]),
        (2, [[0, 1, 1]] * 3),
    ],
)
def test_views(n: int, expected: list[list[int]]) -> None:
    assert views(n, 3, 2, 3).reshape(3, 3).tolist() == expected


@pytest.mark.parametrize(
    ("n", "rate", "per_second", "most", "expected"),
    [
        (100, 25.0, 1.0, None, [0, 25, 50, 75]),
        (101, 25.0, 1.0, None, [0, 25, 50, 75, 100]),
        (100, 25.0, 1.0, 2, [25, 75]),
        (6, 30000 / 1001, 30000 / 1001, None, [0, 1, 2, 3, 4, 5]),
        (90, 30000 / 1001, 1.0, None, [0, 29, 59, 89]),
        (3, 1.0, 2.0, None, [0, 0, 1, 1, 2, 2]),
        (1, 25.0, 1.0, 4, [0]),
    ],
)
def test_uniform(n: int, rate: float, per_second: float, most: int | None, expected: list[int]) -> None:
    assert uniform(n, rate, per_second, most).tolist() == expected


@given(n=st.integers(1, 400), rate=rates, per_second=rates)
def test_uniform_is_the_frame_shown_at_each_time(n: int, rate: float, per_second: float) -> None:
    expected = []
    while (index := floor(len(expected) * rate / per_second + 1e-6)) < n:
        expected.append(index)
    assert uniform(n, rate, per_second).tolist() == expected


@given(n=lengths, rate=rates, sampling=st.sampled_from(SAMPLINGS))
def test_an_index_is_always_a_frame(n: int, rate: float, sampling: Sampling) -> None:
    found = sampling.indices(n, rate)
    assert found.dtype == np.int64 and found.ndim == 1
    assert len(found) >= 1 and found.min() >= 0 and found.max() < n
    if not isinstance(sampling, ViewSampling):
        assert (np.diff(found) >= 0).all()
    assert sampling.indices(1, rate).max() == 0


@pytest.mark.parametrize(
    ("n", "rate", "window", "stride", "expected"),
    [
        (10, 2.0, 2.0, 1.5, [[0, 4], [3, 7], [6, 10]]),
        (11, 2.0, 2.0, 1.5, [[0, 4], [3, 7], [6, 10], [7, 11]]),
        (4, 2.0, 2.0, 1.0, [[0, 4]]),
        (3, 2.0, 2.0, 1.0, [[0, 3]]),
        (1, 25.0, 2.0, 1.0, [[0, 1]]),
        (4, 1.0, 0.1, 0.1, [[0, 1], [1, 2], [2, 3], [3, 4]]),
        (100, 25.0, 2.0, 1.0, [[0, 50], [25, 75], [50, 100]]),
        (7, 1.0, 2.0, 5.0, [[0, 2], [5, 7]]),
        (95, 30000 / 1001, 2.0, 1.0, [[0, 60], [30, 90], [35, 95]]),
    ],
)
def test_windows(n: int, rate: float, window: float, stride: float, expected: list[list[int]]) -> None:
    found = windows(n, rate, window, stride)
    assert found.frames.tolist() == expected and found.frames.dtype == np.int64
    np.testing.assert_array_equal(found.times, np.array(expected) / rate)


@given(n=lengths, rate=rates, window=st.floats(0.05, 9), stride=st.floats(0.02, 9))
def test_windows_cover_the_video_from_start_to_end(n: int, rate: float, window: float, stride: float) -> None:
    frames = windows(n, rate, window, stride).frames
    starts, ends = frames.T
    assert starts[0] == 0 and ends[-1] == n
    assert (np.diff(starts) > 0).all() and len(set(ends - starts)) == 1
    assert ends[0] == min(n, max(1, round(window * rate)))
    if stride <= window - 1 / rate:  # nothing between two windows is left out
        assert (starts[1:] <= ends[:-1]).all()


@pytest.mark.parametrize(("window", "stride"), [(0, 1), (1, 0), (-1, 1), (float("nan"), 1), (1, float("inf"))])
def test_a_window_is_a_positive_time(window: float, stride: float) -> None:
    with pytest.raises(BadConfig, match="positive numbers of seconds"):
        windows(10, 2.0, window, stride)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SegmentSampling(0),
        lambda: SegmentSampling(2.0),  # type: ignore[arg-type]
        lambda: SegmentSampling(True),
        lambda: DenseSampling(4, 0),
        lambda: UniformSampling(0.0),
        lambda: UniformSampling(float("inf")),
        lambda: UniformSampling(1.0, 0),
        lambda: ViewSampling(clips=-1),
    ],
)
def test_a_wrong_parameter_is_named(make) -> None:
    with pytest.raises(BadConfig, match=r"^sampling\.\w+=.*: type a "):
        make()


def test_a_description_tells_the_parameters() -> None:
    assert [sampling.describe() for sampling in SAMPLINGS] == [
        {"name": "segments", "frames": 8},
        {"name": "dense", "frames": 16, "stride": 4},
        {"name": "uniform", "per_second": 1.5, "most": 10},
        {"name": "uniform", "per_second": 2, "most": None},
        {"name": "views", "clips": 3, "frames": 4, "stride": 5},
    ]


def test_a_video_without_frames_is_a_mistake_of_the_caller() -> None:
    for call in (lambda: segment_centres(0, 8), lambda: uniform(4, 0.0, 1.0), lambda: windows(4, -1.0, 1, 1)):
        with pytest.raises(ValueError, match="frames"):
            call()
