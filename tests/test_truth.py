"""Golden cases of MEASURING.md sections 1 and 2, and a plain loop as reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_bench.metric.hit_rate import hit_rate
from retrieval_bench.metric.map_at_r import map_at_r
from retrieval_bench.metric.precision import precision
from retrieval_bench.metric.r_precision import r_precision
from retrieval_bench.truth import (
    exact_neighbours,
    ignored_counts,
    judge,
    permutation,
    relevant_counts,
    remove_ignored,
    restrict,
    tie_bounds,
)
from retrieval_bench.types import Embeddings, GroundTruth, Ragged, SearchResult, Similarity


def ints(*values):
    return np.array(values, np.int64)


def ragged(*lists):
    return Ragged(
        np.array([v for one in lists for v in one], np.int64), np.cumsum([0, *map(len, lists)]).astype(np.int64)
    )


def found(*rows):
    ids = np.array(rows, np.int64)
    scores = np.where(ids >= 0, -np.arange(ids.shape[1], dtype=np.float32), -np.inf).astype(np.float32)
    return SearchResult(ids, scores)


def itself(labels, **more):
    ids = np.arange(len(labels)) + 10
    return GroundTruth(ids, ids, ints(*labels), ints(*labels), **more)


# What is relevant and what is ignored


def test_leave_one_out():
    truth = itself([0, 0, 0, 1])
    assert relevant_counts(truth).tolist() == [2, 2, 2, 0]
    assert ignored_counts(truth).tolist() == [1, 1, 1, 1]
    judged = judge(found([10, 11, 13, 12], [11, 13, 10, 12], [12, 10, 11, 13], [13, 10, 11, 12]), truth, 3)
    assert judged.hits.tolist() == [[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert judged.valid.all()
    assert judged.relevant.tolist() == [2, 2, 2, 0]


def test_a_duplicate_before_the_query_is_kept_and_the_query_removed_by_id():
    """The query stands second, or is not found at all: removing column 0 would be wrong in both."""
    truth = itself([0, 0, 1])
    judged = judge(found([11, 10, 12], [12, 10, -1], [10, 11, -1]), truth, 2)
    assert judged.hits.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert judged.valid.tolist() == [[1, 1], [1, 1], [1, 1]]


def test_groups_are_ignored_with_the_query():
    groups = ints(5, 5, 6, 6)
    truth = itself([0, 0, 0, 0], query_groups=groups, gallery_groups=groups)
    assert relevant_counts(truth).tolist() == [2, 2, 2, 2]
    assert ignored_counts(truth).tolist() == [2, 2, 2, 2]
    judged = judge(found([10, 11, 12, 13], [12, 10, 11, 13], [13, 12, 10, 11], [10, 13, 12, 11]), truth, 2)
    assert judged.hits.all()


def test_a_query_of_another_set_with_a_group_in_the_gallery():
    truth = GroundTruth(ints(1, 2), ints(3, 4, 5), ints(7, 7), ints(7, 7, 8), ints(0, 9), ints(0, 1, 0))
    assert relevant_counts(truth).tolist() == [1, 2]
    assert ignored_counts(truth).tolist() == [2, 0]


def test_short_lists_are_misses_and_the_denominator_stays():
    truth = itself([0, 0, 0, 0])
    judged = judge(found([11, -1, -1], [11, 10, -1], [-1, -1, -1], [13, -1, -1]), truth, 3)
    assert judged.hits.sum(1).tolist() == [1, 1, 0, 0]
    assert judged.valid.sum(1).tolist() == [1, 1, 0, 0]
    assert judged.relevant.tolist() == [3, 3, 3, 3]


def test_labels_and_ids_beyond_float32():
    big = 2**24
    ids = ints(big, big + 1, 2**62, 2**62 + 1)
    truth = GroundTruth(ids, ids, ints(big, big + 1, big, big + 1), ints(big, big + 1, big, big + 1))
    assert relevant_counts(truth).tolist() == [1, 1, 1, 1]
    judged = judge(found(ids[[1, 2, 3]], ids[[0, 3, 2]], ids[[3, 0, 1]], ids[[2, 1, 0]]), truth, 3)
    assert judged.hits.tolist() == [[0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("hits", "junk", "want", "relevant"),
    [
        ([1, 2], [5, 3, 4], [1, 1, 0, 0], 2),  # easy: hits = easy, junk = junk + hard
        ([1, 2, 3, 4], [5], [1, 1, 1, 1], 4),  # medium: hits = easy + hard, junk = junk
        ([3, 4], [5, 1, 2], [1, 1, 0, 0], 2),  # hard: hits = hard, junk = junk + easy
    ],
)
def test_roxford_rules(hits, junk, want, relevant):
    truth = GroundTruth(ints(100), ints(1, 2, 3, 4, 5, 6, 7), relevant=ragged(hits), junk=ragged(junk))
    judged = judge(found([5, 1, 3, 2, 4, 6, 7]), truth, 4)
    assert judged.hits.tolist() == [want]
    assert judged.relevant.tolist() == [relevant]
    assert ignored_counts(truth).tolist() == [len(junk)]


def test_an_id_ignored_twice_counts_once():
    groups = ints(1, 1, 2)
    truth = itself([0, 0, 0], query_groups=groups, gallery_groups=groups, junk=ragged([10, 11, 12, 12], [], [10]))
    assert ignored_counts(truth).tolist() == [3, 2, 2]
    assert relevant_counts(truth).tolist() == [0, 1, 1]


def test_gains():
    truth = GroundTruth(
        ints(1, 2),
        ints(5, 6, 7, 8),
        relevant=ragged([5, 6, 7], [8]),
        junk=ragged([7], []),
        gains=np.array([1.0, 3.0, 9.0, 2.0]),
    )
    judged = judge(found([7, 5, 8, 6], [5, 6, 7, 8]), truth, 3)
    assert judged.gains.tolist() == [[1, 0, 3], [0, 0, 0]]
    assert judged.ideal_gains.tolist() == [[3, 1, 0], [2, 0, 0]]
    assert judged.relevant.tolist() == [2, 1]


def test_remove_ignored_keeps_order_scores_and_pads():
    result = remove_ignored(found([11, 10, 12], [10, 11, 12], [12, -1, -1]), itself([0, 1, 2]), 2)
    assert result.ids.tolist() == [[11, 12], [10, 12], [-1, -1]]
    assert result.scores.tolist() == [[0, -2], [0, -2], [-np.inf, -np.inf]]
    assert remove_ignored(found([11, 10]), None, 3).ids.tolist() == [[11, 10, -1]]


def test_wrong_number_of_rows():
    with pytest.raises(ValueError, match="1 rows of answers for 3 queries"):
        judge(found([10, 11]), itself([0, 0, 0]), 1)


def plain(truth, ids, k):
    """Judgement by loops over Python sets."""
    hits, valid, counts, ignored_total = [], [], [], []
    for q, query in enumerate(truth.query_ids):
        ignored = {int(query)} & set(truth.gallery_ids.tolist())
        if truth.query_groups is not None:
            ignored |= set(truth.gallery_ids[truth.gallery_groups == truth.query_groups[q]].tolist())
        if truth.junk is not None:
            ignored |= set(truth.junk[q].tolist())
        if truth.relevant is not None:
            good = set(truth.relevant[q].tolist()) - ignored
        else:
            good = set(truth.gallery_ids[truth.gallery_labels == truth.query_labels[q]].tolist()) - ignored
        rest = [i for i in ids[q].tolist() if i >= 0 and i not in ignored][:k]
        hits.append([i in good for i in rest] + [False] * (k - len(rest)))
        valid.append([True] * len(rest) + [False] * (k - len(rest)))
        counts.append(len(good))
        ignored_total.append(len(ignored))
    return hits, valid, counts, ignored_total


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.booleans(), st.booleans(), st.integers(1, 6))
def test_against_loops(seed, by_label, with_groups, with_junk, k):
    rng = np.random.default_rng(seed)
    q, n = int(rng.integers(1, 8)), int(rng.integers(1, 12))
    pool = rng.permutation(2**53 + np.arange(15)).astype(np.int64)
    query_ids, gallery_ids = pool[:q], np.sort(rng.permutation(pool)[:n])

    def lists():
        return ragged(*(rng.choice(gallery_ids, int(rng.integers(0, n + 1)), replace=False) for _ in range(q)))

    groups = (rng.integers(0, 4, q), rng.integers(0, 4, n)) if with_groups else (None, None)
    labels = (rng.integers(0, 3, q), rng.integers(0, 3, n)) if by_label else (None, None)
    truth = GroundTruth(
        query_ids, gallery_ids, *labels, *groups, None if by_label else lists(), lists() if with_junk else None
    )
    ids = np.stack([rng.permutation(gallery_ids) for _ in range(q)])
    ids[:, int(rng.integers(1, n + 1)) :] = -1
    judged = judge(found(*ids), truth, k)
    hits, valid, counts, ignored = plain(truth, ids, k)
    assert judged.hits.tolist() == hits
    assert judged.valid.tolist() == valid
    assert judged.relevant.tolist() == counts
    assert ignored_counts(truth).tolist() == ignored
    half = rng.permutation(n)[: max(1, n // 2)]
    some = rng.permutation(q)[: max(1, q // 2)]
    small = restrict(truth, query_ids[some], gallery_ids[half])
    kept = np.stack([rng.permutation(gallery_ids[half]) for _ in some])
    want = plain(small, kept, k)
    assert judge(found(*kept), small, k).hits.tolist() == want[0]
    assert relevant_counts(small).tolist() == want[2]
    if not by_label:
        left = [sorted(set(truth.relevant[i].tolist()) & set(gallery_ids[half].tolist())) for i in some]
        assert [sorted(x.tolist()) for x in small.relevant] == left


def test_restrict_keeps_gains_beside_their_ids():
    truth = GroundTruth(
        ints(1, 2), ints(5, 6, 7), relevant=ragged([5, 6], [7, 5]), gains=np.array([1.0, 2.0, 3.0, 4.0])
    )
    small = restrict(truth, ints(2, 1), ints(7, 6))
    assert [x.tolist() for x in small.relevant] == [[7], [6]]
    assert small.gains.tolist() == [3.0, 2.0]
    with pytest.raises(ValueError, match=r"gallery ids that the ground truth does not know: \[9\]"):
        restrict(truth, ints(1), ints(9))


# Order


def test_permutation_depends_on_ids_not_on_storage():
    ids = np.random.default_rng(0).permutation(5000).astype(np.int64)
    order = permutation(ids, 3)
    assert sorted(order.tolist()) == list(range(5000))
    shuffled = ids[::-1].copy()
    np.testing.assert_array_equal(ids[order], shuffled[permutation(shuffled, 3)])
    assert (permutation(ids, 4) != order).mean() > 0.99
    # No trace of the ids' own order is left: the rank correlation of 5,000 is 0 ± 0.014.
    assert abs(np.corrcoef(ids[order], np.arange(5000))[0, 1]) < 0.06


@pytest.mark.parametrize("similarity", list(Similarity))
def test_exact_neighbours_do_not_depend_on_storage_order(similarity):
    rng = np.random.default_rng(1)
    vectors = np.repeat(rng.integers(1, 3, (60, 4)), 3, axis=0).astype(np.float32)
    ids = rng.permutation(1000)[:180].astype(np.int64)
    queries = Embeddings(np.arange(2000, 2020), vectors[:20].copy())
    first = exact_neighbours(queries, Embeddings(ids, vectors), 7, similarity, 5)
    order = rng.permutation(180)
    second = exact_neighbours(queries, Embeddings(ids[order], vectors[order]), 7, similarity, 5)
    np.testing.assert_array_equal(first.ids, second.ids)
    np.testing.assert_array_equal(first.scores, second.scores)
    other = exact_neighbours(queries, Embeddings(ids, vectors), 7, similarity, 6)
    assert (first.ids != other.ids).any()


# Ties


def collapsed(n, classes, noise=0.0):
    rng = np.random.default_rng(2)
    vectors = np.ones((n, 8), np.float32) + noise * rng.normal(size=(n, 8)).astype(np.float32)
    labels = np.repeat(np.arange(classes), n // classes)
    ids = np.arange(n) * 3
    return Embeddings(ids, vectors, labels), GroundTruth(ids, ids, labels, labels)


@pytest.mark.parametrize("similarity", list(Similarity))
def test_a_collapsed_encoder_scores_chance_within_bounds_of_0_and_1(similarity):
    items, truth = collapsed(2000, 100)
    best, worst = tie_bounds(items, items, truth, similarity, 5)
    assert best.hits.all()
    assert not worst.hits.any()
    judged = judge(exact_neighbours(items, items, 6, similarity, 0), truth, 5)
    # One list for all: its five or six items come from as many classes, so five or six classes of 20 find one each.
    assert judged.hits.any(axis=1).mean() == pytest.approx(19 / 1999 * 5, abs=0.015)


def test_bounds_of_small_perturbations_below_float32():
    items, truth = collapsed(600, 20, noise=1e-7)
    best, worst = tie_bounds(items, items, truth, Similarity.COSINE, 3)
    assert best.hits.all()
    assert not worst.hits.any()


def test_bounds_meet_where_nothing_ties():
    rng = np.random.default_rng(3)
    ids, labels = np.arange(400), rng.integers(0, 40, 400)
    items = Embeddings(ids, rng.normal(size=(400, 12)).astype(np.float32), labels)
    truth = GroundTruth(ids, ids, labels, labels)
    judged = judge(exact_neighbours(items, items, 9, Similarity.EUCLIDEAN, 0), truth, 8)
    for bound in tie_bounds(items, items, truth, Similarity.EUCLIDEAN, 8):
        np.testing.assert_array_equal(bound.hits, judged.hits)


def test_bounds_of_a_partial_tie():
    """Distances 1, 2, 2, 2, 3; relevant: one of the three at 2, and the one at 3; cut at 2 and at 4."""
    gallery = Embeddings(ints(1, 2, 3, 4, 5), np.array([[1.0], [2], [-2], [2], [3]], np.float32))
    queries = Embeddings(ints(9), np.zeros((1, 1), np.float32))
    truth = GroundTruth(ints(9), gallery.ids, relevant=ragged([3, 5]), gains=np.array([2.0, 1.0]))
    best, worst = tie_bounds(queries, gallery, truth, Similarity.EUCLIDEAN, 2)
    assert best.hits.tolist() == [[False, True]]
    assert best.gains.tolist() == [[0.0, 2.0]]
    assert worst.hits.tolist() == [[False, False]]
    best, worst = tie_bounds(queries, gallery, truth, Similarity.EUCLIDEAN, 4)
    assert best.hits.tolist() == [[False, True, False, False]]
    assert worst.hits.tolist() == [[False, False, False, True]]


def test_bounds_hold_however_ties_fall():
    """All storage orders of a gallery of many equal vectors lie between the bounds, which are reached."""
    rng = np.random.default_rng(4)
    vectors = rng.integers(0, 2, (90, 3)).astype(np.float32) + 1
    ids, labels = np.arange(90), rng.integers(0, 9, 90)
    items, truth = Embeddings(ids, vectors, labels), GroundTruth(ids, ids, labels, labels)
    best, worst = tie_bounds(items, items, truth, Similarity.DOT, 4)
    for seed in range(20):
        hits = judge(exact_neighbours(items, items, 5, Similarity.DOT, seed), truth, 4).hits.cumsum(axis=1)
        assert (hits <= best.hits.cumsum(axis=1)).all()
        assert (hits >= worst.hits.cumsum(axis=1)).all()
    assert best.hits.mean() > worst.hits.mean() + 0.2


@pytest.mark.parametrize("similarity", list(Similarity))
def test_bounds_at_full_depth_hold_every_metric_however_ties_fall(similarity):
    """At k = max R: r_precision and map_at_r of every storage order lie between the bounds, and so at smaller cuts."""
    rng = np.random.default_rng(5)
    vectors = rng.integers(0, 3, (80, 2)).astype(np.float32) + 1
    ids, labels = np.arange(80), rng.integers(0, 6, 80)
    items, truth = Embeddings(ids, vectors, labels), GroundTruth(ids, ids, labels, labels)
    k = int(relevant_counts(truth).max())
    bounds = [
        [r_precision(b), map_at_r(b), hit_rate(b, k=1), precision(b, k=3)]
        for b in tie_bounds(items, items, truth, similarity, k)
    ]
    best, worst = map(np.array, bounds)
    assert not np.isnan(best).any()
    for seed in range(10):
        judged = judge(exact_neighbours(items, items, k + 1, similarity, seed), truth, k)
        value = np.array([r_precision(judged), map_at_r(judged), hit_rate(judged, k=1), precision(judged, k=3)])
        assert (value <= best + 1e-12).all()
        assert (value >= worst - 1e-12).all()
    assert ((best - worst).mean(axis=1) > 0.05).all()


def test_tolerance_is_that_of_each_rank():
    """Distances 0 and 2e-3, then far away: at 0 the square root of the rounding makes them a tie, at rank 3 none is."""
    gallery = Embeddings(ints(1, 2, 3, 4), np.array([[900.0], [900.002], [100.0], [-100.0]], np.float32))
    truth = GroundTruth(ints(9), gallery.ids, relevant=ragged([2, 4]))
    queries = Embeddings(ints(9), np.array([[900.0]], np.float32))
    best, worst = tie_bounds(queries, gallery, truth, Similarity.EUCLIDEAN, 3)
    assert best.hits.tolist() == [[True, False, False]]
    assert worst.hits.tolist() == [[False, True, False]]
