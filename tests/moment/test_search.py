"""The whole chain on lists whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_bench.errors import BadConfig
from retrieval_bench.intervals import MomentResult
from retrieval_bench.moment.base import GalleryWindows, QueryWindows
from retrieval_bench.moment.search import Moments
from retrieval_bench.types import Segments, Similarity

VIDEOS, SECONDS, FINE = 12, 120, 4  # segments every quarter second, so that speeds lie on the grid too
VOTED = Moments(rerank=False)


def fine_gallery() -> GalleryWindows:
    starts = np.tile(np.arange(0, SECONDS - 2 + 1 / FINE, 1 / FINE), VIDEOS)
    items = np.repeat(np.arange(VIDEOS) * 7 + 3, len(starts) // VIDEOS)
    return GalleryWindows(Segments(items, starts, starts + 2), None, Similarity.COSINE)


GALLERY = fine_gallery()
ROWS = len(GALLERY.centres) // VIDEOS


def query(windows: int, vectors=None) -> QueryWindows:
    starts = np.arange(windows, dtype=float)
    return QueryWindows(starts, starts + 2, vectors)


def planted(rng, windows: int, start: float, speed: float, video: int, noise: int) -> tuple:
    """Lists of `noise` random hits a window, 8 s off its line at least, and one of the planted moment."""
    centres = start + speed * (np.arange(windows) + 1)
    rows, scores = np.empty((windows, noise + 1), np.int64), np.empty((windows, noise + 1), np.float32)
    for w, centre in enumerate(centres):
        right = video * ROWS + round((centre - 1) * FINE)
        assert GALLERY.centres[right] == pytest.approx(centre, abs=1e-9)
        far = np.flatnonzero((GALLERY.of != video) | (np.abs(GALLERY.centres - centre) > 8))
        found = np.append(rng.choice(far, noise, replace=False), right)
        score = np.append(rng.uniform(0, 0.9, noise), 0.8)
        order = np.argsort(-score, kind="stable")
        rows[w], scores[w] = found[order], score[order]
    return rows, scores


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10_000),
    st.integers(4, 12),
    st.integers(0, VIDEOS - 1),
    st.integers(0, 90),
    st.sampled_from([1.0, 1.25]),
)
def test_a_planted_moment_is_found_exactly(seed: int, windows: int, video: int, start: int, speed: float) -> None:
    lists = planted(np.random.default_rng(seed), windows, float(start), speed, video, noise=24)
    asked = query(windows)
    found = VOTED(*lists, asked, GALLERY)
    assert found.videos[0] == video * 7 + 3
    if speed == 1:  # a few neighbouring windows do not tell a speed: then the one nearest to 1 is taken
        np.testing.assert_allclose([found.starts[0], found.ends[0]], [start, start + windows + 1], atol=1e-9)
    else:
        middle = start + speed * asked.middle
        assert (found.starts[0] + found.ends[0]) / 2 == pytest.approx(middle, abs=0.05)


@pytest.mark.parametrize("speed", [0.75, 1.0, 1.25, 1.5])
def test_a_long_planted_moment_tells_its_speed(speed: float) -> None:
    lists = planted(np.random.default_rng(0), 30, 20.0, speed, 5, noise=24)
    found = replace(VOTED, fastest=1.5)(*lists, query(30), GALLERY)
    np.testing.assert_allclose([found.starts[0], found.ends[0]], [20, 20 + 31 * speed], atol=1e-2)
    assert found.videos[0] == 38
    plain = replace(VOTED, fastest=1.0)(*lists, query(30), GALLERY)
    length = plain.ends[0] - plain.starts[0]
    assert length <= 31 + 1e-9  # what does not allow for speed cannot be right


def test_a_part_of_a_query_gives_a_part_of_a_video() -> None:
    rows, scores = planted(np.random.default_rng(1), 12, 50.0, 1.0, 2, noise=0)
    rows = np.concatenate([rows, np.full((12, 3), -1)], axis=1)
    scores = np.concatenate([scores, np.full((12, 3), -np.inf, np.float32)], axis=1)
    rows[:3, 0], rows[9:, 0] = -1, -1  # the first and last three windows have no answer
    scores[:3, 0], scores[9:, 0] = -np.inf, -np.inf
    found = VOTED(rows, scores, query(12), GALLERY)
    assert [len(column) for column in found] == [1, 1, 1, 1]
    assert (found.videos[0], found.starts[0], found.ends[0]) == (17, 53.0, 60.0)
    rows[5], scores[5] = -1, -np.inf  # a gap within stays within
    assert VOTED(rows, scores, query(12), GALLERY).ends[0] == 60


@pytest.mark.parametrize("windows", [1, 5])
def test_no_answers_give_no_moments(windows: int) -> None:
    rows, scores = np.full((windows, 4), -1), np.full((windows, 4), -np.inf, np.float32)
    for moments in (VOTED, Moments()):
        found = moments(rows, scores, query(windows), GALLERY)
        assert [len(column) for column in found] == [0, 0, 0, 0]
    assert MomentResult.of([found], 3).videos.tolist() == [[-1, -1, -1]]


def test_a_query_longer_than_every_video_is_cut_to_it() -> None:
    short = GalleryWindows(*_short(), Similarity.COSINE)
    asked = query(20, np.tile(short.vectors[2], (20, 1)))
    rows = np.tile(np.arange(4), (20, 1))
    scores = np.tile(np.array([0.9, 0.8, 0.7, 0.6], np.float32), (20, 1))
    for moments in (VOTED, Moments()):
        found = moments(rows, scores, asked, short)
        assert set(found.videos.tolist()) <= {1, 2}
        assert (found.starts >= 0).all() and (found.ends <= 3).all() and (found.ends > found.starts).all()


def _short() -> tuple:
    starts = np.array([0.0, 1.0, 0.0, 1.0])
    return Segments(np.array([1, 1, 2, 2]), starts, starts + 2), np.eye(4, dtype=np.float32)


def test_the_re_rank_uses_the_vectors_and_not_the_votes() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((len(GALLERY.centres), 16)).astype(np.float32)
    videos = GalleryWindows(GALLERY.segments, vectors, Similarity.COSINE)
    right = 4 * ROWS + np.arange(5) * FINE + 40 * FINE  # video 31 from second 40
    wrong = 9 * ROWS + np.arange(5) * FINE + 60 * FINE
    asked = query(5, vectors[right])
    rows = np.stack([wrong, right, np.arange(5)], axis=1)
    scores = np.tile(np.array([0.9, 0.8, 0.1], np.float32), (5, 1))  # a quantised index, say, has them the wrong way
    assert VOTED(rows, scores, asked, videos).videos[0] == 66
    found = Moments()(rows, scores, asked, videos)
    assert (found.videos[0], found.starts[0], found.ends[0]) == (31, 40.0, 46.0)
    assert found.scores[0] == pytest.approx(1, abs=1e-6)
    assert found.scores[1] < 0.5


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(2, 10), st.sampled_from([None, 0.3, 0.5, 1.0]), st.booleans())
def test_answers_are_sound(seed: int, windows: int, suppress: float | None, rerank: bool) -> None:
    rng = np.random.default_rng(seed)
    videos = GalleryWindows(
        GALLERY.segments, rng.standard_normal((len(GALLERY.centres), 4)).astype(np.float32), Similarity.EUCLIDEAN
    )
    rows = np.stack([rng.choice(len(videos.centres), 20, replace=False) for _ in range(windows)])
    scores = -np.sort(rng.random((windows, 20)).astype(np.float32), axis=1)
    short = rng.integers(0, 21, windows)[:, None] <= np.arange(20)
    rows[short], scores[short] = -1, -np.inf
    moments = Moments(suppress=suppress, rerank=rerank, moments=7)
    inputs = rows.copy(), scores.copy()
    asked = query(windows, rng.standard_normal((windows, 4)))
    found = moments(rows, scores, asked, videos)
    assert len(found.videos) <= 7
    MomentResult.of([found], 7)  # checks itself
    assert (found.starts >= 0).all() and (found.ends <= SECONDS).all()
    np.testing.assert_array_equal(rows, inputs[0])
    np.testing.assert_array_equal(scores, inputs[1])
    for one, two in zip(found, moments(rows, scores, asked, videos), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("similarity", [Similarity.COSINE, Similarity.EUCLIDEAN])
def test_scores_of_any_scale_give_the_same_moments(similarity: Similarity) -> None:
    rows, scores = planted(np.random.default_rng(5), 8, 30.0, 1.0, 3, noise=12)
    first = VOTED(rows, scores, query(8), GALLERY)
    moved = VOTED(rows, scores * np.float32(4) - np.float32(16), query(8), GALLERY)  # all below 0
    for one, two in zip(first[:3], moved[:3], strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_one_window_is_merged() -> None:
    rows, scores = np.array([[40, 44, 400, -1]]), np.array([[0.9, 0.8, 0.3, -np.inf]], np.float32)
    found = Moments(moments=1)(rows, scores, query(1), GALLERY)
    assert (found.videos.tolist(), found.starts.tolist(), found.ends.tolist()) == ([3], [10.0], [13.0])
    assert found.scores[0] == np.float32(0.9)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": 0}, "moment.window=0: more than 0"),
        ({"stride": np.nan}, "moment.stride=nan: more than 0"),
        ({"candidates": 0}, "moment.candidates=0"),
        ({"moments": -1}, "moment.moments=-1"),
        ({"fastest": 0.9}, r"moment.fastest=0.9: 1 … 4"),
        ({"suppress": 0.0}, "moment.suppress=0.0: above 0"),
        ({"suppress": 1.5}, "or null for none"),
    ],
)
def test_parameters_out_of_range(wrong: dict, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        Moments(**wrong)


def test_lists_must_fit_the_query() -> None:
    with pytest.raises(ValueError, match="2 lists for 3 query windows"):
        VOTED(np.zeros((2, 1), np.int64), np.zeros((2, 1), np.float32), query(3), GALLERY)
    with pytest.raises(ValueError, match="without vectors"):
        Moments()(np.zeros((3, 1), np.int64), np.zeros((3, 1), np.float32), query(3), GALLERY)
