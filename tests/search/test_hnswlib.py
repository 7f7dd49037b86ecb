import numpy as np
import pytest

from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.search.hnswlib import HNSWLib
from retrieval_bench.types import Similarity


@pytest.fixture(scope="module")
def gallery() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1500, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def index(gallery: np.ndarray) -> HNSWLib:
    index = HNSWLib(m=8, ef_construction=40)
    index.build(gallery, Similarity.EUCLIDEAN, 0)
    return index


def test_build_parameters_reach_hnswlib(index: HNSWLib) -> None:
    inner = index._index
    assert (inner.M, inner.ef_construction, inner.space, inner.element_count) == (8, 40, "l2", 1500)


def test_an_effort_is_not_kept_for_the_next_call(index: HNSWLib, gallery: np.ndarray) -> None:
    queries = gallery[:30] + np.float32(0.5)
    low, high = index.search(queries, 5, 5)[0], index.search(queries, 5, 500)[0]
    assert index._index.ef == 500 and (low != high).any()
    np.testing.assert_array_equal(index.search(queries, 5, 5)[0], low)


def test_the_queue_is_never_shorter_than_the_list(index: HNSWLib, gallery: np.ndarray) -> None:
    np.testing.assert_array_equal(index.search(gallery[:20], 100, 16)[0], index.search(gallery[:20], 100, 100)[0])


def test_the_seed_decides_the_graph(gallery: np.ndarray) -> None:
    def answer(seed: int) -> list:
        index = HNSWLib(m=4, ef_construction=10)
        index.build(gallery, Similarity.EUCLIDEAN, seed)
        return index.search(gallery[:100] + np.float32(0.5), 10, 10)[0].tolist()

    assert answer(1) == answer(1) != answer(2)


class Reaching:
    """hnswlib's behaviour where a query reaches only some vertices: it raises, and gives nothing at all."""

    def __init__(self, reached: list[int]) -> None:
        self.reached = reached

    def set_ef(self, ef: int) -> None:
        pass

    def knn_query(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        queries = np.atleast_2d(queries)
        reached = [self.reached[int(q[0])] for q in queries]
        if min(reached) < k:
            raise RuntimeError("Cannot return the results in a contiguous 2D array. Probably ef or M is too small")
        return np.tile(np.arange(k, dtype=np.uint64), (len(queries), 1)), np.tile(
            np.arange(k, dtype=np.float32), (len(queries), 1)
        )


def test_what_is_reached_is_returned() -> None:
    index = HNSWLib()
    index._index, index._n, index._euclidean = Reaching([0, 1, 7, 10]), 10, True
    rows, scores = index.search(np.arange(4, dtype=np.float32)[:, None], 10, 16)
    for found, row, score in zip([0, 1, 7, 10], rows, scores, strict=True):
        assert row.tolist() == list(range(found)) + (10 - found) * [-1]
        np.testing.assert_allclose(score[:found], -np.sqrt(np.arange(found)), rtol=1e-6)
        assert (score[found:] == -np.inf).all()


def test_errors_name_the_remedy(tmp_path) -> None:
    with pytest.raises(BadConfig, match="m from 2"):
        HNSWLib(m=1)
    with pytest.raises(CorruptInput, match="delete the folder and run again"):
        HNSWLib().load(tmp_path)
