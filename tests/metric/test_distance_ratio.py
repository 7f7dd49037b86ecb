"""distance_ratio: sums over exactly k of each, one value where float32 cannot tell them apart."""

import numpy as np
import pytest

from retrieval_bench.metric.distance_ratio import distance_ratio
from retrieval_bench.types import Similarity

EUCLIDEAN, COSINE, DOT = Similarity.EUCLIDEAN, Similarity.COSINE, Similarity.DOT
NONE = -np.inf


def ratio(exact: list[float], approx: list[float], similarity: Similarity, k: int, tolerance: float = 0.0) -> float:
    return float(distance_ratio(np.array([exact]), np.array([approx]), similarity, tolerance, k)[0])


def test_sums_of_exactly_k() -> None:
    assert ratio([-1, -2, -3], [-1, -4, -99], EUCLIDEAN, 2) == pytest.approx(3 / 5)
    assert ratio([0.9, 0.8], [0.8, 0.6], COSINE, 2) == pytest.approx(0.3 / 0.6)
    assert ratio([5, 3], [3, 1], DOT, 2) == pytest.approx(4 / 8)


@pytest.mark.parametrize("similarity", list(Similarity))
def test_exact_is_one(similarity: Similarity) -> None:
    assert ratio([0.0, -2.0, -2.5], [0.0, -2.0, -2.5], similarity, 3) == 1


def test_two_sums_of_nothing_are_one_and_one_is_zero() -> None:
    assert ratio([0, 0], [0, 0], EUCLIDEAN, 2) == 1
    assert ratio([1, 1], [1, 1], COSINE, 2) == 1
    assert ratio([0, 0], [0, -1], EUCLIDEAN, 2) == 0


def test_rounding_of_collapsed_embeddings_is_no_difference() -> None:
    assert ratio([1.0, 1.0], [1 - 1e-16, 1 - 2e-16], COSINE, 2, tolerance=1e-6) == 1
    assert ratio([1 - 1e-8, 1 - 1e-8], [1 - 1e-6, 1 - 1e-6], COSINE, 2, tolerance=1e-7) == pytest.approx(0.01)


def test_missing_answers_are_infinitely_far() -> None:
    assert ratio([-1, -2], [-1, NONE], EUCLIDEAN, 2) == 0
    assert ratio([0.9, 0.8], [NONE, NONE], COSINE, 2) == 0
    assert ratio([5, 3], [5, NONE], DOT, 2) == 0
    assert ratio([-1, -2], [-1, NONE], EUCLIDEAN, 1) == 1


def test_a_gallery_smaller_than_k_compares_what_exists() -> None:
    assert ratio([-1, -2, NONE], [-2, -2, NONE], EUCLIDEAN, 3) == pytest.approx(3 / 4)
    assert np.isnan(ratio([NONE, NONE], [NONE, NONE], EUCLIDEAN, 2))


def test_dot_without_a_positive_sum_has_no_ratio() -> None:
    assert np.isnan(ratio([-1, -2], [-2, -3], DOT, 2))
    assert ratio([5, 3], [-3, -1], DOT, 2) == 0


def test_each_query_has_its_own_tolerance() -> None:
    exact, approx = np.array([[-1.0], [-1.0]]), np.array([[-2.0], [-2.0]])
    assert distance_ratio(exact, approx, EUCLIDEAN, np.array([1.0, 0.0]), 1).tolist() == [1.0, 0.5]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="cut-off 2 given, but the lists are 1 deep"):
        ratio([-1, -2], [-1], EUCLIDEAN, 2)
