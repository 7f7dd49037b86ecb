"""Token sets of dense vectors."""

import numpy as np
import pytest

from retrieval_bench.search import _tokens
from retrieval_bench.search._minhash import token_hashes


def gallery(n: int = 3000, dim: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (3 * rng.standard_normal((40, dim))[rng.integers(0, 40, n)] + rng.standard_normal((n, dim))).astype(
        np.float32
    )


@pytest.mark.parametrize("dim", [1, 3, 12, 17])
def test_words_are_the_nearest_centroids(dim: int) -> None:
    vectors = gallery(dim=dim)
    words = _tokens.kmeans_words(vectors, False, 100, 7, 0)
    distances = ((vectors[:200, None].astype(np.float64) - words.centroids.T[None]) ** 2).sum(axis=2)
    tokens = _tokens.tokens_of(vectors[:200], words)
    np.testing.assert_allclose(  # distances, as float32 may take the other of two equally near ones
        np.take_along_axis(distances, tokens, 1), np.sort(distances, axis=1)[:, :7], atol=1e-3
    )
    assert all(len(set(row)) == 7 for row in tokens.tolist())


@pytest.mark.parametrize(
    ("n", "given", "centroids", "words"),
    [
        (60_000, (None, None), 1024, 16),
        (3000, (None, None), 100, 12),
        (1500, (None, None), 50, 6),
        (17, (None, None), 1, 1),
        (1, (None, None), 1, 1),
        (500, (64, 20), 64, 20),
        (10, (64, 20), 10, 10),
    ],
)
def test_how_many_words(n: int, given: tuple[int | None, int | None], centroids: int, words: int) -> None:
    vocabulary = _tokens.kmeans_words(np.ones((n, 1), np.float32), False, *given, 0)
    assert (vocabulary.centroids.shape, vocabulary.size) == ((1, centroids), words)
    assert len(vocabulary.hashes) == centroids


def test_centroids_are_means_of_what_is_nearest_to_them() -> None:
    vectors = gallery()
    few = _tokens.kmeans_words(vectors, False, 20, 1, 0)
    random = vectors[np.random.default_rng(0).choice(len(vectors), 20, replace=False)]

    def spread(centroids: np.ndarray) -> float:
        return float(((vectors[:, None] - centroids[None]) ** 2).sum(axis=2).min(axis=1).mean())

    assert spread(few.centroids.T) < 0.75 * spread(random)


def test_the_seed_decides_the_centroids() -> None:
    def fitted(seed: int) -> np.ndarray:
        return _tokens.kmeans_words(gallery(), False, 50, 4, seed).centroids

    np.testing.assert_array_equal(fitted(1), fitted(1))
    assert (fitted(1) != fitted(2)).any()


def test_directions_have_no_length() -> None:
    vectors = gallery()
    scaled = vectors * np.random.default_rng(1).uniform(0.1, 10, (len(vectors), 1)).astype(np.float32)
    free = _tokens.kmeans_words(vectors, True, 50, 4, 0)
    same = _tokens.tokens_of(vectors, free) == _tokens.tokens_of(scaled, free)
    assert same.mean() > 0.999  # but for rounding
    bound = _tokens.kmeans_words(vectors, False, 50, 4, 0)
    assert (_tokens.tokens_of(vectors, bound) == _tokens.tokens_of(scaled, bound)).mean() < 0.9
    assert _tokens.tokens_of(np.zeros((1, 12), np.float32), free).max() < 50


def test_signed_top_by_hand() -> None:
    vocabulary = _tokens.signed_top(4, 2)
    vectors = np.array([[0.1, -3, 2, 0], [5, 1, -5, 5], [-1, 1, 1, 1], [0, 0, 0, 0]], np.float32)
    assert _tokens.tokens_of(vectors, vocabulary).tolist() == [[3, 4], [0, 5], [1, 2], [0, 2]]
    assert len(vocabulary.hashes) == 8


@pytest.mark.parametrize(("dim", "given", "size"), [(32, None, 8), (3, None, 1), (3, 9, 3), (1, None, 1)])
def test_how_many_components(dim: int, given: int | None, size: int) -> None:
    assert _tokens.signed_top(dim, given).size == size


def test_a_token_is_hashed_as_four_bytes() -> None:
    np.testing.assert_array_equal(
        _tokens.signed_top(2, 1).hashes, token_hashes([bytes([i, 0, 0, 0]) for i in range(4)])
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float64])
def test_other_dtypes_give_the_tokens_of_their_float32_values(dtype: type) -> None:
    vectors = np.random.default_rng(0).integers(0, 200, (5000, 6)).astype(dtype)
    for vocabulary in (_tokens.signed_top(6, 2), _tokens.kmeans_words(vectors, False, 30, 3, 0)):
        expected = _tokens.tokens_of(vectors.astype(np.float32), vocabulary)
        np.testing.assert_array_equal(_tokens.tokens_of(vectors, vocabulary), expected)
