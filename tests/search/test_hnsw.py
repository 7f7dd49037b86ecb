import faiss
import numpy as np
import pytest

from retrieval_bench.search.hnsw import HNSW
from retrieval_bench.types import Similarity


@pytest.fixture(scope="module")
def gallery() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2000, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def index(gallery: np.ndarray) -> HNSW:
    index = HNSW(m=8, ef_construction=40)
    index.set_threads(1)
    index.build(gallery, Similarity.EUCLIDEAN, 0)
    return index


def test_the_queue_is_never_shorter_than_the_list(index: HNSW, gallery: np.ndarray) -> None:
    queries = gallery[:20]
    short, equal = index.search(queries, 100, 16), index.search(queries, 100, 100)
    np.testing.assert_array_equal(short[0], equal[0])
    assert (short[0] >= 0).all()
    longer = index.search(queries, 100, 400)[0]
    assert (longer != equal[0]).any(), "a longer queue must reach faiss"


def test_an_effort_is_not_kept_for_the_next_call(index: HNSW, gallery: np.ndarray) -> None:
    queries = gallery[100:120] + np.float32(0.5)
    low = index.search(queries, 5, 5)[0]
    high = index.search(queries, 5, 500)[0]
    assert (low != high).any()
    np.testing.assert_array_equal(index.search(queries, 5, 5)[0], low)
    assert index._index.hnsw.efSearch == 16  # faiss' own default: the index itself is not changed


@pytest.mark.parametrize("threads", [1, 2])
def test_candidates_of_a_batch_sum_to_those_of_its_queries(index: HNSW, gallery: np.ndarray, threads: int) -> None:
    queries = gallery[:33] + np.float32(0.1)
    index.set_threads(threads)
    index.search(queries, 10, 50)
    batch = index.candidates()
    index.set_threads(1)
    singles = []
    for i in range(33):
        index.search(queries[i : i + 1], 10, 50)
        singles.append(int(index.candidates()[0]))
    assert batch.sum() == sum(singles) and batch.max() - batch.min() <= 1
    assert len(set(singles)) > 1 and 50 < min(singles) <= max(singles) < 2000


def test_build_parameters_reach_faiss(gallery: np.ndarray) -> None:
    index = HNSW(m=5, ef_construction=33)
    index.build(gallery[:200], Similarity.COSINE, 0)
    assert index._index.hnsw.nb_neighbors(0) == 10 and index._index.hnsw.nb_neighbors(1) == 5
    assert index._index.hnsw.efConstruction == 33
    assert index._index.metric_type == faiss.METRIC_INNER_PRODUCT


def test_the_seed_decides_the_layers(gallery: np.ndarray) -> None:
    def layers(seed: int) -> list[int]:
        index = HNSW()
        index.build(gallery, Similarity.DOT, seed)
        return faiss.vector_to_array(index._index.hnsw.levels).tolist()

    assert layers(1) == layers(1) != layers(2)


def test_parameters_that_faiss_would_abort_over() -> None:
    from retrieval_bench.errors import BadConfig

    with pytest.raises(BadConfig, match="m from 2"):
        HNSW(m=0)
