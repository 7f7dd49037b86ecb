import numpy as np
import pytest

from retrieval_bench.errors import BadConfig
from retrieval_bench.search.ivf_pq import IVFPQ
from retrieval_bench.types import Similarity


def vectors(n: int, dim: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((n, dim)).astype(np.float32)


@pytest.mark.parametrize(
    ("dim", "m", "parts"), [(16, None, 8), (9, None, 3), (127, None, 127), (1, None, 1), (16, 4, 4), (16, 16, 16)]
)
def test_number_of_sub_quantisers(dim: int, m: int | None, parts: int) -> None:
    index = IVFPQ(m=m)
    index.build(vectors(200, dim), Similarity.EUCLIDEAN, 0)
    assert (index._index.pq.M, index._index.pq.nbits) == (parts, 4)


def test_a_bad_number_of_sub_quantisers_names_the_good_ones() -> None:
    message = r"m=7 sub-quantisers do not divide 12 dimensions; type m=null .* or one of 1, 2, 3, 4, 6, 12$"
    with pytest.raises(BadConfig, match=message):
        IVFPQ(m=7).build(vectors(50, 12), Similarity.DOT, 0)
    with pytest.raises(BadConfig, match="m=0 sub-quantisers"):
        IVFPQ(m=0).build(vectors(50, 12), Similarity.DOT, 0)
    with pytest.raises(BadConfig, match="factor=0: at least 1"):
        IVFPQ(factor=0)
    with pytest.raises(BadConfig, match="nlist=0, train_points=64, iterations=10: numbers from 1"):
        IVFPQ(nlist=0)


@pytest.mark.parametrize("n", [1, 5, 15])  # fewer than the 16 centroids of a sub-quantiser, and than the lists
def test_fewer_vectors_than_centroids(n: int) -> None:
    index = IVFPQ(nlist=20)
    index.build(vectors(n, 8), Similarity.EUCLIDEAN, 0)
    assert index._index.nlist == n
    rows, scores = index.search(vectors(n, 8), 1, 64)
    assert rows[:, 0].tolist() == list(range(n)) and (scores == 0).all()


@pytest.mark.parametrize("similarity", list(Similarity))
@pytest.mark.parametrize("k", [1, 10, 300])
def test_equal_whole_numbers_leave_no_residual(similarity: Similarity, k: int) -> None:
    index = IVFPQ()
    index.build(np.ones((200, 16), np.uint8), similarity, 0)
    assert (index._rerank.gallery.dtype, index._index.ntotal) == (np.uint8, 200)
    for queries in (np.ones((3, 16), np.float32), np.ones((1, 16), np.float32)):
        rows, scores = index.search(queries, k, 64)
        found = min(k, 200)
        assert all(len(set(row[:found].tolist()) - {-1}) == found for row in rows) and (rows[:, found:] == -1).all()
        assert (scores[:, :found] == (0 if similarity is Similarity.EUCLIDEAN else 16)).all()


def test_re_ranking_brings_the_true_order() -> None:
    gallery, queries = vectors(2000, 16), vectors(2040, 16)[2000:]
    truth = np.argsort(((queries[:, None] - gallery[None]) ** 2).sum(2), axis=1)[:, :10]
    found = []
    for factor in (1, 4, 200):
        index = IVFPQ(nlist=4, m=4, factor=factor)
        index.build(gallery, Similarity.EUCLIDEAN, 0)
        rows = index.search(queries, 10, 4)[0]
        found.append(float((rows[:, :, None] == truth[:, None]).any(2).mean()))
    assert found[0] < found[1] < found[2] == 1.0  # all 2000 re-ranked: exact
    np.testing.assert_array_equal(rows, truth)


def test_the_gallery_is_kept_in_its_own_dtype(tmp_path) -> None:
    gallery = np.random.default_rng(0).integers(0, 256, (300, 8)).astype(np.uint8)
    index, again = IVFPQ(), IVFPQ()
    index.build(gallery, Similarity.EUCLIDEAN, 0)
    assert np.shares_memory(index._rerank.gallery, gallery)
    index.save(tmp_path)
    assert np.load(tmp_path / "gallery-distance.npy").dtype == np.uint8
    del gallery
    again.load(tmp_path)
    queries = np.full((70, 8), 7, np.float32)
    again.set_threads(2)
    for mine, theirs in zip(index.search(queries, 5, 8), again.search(queries, 5, 8), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_candidates_are_the_vectors_of_the_probed_lists() -> None:
    index = IVFPQ(nlist=10)
    index.build(vectors(500, 8), Similarity.EUCLIDEAN, 0)
    index.search(vectors(20, 8), 5, 64)
    assert index.candidates().tolist() == 20 * [500]
    index.search(vectors(20, 8), 5, 1)
    sizes = [index._index.invlists.list_size(i) for i in range(10)]
    assert set(index.candidates().tolist()) <= set(sizes) and sum(sizes) == 500
