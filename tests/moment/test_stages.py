"""Each stage of moment search alone, against hand-made values and slow references."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_moments import windows

from retrieval_bench.moment import voting
from retrieval_bench.moment.base import GalleryWindows, Hits, Lines, QueryWindows
from retrieval_bench.moment.candidates import candidates
from retrieval_bench.moment.fitting import DAMPING, ROUNDS, Pairs, fit, support
from retrieval_bench.moment.hits import LEAST, weighted
from retrieval_bench.moment.merging import merged
from retrieval_bench.moment.reranking import aligned
from retrieval_bench.moment.trimming import trimmed
from retrieval_bench.moment.voting import peaks, speeds, vote
from retrieval_bench.types import Segments, Similarity

INF = np.float32(np.inf)


def query(duration: float, vectors=None) -> QueryWindows:
    cut = windows(np.zeros(1, np.int64), np.array([duration]), 2.0, 1.0)
    return QueryWindows(cut.starts, cut.ends, vectors)


def gallery(*durations: float, vectors=None, similarity: Similarity = Similarity.COSINE) -> GalleryWindows:
    """Videos 10, 20, 30, … of these durations."""
    return GalleryWindows(
        windows(10 * (np.arange(len(durations)) + 1), np.array(durations), 2.0, 1.0), vectors, similarity
    )


# Hits


def test_weights_are_scores_above_the_last_of_their_list() -> None:
    rows = np.array([[5, 1, 2], [7, 0, -1], [-1, -1, -1]])
    scores = np.array([[-1.0, -2.0, -3.0], [-2.5, -3.5, -INF], [-INF, -INF, -INF]], np.float32)
    hits = weighted(rows, scores)
    assert hits.window.tolist() == [0, 0, 0, 1, 1] and hits.row.tolist() == [5, 1, 2, 7, 0]
    np.testing.assert_allclose(hits.weight, np.array([2, 1, 0, 1, 0]) + 2 * LEAST)
    assert hits.floors.tolist() == [-3, -3.5, -3.5]  # a list without answers takes the lowest of the others


def test_equal_scores_weigh_one_each_and_no_answers_nothing() -> None:
    assert weighted(np.array([[3], [4]]), np.full((2, 1), 0.25, np.float32)).weight.tolist() == [1, 1]
    empty = weighted(np.full((2, 3), -1), np.full((2, 3), -INF))
    assert len(empty.row) == len(empty.weight) == 0


# Candidates


def hits_of(window: list[int], weight: list[float], windows: int) -> Hits:
    return Hits(np.array(window, np.int64), np.arange(len(window)), np.array(weight, float), np.zeros(windows))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(1, 9)), min_size=1, max_size=40),
    st.integers(1, 8),
)
def test_candidates_are_the_sums_over_windows_of_the_best_hit(found: list, count: int) -> None:
    window, video, weight = (list(column) for column in zip(*found, strict=True))
    best: dict[int, dict[int, int]] = {}
    for w, v, x in found:
        best.setdefault(v, {})[w] = max(best.get(v, {}).get(w, 0), x)
    expected = sorted(((-sum(ws.values()), v) for v, ws in best.items()))[:count]
    names, sums = candidates(hits_of(window, weight, 5), np.array(video), count)
    assert [(-s, v) for v, s in zip(names.tolist(), sums.tolist(), strict=True)] == expected


# Voting


def test_speeds_are_as_many_as_the_query_can_tell_apart() -> None:
    assert speeds(1.0, 100.0, 1.0).tolist() == [1.0]
    tried = speeds(1.25, 30.0, 1.0)
    assert tried[0] == 1 and len(tried) == 9
    assert tried.min() == pytest.approx(0.8) and tried.max() == pytest.approx(1.25)
    assert (np.diff(np.log(np.sort(tried))) * 15 <= 1).all()


def reference_vote(videos: list, query: list, times: list, weights: list, tried: list, width: float) -> list[tuple]:
    """(votes, video, speed, middle), best first, with dictionaries and loops."""
    votes: dict[tuple, float] = {}
    for v, q, t, w in zip(videos, query, times, weights, strict=True):
        for place, speed in enumerate(tried):
            cell = (v, place, math.floor((t - speed * q) / width))
            votes[cell] = votes.get(cell, 0.0) + w
    smooth = [
        (-(x + 0.5 * (votes.get((v, s, b - 1), 0.0) + votes.get((v, s, b + 1), 0.0))), v, s, b)
        for (v, s, b), x in votes.items()
    ]
    best: dict[tuple, tuple] = {}
    for x, v, s, b in sorted(smooth):
        best.setdefault((v, b), (-x, v, tried[s], (b + 0.5) * width))
    return list(best.values())


def reference_peaks(cells: list[tuple], apart: float, count: int) -> list[tuple]:
    kept = []
    for i, cell in enumerate(cells):
        if not any(other[1] == cell[1] and abs(other[3] - cell[3]) < apart for other in cells[:i]):
            kept.append(cell)
    return kept[:count]


def listed(lines: Lines) -> list[tuple]:
    columns = lines.votes, lines.video, lines.speed, lines.middle
    return list(zip(*(column.tolist() for column in columns), strict=True))


# Weights and times on a grid: sums are exact, so that ties are ties in both.
voters = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-20, 20), st.integers(0, 400), st.integers(1, 8)), min_size=1, max_size=60
)


@settings(deadline=None, max_examples=100)
@given(voters, st.sampled_from([[1.0], [1.0, 0.5, 2.0]]), st.sampled_from([0.5, 1.0]), st.integers(1, 20))
def test_votes_and_peaks_equal_the_loops(found: list, tried: list, width: float, apart: int) -> None:
    check_votes_and_peaks(found, tried, width, apart)


def test_votes_counted_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voting, "_AT_ONCE", 1)  # a speed at a time
    rng = np.random.default_rng(0)
    columns = rng.integers(0, 3, 80), rng.integers(-20, 20, 80), rng.integers(0, 200, 80), rng.integers(1, 8, 80)
    check_votes_and_peaks(np.stack(columns, axis=1).tolist(), [1.0, 0.5, 2.0, 0.75], 0.5, 7)


def check_votes_and_peaks(found: list, tried: list, width: float, apart: int) -> None:
    videos = [v for v, *_ in found]
    q, t, w = ([x[i] / 4 for x in found] for i in (1, 2, 3))
    cells = vote(np.array(videos), (np.array(q), np.array(t)), np.array(w), np.array(tried), width)
    expected = reference_vote(videos, q, t, w, tried, width)
    assert listed(cells) == expected
    best = peaks(cells, float(apart), 5)
    assert listed(best) == reference_peaks(expected, apart, 5)


def test_a_long_query_does_not_crowd_out_its_weaker_places() -> None:
    centres = np.arange(-45.0, 46.0)  # 90 s: found whole in video 0, with the windows around; a third of it in video 3
    q, near = np.repeat(centres, 9), np.tile(np.arange(-4.0, 5.0), len(centres))
    some = centres[::3]
    videos = np.concatenate([np.zeros(len(q), np.int64), np.full(len(some), 3)])
    times = np.concatenate([q, some]), np.concatenate([q + near + 60, some + 200])
    weights = np.concatenate([5 - np.abs(near), np.ones(len(some))])
    best = peaks(vote(videos, times, weights, speeds(1.25, 92.0, 1.0), 1.0), 46.0, 20)
    assert best.video.tolist() == [0, 3] and best.speed.tolist() == [1.0, 1.0]
    assert best.middle.tolist() == [60.5, 200.5]


# Lines


def pairs_of(lines: Lines, found: list[tuple]) -> Pairs:
    video, window, weight, q, t = (np.array(column) for column in zip(*found, strict=True))
    return Pairs.of(lines, video, window, weight.astype(float), (q.astype(float), t.astype(float)))


def one_line(video: int, middle: float, speed: float = 1.0) -> Lines:
    return Lines(np.array([video]), np.array([float(middle)]), np.array([float(speed)]), np.array([1.0]))


def reference_fit(middle: float, speed: float, found: list[tuple], tolerance: float, fastest: float) -> tuple:
    """Damped least squares by solving for the two unknowns, around the weighted mean."""
    for _ in range(ROUNDS):
        near = []
        for _, _, weight, q, t in found:
            off = t - middle - speed * q
            if abs(off) <= tolerance:
                near.append((weight * (1 - abs(off) / (2 * tolerance)), q, off))
        if not near:
            continue
        total = sum(w for w, _, _ in near)
        mean = sum(w * q for w, q, _ in near) / total
        root = [math.sqrt(w / total) for w, _, _ in near]
        design = [[r, r * (q - mean)] for r, (_, q, _) in zip(root, near, strict=True)]
        design.append([0, math.sqrt(DAMPING) * tolerance])
        target = [r * off for r, (_, _, off) in zip(root, near, strict=True)] + [0]
        shift, slope = np.linalg.lstsq(np.array(design), np.array(target), rcond=None)[0]
        faster = min(max(speed + slope, 1 / fastest), fastest)
        middle, speed = middle + shift - (faster - speed) * mean, faster
    return middle, speed


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.integers(-8, 8), st.floats(-3, 3), st.integers(1, 9)), min_size=1, max_size=20))
def test_fit_equals_least_squares(found: list) -> None:
    listed = [(0, 0, weight, q, 50 + q + off) for q, off, weight in found]
    line = one_line(0, 50.25, 1.0)
    fitted = fit(line, pairs_of(line, listed), 1.5, 1.25)
    expected = reference_fit(50.25, 1.0, listed, 1.5, 1.25)
    np.testing.assert_allclose([fitted.middle[0], fitted.speed[0]], expected, atol=1e-9)


def test_a_line_finds_its_offset_at_once_and_its_speed_nearly() -> None:
    exact = [(0, i, 1.0, q, 40 + q) for i, q in enumerate(np.arange(-5, 6))]
    fitted = fit(one_line(0, 40.5), pairs_of(one_line(0, 40.5), exact), 1.5, 1.25)
    assert fitted.middle[0] == pytest.approx(40) and fitted.speed[0] == pytest.approx(1)
    faster = [(0, i, 1.0, q, 40 + 1.1 * q) for i, q in enumerate(np.arange(-5, 6))]
    fitted = fit(one_line(0, 40.5), pairs_of(one_line(0, 40.5), faster), 1.5, 1.25)
    assert fitted.speed[0] == pytest.approx(1.1, abs=1e-3)


def test_speed_stays_within_its_bounds_and_other_videos_do_not_pull() -> None:
    steep = [(0, i, 1.0, q, 40 + 1.6 * q) for i, q in enumerate(np.arange(-2, 3))]
    line = one_line(0, 40)
    assert fit(line, pairs_of(line, steep), 1.5, 1.25).speed[0] == 1.25
    lines = Lines(np.array([0, 1]), np.array([40.5, 40.5]), np.ones(2), np.ones(2))
    listed = [(0, i, 1.0, q, 40 + q) for i, q in enumerate(range(-2, 3))]
    listed += [(1, i, 5.0, q, 41 + q) for i, q in enumerate(range(-2, 3))]
    assert fit(lines, pairs_of(lines, listed), 1.5, 1.25).middle == pytest.approx([40, 41])


def test_support_is_the_best_hit_of_each_window() -> None:
    line = one_line(0, 40)
    listed = [(0, 0, 4.0, 0, 40), (0, 0, 6.0, 0, 41.5), (0, 2, 2.0, 2, 42.75), (0, 1, 9.0, 1, 43), (1, 1, 9.0, 1, 41)]
    best = support(line, pairs_of(line, listed), 1.5, 4)
    np.testing.assert_allclose(best, [[4.0, 0.0, 1.5, 0.0]])


# Gallery


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0.5, 20), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.floats(-5, 25)), min_size=1, max_size=10),
)
def test_nearest_segment_of_a_video(durations: list, asked: list) -> None:
    videos = gallery(*durations)
    place = np.array([v % len(durations) for v, _ in asked])
    seconds = np.array([t for _, t in asked])
    for row, v, t in zip(videos.nearest(place, seconds), place, seconds, strict=True):
        mine = np.flatnonzero(videos.of == v)
        assert row in mine
        assert abs(videos.centres[row] - t) == pytest.approx(np.abs(videos.centres[mine] - t).min(), abs=1e-9)


@pytest.mark.parametrize("similarity", list(Similarity))
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_similarities(similarity: Similarity, dtype: type) -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.random((9, 6)) * 100).astype(dtype)
    asked = rng.random((3, 6)).astype(np.float32)
    rows = rng.integers(0, 9, (4, 3))
    found = gallery(10.0, vectors=vectors, similarity=similarity).similarities(asked, rows)
    for j, i in np.ndindex(4, 3):
        a, b = asked[i].astype(float), vectors[rows[j, i]].astype(float)
        expected = {
            Similarity.DOT: a @ b,
            Similarity.COSINE: a @ b / np.linalg.norm(a) / np.linalg.norm(b),
            Similarity.EUCLIDEAN: -np.linalg.norm(a - b),
        }[similarity]
        assert found[j, i] == pytest.approx(expected, rel=1e-5)


def test_wrong_galleries_and_queries() -> None:
    cut = windows(np.array([1]), np.array([5.0]), 2.0, 1.0)
    with pytest.raises(ValueError, match="4 segments but 3 vectors"):
        GalleryWindows(cut, np.zeros((3, 2)), Similarity.DOT)
    odd = Segments(np.array([1, 1]), np.array([0.0, 1.0]), np.array([5.0, 2.0]))
    with pytest.raises(ValueError, match="end in the order"):
        GalleryWindows(odd, None, Similarity.DOT)
    with pytest.raises(ValueError, match="without vectors"):
        gallery(5.0).similarities(np.zeros((1, 2)), np.array([[0]]))
    with pytest.raises(ValueError, match="one window at least"):
        QueryWindows(np.empty(0), np.empty(0))
    with pytest.raises(ValueError, match="vector for each"):
        QueryWindows(np.zeros(1), np.ones(1), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="time order"):
        QueryWindows(np.array([1.0, 0.0]), np.array([2.0, 3.0]))


# Re-rank


def test_exact_similarity_along_a_line() -> None:
    vectors = np.eye(12, dtype=np.float32)  # video 10 has rows 0…8 (10 s), video 20 rows 9…11 (4 s)
    videos = gallery(10.0, 4.0, vectors=vectors)
    asked = query(4.0, vectors[[3, 4, 5]])  # of video 10, from second 3
    lines = Lines(np.array([0, 0, 1]), np.array([5.0, 4.0, 1.0]), np.ones(3), np.ones(3))
    found, supported = aligned(lines, asked, videos, np.array([0.5, 0.6, 0.5]), 1.5)
    np.testing.assert_allclose(found[0], [1, 1, 1])
    np.testing.assert_allclose(found[1], [0, 0, 0])
    np.testing.assert_allclose(found[2], [0, 0, 0])  # at seconds 0, 1, 2: the first lies one second off row 9
    assert supported.tolist() == [[True] * 3, [False] * 3, [False] * 3]


def test_a_window_outside_the_video_has_no_partner() -> None:
    vectors = np.eye(3, dtype=np.float32)
    asked = query(4.0, vectors)
    videos = gallery(4.0, vectors=vectors)
    lines = Lines(np.array([0]), np.array([4.0]), np.ones(1), np.ones(1))  # two seconds late
    found, supported = aligned(lines, asked, videos, np.array([-0.5, -0.25, -0.25]), 0.5)
    np.testing.assert_allclose(found, [[0, -0.5, -0.5]])  # the last two count as the lowest score of all
    assert supported.tolist() == [[True, False, False]]
    with pytest.raises(ValueError, match="query was made without"):
        aligned(lines, query(4.0), videos, np.zeros(3), 0.5)


# Trimming


def test_trimmed_to_what_supports_and_to_the_video() -> None:
    videos, asked = gallery(30.0, 8.0), query(6.0)  # five windows
    lines = Lines(np.array([0, 0, 0, 1, 1]), np.array([13.0, 13.0, 13.0, 7.0, 20.0]), np.full(5, 1.0), np.ones(5))
    supported = np.array([[1, 1, 1, 1, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]], bool)
    starts, ends = trimmed(lines, supported, asked, videos)
    assert starts.tolist() == [10, 11, 10, 4, 8] and ends.tolist() == [16, 15, 10, 8, 8]
    slow = lines._replace(speed=np.full(5, 0.8))
    np.testing.assert_allclose(trimmed(slow, supported, asked, videos)[0], [10.6, 11.4, 10.6, 4.6, 8])
    np.testing.assert_allclose(trimmed(slow, supported, asked, videos)[1], [15.4, 14.6, 10.6, 8, 8])


# Single vectors


def merge(rows: list[int], scores: list[float], videos: GalleryWindows) -> list[tuple]:
    lists = np.array([rows]), np.array([scores], np.float32)
    found = merged(weighted(*lists), lists[1][lists[0] >= 0], videos)
    return [(v, s, e, round(float(x), 6)) for v, s, e, x in zip(*found, strict=True)]


def test_neighbours_become_a_moment_with_the_largest_score() -> None:
    videos = gallery(20.0, 20.0)  # rows 0…18 and 19…37, each two seconds from its row number on
    rows, scores = [4, 5, 3, 22, 7, 0], [0.9, 0.8, 0.7, 0.65, 0.6, 0.1]
    assert merge(rows, scores, videos) == [(10, 3.0, 9.0, 0.9), (20, 3.0, 5.0, 0.65), (10, 0.0, 2.0, 0.1)]
    assert merge([*rows, -1], [*scores, -INF], videos) == merge(rows, scores, videos)


def test_weak_hits_neither_widen_nor_join() -> None:
    videos = gallery(20.0)
    # One run of seconds 2 … 11; half of 0.8 above the last is 0.4: rows 4, 5 and 8, 9 stay, with a valley between.
    rows, scores = [4, 8, 5, 9, 6, 7, 3, 2], [0.9, 0.85, 0.8, 0.75, 0.4, 0.3, 0.2, 0.1]
    assert merge(rows, scores, videos) == [(10, 4.0, 7.0, 0.9), (10, 8.0, 11.0, 0.85)]


def test_videos_do_not_run_into_each_other_and_nothing_gives_nothing() -> None:
    videos = gallery(4.0, 4.0)  # rows 0…2, 3…5
    assert merge([2, 3], [0.9, 0.9], videos) == [(10, 2.0, 4.0, 0.9), (20, 0.0, 2.0, 0.9)]
    assert merge([-1, -1], [-INF, -INF], videos) == []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 60), unique=True, min_size=1, max_size=20), st.integers(0, 100))
def test_moments_of_one_vector_never_overlap_and_hold_the_best_hit(rows: list, seed: int) -> None:
    videos = gallery(30.0, 20.0, 14.0)
    scores = np.sort(np.random.default_rng(seed).random(len(rows)))[::-1]
    found = merge(rows, scores.tolist(), videos)
    assert found[0][3] == pytest.approx(float(scores[0]), abs=1e-6)
    assert found[0][1] <= videos.segments.starts[rows[0]] and found[0][2] >= videos.segments.ends[rows[0]]
    for video in {v for v, *_ in found}:
        spans = sorted((s, e) for v, s, e, _ in found if v == video)
        assert all(a[1] < b[0] for a, b in pairwise(spans))
