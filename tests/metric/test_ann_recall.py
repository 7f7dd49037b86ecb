"""ann_recall against a slow reference, and where a tolerance is right and where it would be wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval_bench.metric.ann_recall import ann_recall

INF = np.inf


def recall_of(exact: list[int], returned: list[int], scores: dict[int, float], tolerance: float, k: int) -> float:
    truth = [i for i in exact[:k] if i >= 0]
    if not truth:
        return np.nan
    kth = min(scores[i] for i in truth)
    slack = max(tolerance, 1e-6 * abs(kth))
    right = {i for i in returned[:k] if i >= 0 and (i in truth or scores[i] >= kth - slack)}
    return min(len(right), len(truth)) / len(truth)


def row(ids: list[int], scores: dict[int, float]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return np.array([ids], np.int64), np.array([[scores.get(i, -INF) for i in ids]])


def recall(exact: list[int], returned: list[int], scores: dict[int, float], tolerance: float, k: int) -> float:
    (exact_ids, exact_scores), (ids, found) = row(exact, scores), row(returned, scores)
    return float(ann_recall(exact_ids, ids, exact_scores, found, tolerance, k)[0])


@settings(max_examples=200, deadline=None)
@given(
    levels=st.lists(st.sampled_from([-2.0, -1.0, -1.0 - 5e-7, 0.0, 0.5, 0.5 + 1e-7]), min_size=1, max_size=12),
    data=st.data(),
)
def test_equals_its_definition(levels: list[float], data: st.DataObject) -> None:
    scores = {2**62 + i: s for i, s in enumerate(levels)}
    exact = sorted(scores, key=lambda i: -scores[i])
    returned = data.draw(st.lists(st.sampled_from([*scores, -1]), min_size=len(exact), max_size=14))
    k = data.draw(st.integers(1, len(exact)))
    tolerance = data.draw(st.sampled_from([0.0, 1e-3]))
    assert recall(exact, returned, scores, tolerance, k) == pytest.approx(
        recall_of(exact, returned, scores, tolerance, k), abs=0
    )


def test_counts_ids_not_places() -> None:
    scores = dict(enumerate([0.9, 0.8, 0.7, 0.6, 0.5]))
    assert recall([0, 1, 2], [2, 0, 1], scores, 0, 3) == 1
    assert recall([0, 1, 2], [4, 3, 1], scores, 0, 3) == 1 / 3


def test_a_tie_of_the_last_place_counts_and_a_near_miss_does_not() -> None:
    scores = {0: 0.9, 1: 0.5, 2: 0.5 - 4e-7, 3: 0.5 - 6e-7}
    assert recall([0, 1], [0, 2], scores, 0, 2) == 1  # within 1e-6 of 0.5
    assert recall([0, 1], [0, 3], scores, 0, 2) == 0.5
    assert recall([0, 1], [0, 3], scores, 1e-6, 2) == 1  # within the float32 error of a long product


def test_each_query_has_its_own_tolerance() -> None:
    exact, scores = np.array([[0, 1]] * 2), np.array([[0.9, 0.5]] * 2)
    other, other_scores = np.array([[0, 3]] * 2), np.array([[0.9, 0.49]] * 2)
    for tolerance in (np.array([0.1, 0.0]), np.array([[0.1, 0.0], [0.0, 0.0]])):
        assert ann_recall(exact, other, scores, other_scores, tolerance, 2).tolist() == [1.0, 0.5]


def test_repeated_and_missing_ids_are_not_found() -> None:
    scores = dict(enumerate([0.9, 0.8, 0.7]))
    assert recall([0, 1, 2], [0, 0, 0], scores, 0, 3) == 1 / 3
    assert recall([0, 1, 2], [0, -1, -1], scores, 0, 3) == 1 / 3
    assert recall([0, 1, 2], [-1, -1, -1], scores, 0, 3) == 0


def test_a_gallery_smaller_than_k_divides_by_its_size() -> None:
    scores = dict(enumerate([0.9, 0.8]))
    assert recall([0, 1, -1, -1], [1, 0, -1, -1], scores, 0, 4) == 1
    assert recall([0, 1, -1, -1], [1, -1, -1, -1], scores, 0, 4) == 0.5
    assert np.isnan(recall([-1, -1], [-1, -1], scores, 0, 2))


def test_an_exact_neighbour_counts_even_where_its_score_disagrees() -> None:
    exact, scores = np.array([[7, 8]]), np.array([[0.9, 0.8]])
    assert ann_recall(exact, np.array([[8, 9]]), scores, np.array([[0.1, 0.1]]), 0, 2)[0] == 0.5


def test_collapsed_embeddings_give_one_and_their_neighbours_classes_do_not() -> None:
    """Classes collapsed to a point up to 1e-4: an absolute tolerance of 1e-3 would call any same-class answer right."""
    rng = np.random.default_rng(0)
    gallery = rng.normal(0, 1e-4, (500, 16)) + np.eye(16)[0]
    distance = -np.linalg.norm(gallery[:50, None] - gallery[None], axis=2)
    order = np.argsort(-distance, axis=1)
    anything = rng.permuted(order, axis=1)[:, :10]
    ids = order[:, :10]
    found = ann_recall(
        ids, anything, np.take_along_axis(distance, ids, 1), np.take_along_axis(distance, anything, 1), 1e-9, 10
    )
    assert found.mean() == np.mean([np.isin(a, e).mean() for a, e in zip(anything, ids, strict=True)])
    same = np.zeros((50, 10))  # one point: any ten are the ten nearest
    assert ann_recall(ids, anything, same, same, 1e-9, 10).tolist() == [1.0] * 50


def test_blocks_join() -> None:
    rng = np.random.default_rng(1)
    exact = rng.permuted(np.tile(np.arange(30), (9_000, 1)), axis=1)[:, :10]
    returned = rng.permuted(np.tile(np.arange(30), (9_000, 1)), axis=1)[:, :10]
    scores, others = np.full((9_000, 10), 0.5), np.full((9_000, 10), 0.1)
    expected = (exact[:, :, None] == returned[:, None]).any(axis=1).mean(axis=1)
    assert np.array_equal(ann_recall(exact, returned, scores, others, 0, 10), expected)


def test_wrong_shapes_are_refused() -> None:
    ids, scores = np.array([[0, 1]]), np.array([[0.9, 0.8]])
    with pytest.raises(ValueError, match="cut-off 3 given, but the lists are 2 deep"):
        ann_recall(ids, ids, scores, scores, 0, 3)
    with pytest.raises(ValueError, match=r"ids \(1, 2\) and scores \(1, 1\) must have one shape"):
        ann_recall(ids, ids, scores, scores[:, :1], 0, 1)
    with pytest.raises(ValueError, match="1 exact lists but 2 returned ones"):
        ann_recall(ids, np.repeat(ids, 2, 0), scores, np.repeat(scores, 2, 0), 0, 1)
