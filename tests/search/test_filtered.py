"""The bound changes no answer."""

import numpy as np
import pytest

from retrieval_bench.nearest import rescore
from retrieval_bench.search import _filtered
from retrieval_bench.types import Similarity


def brute(query: np.ndarray, vectors: np.ndarray, rows: np.ndarray, similarity: Similarity) -> np.ndarray:
    return rescore(query[None], vectors, rows[None].astype(np.int64), similarity)[0]


def answer(query: np.ndarray, known: _filtered.Gallery, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    found, values = np.empty(k, np.int64), np.empty(k)
    _filtered.best(query, rows.astype(np.int32), known, found, values)
    return found, values


def vectors_of(kind: str, dim: int) -> np.ndarray:
    rng = np.random.default_rng(dim)
    if kind == "bytes":
        return rng.integers(0, 256, (600, dim)).astype(np.uint8)
    x = 2 * rng.standard_normal((20, dim))[rng.integers(0, 20, 600)] + 0.2 * rng.standard_normal((600, dim))
    if kind == "far":
        x += 50  # a common offset
    if kind == "lengths":
        x *= rng.uniform(0.01, 30, (600, 1))
    if kind == "unit":
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype(np.float32)


@pytest.mark.parametrize("similarity", list(Similarity))
@pytest.mark.parametrize("dim", [1, 32, 130])
@pytest.mark.parametrize("kind", ["bytes", "near", "far", "lengths", "unit"])
def test_the_best_are_those_of_scoring_all(kind: str, dim: int, similarity: Similarity) -> None:
    if similarity is Similarity.COSINE and kind != "unit":
        return  # cosine comes as unit vectors
    vectors, rng = vectors_of(kind, dim), np.random.default_rng(0)
    known = _filtered.gallery(vectors, similarity)
    for query in (vectors[3].astype(np.float32), vectors[5] + np.float32(0.3), vectors[9] * np.float32(1.7)):
        asked = query / np.linalg.norm(query) if similarity is Similarity.COSINE else query
        rows = rng.permutation(600)[:400]
        scores = np.sort(brute(asked, vectors, rows, similarity))[::-1]
        found, values = answer(asked, known, rows, 20)
        assert len(set(found.tolist())) == 20 and np.isin(found, rows).all()
        tolerance = 2e-6 * max(1.0, np.abs(scores).max(), float(asked @ asked))
        np.testing.assert_allclose(values, scores[:20], atol=tolerance)
        np.testing.assert_allclose(values, brute(asked, vectors, found, similarity), atol=tolerance)


def test_the_bound_spares_scores_and_is_never_beyond_them() -> None:
    vectors = vectors_of("near", 64)
    known = _filtered.gallery(vectors, Similarity.EUCLIDEAN)
    copies = known.low + known.step * known.codes.astype(np.float64)
    errors = np.linalg.norm(vectors - copies, axis=1)
    assert errors.max() == pytest.approx(known.error) and known.error < 0.05 * np.linalg.norm(vectors, axis=1).mean()
    worst = 1.0
    limit = _filtered._limit(known, -(worst**2), 0.0, 0.0)
    apart = np.linalg.norm(copies - copies[0], axis=1) / known.step
    true = np.linalg.norm(vectors - copies[0], axis=1)
    assert (apart[true <= worst] ** 2 <= limit).all() and (apart**2 > limit).mean() > 0.5


def test_equal_scores_go_to_the_smaller_rows_and_short_lists_end_in_minus_one() -> None:
    vectors = np.repeat(np.array([[1, 2], [3, 4]], np.float32), 5, axis=0)
    known = _filtered.gallery(vectors, Similarity.EUCLIDEAN)
    rows, values = answer(vectors[0], known, np.array([9, 4, 2, 0, 3]), 3)
    assert rows.tolist() == [0, 2, 3] and values.tolist() == [0, 0, 0]
    rows, values = answer(vectors[0], known, np.array([9, 4]), 3)
    assert rows.tolist() == [4, 9, -1] and values.tolist() == [0, pytest.approx(-(8**0.5)), -np.inf]
    assert answer(vectors[0], known, np.array([], np.int32), 2)[0].tolist() == [-1, -1]


def test_whole_queries_get_exact_scores_of_bytes() -> None:
    vectors = vectors_of("bytes", 700)
    query = vectors[1].astype(np.float32)
    for similarity in (Similarity.EUCLIDEAN, Similarity.DOT):
        rows, values = answer(query, _filtered.gallery(vectors, similarity), np.arange(600), 50)
        wide = vectors.astype(np.int64)
        whole = (
            -((wide[rows] - wide[1]) ** 2).sum(axis=1) if similarity is Similarity.EUCLIDEAN else wide[rows] @ wide[1]
        )
        expected = whole if similarity is Similarity.DOT else -np.sqrt(-whole.astype(np.float64))
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("euclidean", [True, False])
@pytest.mark.parametrize("dim", [1, 63, 64, 128, 200])
def test_the_portable_way_gives_the_same_integers(dim: int, euclidean: bool) -> None:
    table = np.random.default_rng(dim).integers(0, 256, (5, dim)).astype(np.uint8)
    for row in range(5):
        wide = table.astype(np.int64)
        expected = ((wide[0] - wide[row]) ** 2).sum() if euclidean else wide[0] @ wide[row]
        assert _filtered.apart(table[0], table, row, euclidean) == expected
        assert _filtered.apart_portable(table[0], table, row, euclidean) == expected


def test_vectors_too_wide_for_sums_of_bytes_are_scored_directly() -> None:
    vectors = np.random.default_rng(0).integers(0, 256, (4, _filtered.WIDEST + 1)).astype(np.uint8)
    known = _filtered.gallery(vectors, Similarity.EUCLIDEAN)
    assert known.codes.shape[0] == 0
    rows, values = answer(vectors[2].astype(np.float32), known, np.arange(4), 4)
    assert rows[0] == 2
    np.testing.assert_allclose(
        values, np.sort(brute(vectors[2], vectors, np.arange(4), Similarity.EUCLIDEAN))[::-1], rtol=1e-5
    )


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_equal_vectors_have_a_step(value: float) -> None:
    vectors = np.full((10, 4), value, np.float32)
    rows, values = answer(vectors[0], _filtered.gallery(vectors, Similarity.DOT), np.arange(10), 2)
    assert rows.tolist() == [0, 1] and values.tolist() == [4 * value**2] * 2
