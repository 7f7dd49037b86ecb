import numpy as np
import pytest

from retrieval_bench.search.scalar import Scalar
from retrieval_bench.types import Similarity


def truth(gallery: np.ndarray, queries: np.ndarray, similarity: Similarity) -> np.ndarray:
    g, q = gallery.astype(np.float64), queries.astype(np.float64)
    return q @ g.T if similarity is Similarity.DOT else -np.sqrt(((q[:, None] - g[None]) ** 2).sum(2))


@pytest.mark.parametrize("similarity", [Similarity.DOT, Similarity.EUCLIDEAN])
@pytest.mark.parametrize("dim", [16, 13])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_bytes_are_kept_without_loss(similarity: Similarity, dim: int, dtype: type) -> None:
    rng, limits = np.random.default_rng(0), np.iinfo(dtype)
    gallery = rng.integers(limits.min, limits.max + 1, (400, dim)).astype(dtype)
    gallery[:2] = [[limits.min], [limits.max]]
    queries = rng.uniform(-400, 400, (20, dim)).astype(np.float32)  # whatever they are: no bytes
    index = Scalar(nlist=4)
    index.build(gallery, similarity, 0)
    assert index._index.code_size == dim
    rows, scores = index.search(queries, 400, 4)
    expected = truth(gallery, queries, similarity)
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(np.arange(400), (20, 1)))
    np.testing.assert_allclose(scores, np.take_along_axis(expected, rows, 1), rtol=1e-5, atol=0.5)


def test_others_lose_a_fraction_of_their_range() -> None:
    gallery = np.random.default_rng(0).standard_normal((600, 16)).astype(np.float32)
    index = Scalar(nlist=6, train_points=100)  # all of them: beyond their range, values are cut
    index.build(gallery, Similarity.EUCLIDEAN, 0)
    rows, scores = index.search(gallery[:50], 10, 6)
    expected = np.take_along_axis(truth(gallery, gallery[:50], Similarity.EUCLIDEAN), rows, 1)
    error = np.abs(scores - expected)[:, 1:]
    assert 0 < error.max() < 0.05 and index._index.code_size == 16
    assert rows[:, 0].tolist() == list(range(50))
