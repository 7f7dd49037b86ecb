import numpy as np
import pytest
from scipy.stats import skew

from retrieval_bench.collapse import collapse_facts, effective_rank, k_occurrence, mean_cosine, skewness, spectrum


def test_equal_axes_have_their_number_as_rank() -> None:
    n = 6
    vectors = np.concatenate([np.eye(n), -np.eye(n)])
    np.testing.assert_allclose(spectrum(vectors), np.full(n, 1 / n))
    assert effective_rank(spectrum(vectors)) == pytest.approx(n)


@pytest.mark.parametrize("shape", [(40, 7), (7, 40)])
def test_the_spectrum_is_that_of_the_singular_values(shape: tuple[int, int]) -> None:
    vectors = np.random.default_rng(0).normal(size=shape) + 3
    singular = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    expected = singular**2 / (singular**2).sum()
    np.testing.assert_allclose(spectrum(vectors), expected, atol=1e-12)
    p = singular[singular > 1e-9] / singular[singular > 1e-9].sum()
    assert effective_rank(spectrum(vectors)) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-4)


def test_equal_vectors_are_collapsed() -> None:
    vectors = np.tile(np.random.default_rng(0).normal(size=5), (9, 1))
    assert effective_rank(spectrum(vectors)) == 0.0
    assert mean_cosine(vectors) == pytest.approx(1.0)


def test_vectors_on_a_line_have_rank_one() -> None:
    vectors = np.outer(np.arange(8.0), np.ones(4)) + 5
    assert effective_rank(spectrum(vectors)) == pytest.approx(1.0)


def test_the_mean_cosine_is_over_pairs_of_different_vectors() -> None:
    vectors = np.random.default_rng(1).normal(size=(6, 3))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [units[i] @ units[j] for i in range(6) for j in range(6) if i != j]
    assert mean_cosine(np.vstack([vectors, np.zeros((1, 3))])) == pytest.approx(np.mean(pairs))
    assert np.isnan(mean_cosine(vectors[:1]))


def test_occurrences_are_counted_by_id_and_short_lists_count_less() -> None:
    lists = np.array([[70, 5], [70, -1], [5, 70]])
    assert k_occurrence(lists, np.array([70, 9, 5])).tolist() == [3, 0, 2]


def test_hubness_is_the_skewness_of_the_occurrences() -> None:
    counts = np.random.default_rng(2).poisson(3, 50)
    assert skewness(counts) == pytest.approx(skew(counts))
    assert skewness(np.full(4, 2)) == 0.0


def test_facts_are_json_values_and_hold_both() -> None:
    found = collapse_facts(np.eye(3), np.arange(3), np.array([[1], [0], [0]]), seed=0)
    assert found["hubness"] == {
        "k": 1, "skewness": pytest.approx(0.0), "never": pytest.approx(1 / 3), "item": [1, 2, 3],
        "occurrence": [2, 1, 0],
    }  # fmt: skip
    assert found["effective_rank"] == pytest.approx(2.0)
    assert found["spectrum"]["axis"][0] == 1 and found["n"] == 3


def test_a_sample_is_taken_of_many() -> None:
    vectors = np.random.default_rng(3).normal(size=(9000, 2))
    found = collapse_facts(vectors, np.arange(9000), np.zeros((2, 1), np.int64), seed=0)
    assert found["n"] == 8192
