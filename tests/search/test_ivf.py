import faiss
import numpy as np
import pytest

from retrieval_bench.search.ivf import IVF
from retrieval_bench.types import Similarity


def built(n: int, nlist: int | None = None, seed: int = 0, dim: int = 8) -> IVF:
    index = IVF(nlist=nlist)
    index.set_threads(1)
    index.build(np.random.default_rng(1).standard_normal((n, dim)).astype(np.float32), Similarity.EUCLIDEAN, seed)
    return index


@pytest.mark.parametrize(
    ("n", "nlist", "lists"),
    [(10_000, None, 400), (400, None, 25), (1, None, 1), (17, None, 1), (10, 64, 10), (1000, 64, 64)],
)
def test_number_of_lists(n: int, nlist: int | None, lists: int) -> None:
    assert built(n, nlist)._index.nlist == lists


def test_candidates_are_the_vectors_of_the_probed_lists() -> None:
    index = built(1000, nlist=20)
    queries = np.random.default_rng(2).standard_normal((50, 8)).astype(np.float32)
    centroids = index._index.quantizer.reconstruct_n(0, 20)
    sizes = np.array([index._index.invlists.list_size(i) for i in range(20)])
    nearest = np.argsort(((queries[:, None] - centroids[None]) ** 2).sum(2), axis=1)
    for nprobe in (1, 3, 20, 64):
        index.search(queries, 5, nprobe)
        np.testing.assert_array_equal(index.candidates(), sizes[nearest[:, :nprobe]].sum(axis=1))
    assert sizes.sum() == 1000


def test_a_list_shorter_than_k_ends_in_minus_one() -> None:
    index = built(200, nlist=50)
    queries = np.random.default_rng(2).standard_normal((30, 8)).astype(np.float32)
    rows, scores = index.search(queries, 40, 1)
    counts = index.candidates()
    assert counts.max() < 40
    np.testing.assert_array_equal((rows >= 0).sum(axis=1), counts)
    assert (scores[rows < 0] == -np.inf).all() and np.isfinite(scores[rows >= 0]).all()
    for i in range(30):
        one, score = index.search(queries[i : i + 1], 40, 1)
        np.testing.assert_array_equal(one[0], rows[i])
        assert (score[one < 0] == -np.inf).all()


@pytest.mark.parametrize("n", [3000, 300])  # with and without a sample of the training vectors
def test_the_seed_decides_the_centroids(n: int) -> None:
    def centroids(seed: int) -> np.ndarray:
        index = built(n, nlist=10, seed=seed)
        return index._index.quantizer.reconstruct_n(0, 10)

    np.testing.assert_array_equal(centroids(1), centroids(1))
    assert (centroids(1) != centroids(2)).any()


def test_an_effort_is_not_kept_for_the_next_call() -> None:
    index = built(2000)
    queries = np.random.default_rng(3).standard_normal((40, 8)).astype(np.float32)
    low, high = index.search(queries, 5, 1)[0], index.search(queries, 5, 64)[0]
    assert (low != high).any()
    np.testing.assert_array_equal(index.search(queries, 5, 1)[0], low)
    assert index._index.nprobe == 1 and isinstance(index._index, faiss.IndexIVFFlat)
