import numpy as np
import pytest

from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.search.usearch import USearch
from retrieval_bench.types import Similarity


@pytest.fixture(scope="module")
def gallery() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1500, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def index(gallery: np.ndarray) -> USearch:
    index = USearch(connectivity=8, expansion_add=40)
    index.build(gallery, Similarity.EUCLIDEAN, 0)
    return index


def test_vectors_stay_float32(index: USearch, gallery: np.ndarray) -> None:
    assert str(index._index.dtype) == "ScalarKind.F32"
    assert (index._index.connectivity, index._index.expansion_add) == (8, 40)
    rows, scores = index.search(gallery[:50], 1, 64)
    assert rows[:, 0].tolist() == list(range(50)) and (scores == 0).all()


def test_an_effort_is_not_kept_for_the_next_call(index: USearch, gallery: np.ndarray) -> None:
    queries = gallery[:30] + np.float32(0.5)
    low, high = index.search(queries, 5, 5)[0], index.search(queries, 5, 500)[0]
    assert (low != high).any()
    np.testing.assert_array_equal(index.search(queries, 5, 5)[0], low)


def test_the_queue_is_never_shorter_than_the_list(index: USearch, gallery: np.ndarray) -> None:
    np.testing.assert_array_equal(index.search(gallery[:20], 100, 16)[0], index.search(gallery[:20], 100, 100)[0])


def test_the_seed_decides_the_order_and_so_the_graph(gallery: np.ndarray) -> None:
    def answer(seed: int) -> list:
        index = USearch(connectivity=4, expansion_add=10)
        index.build(gallery, Similarity.EUCLIDEAN, seed)
        return index.search(gallery[:100] + np.float32(0.5), 10, 10)[0].tolist()

    assert answer(1) == answer(1) != answer(2)


def test_candidates_of_a_batch_sum_to_those_of_its_queries(index: USearch, gallery: np.ndarray) -> None:
    queries = gallery[:33] + np.float32(0.1)
    index.search(queries, 10, 50)
    batch = index.candidates()
    singles = []
    for i in range(33):
        index.search(queries[i : i + 1], 10, 50)
        singles.append(int(index.candidates()[0]))
    assert batch.sum() == sum(singles) and batch.max() - batch.min() <= 1
    assert len(set(singles)) > 1 and 50 < min(singles) <= max(singles) < 1500


@pytest.mark.parametrize("similarity", list(Similarity))
def test_the_similarity_is_in_the_file(gallery: np.ndarray, similarity: Similarity, tmp_path) -> None:
    index, again = USearch(), USearch()
    index.build(gallery[:100], similarity, 0)
    index.save(tmp_path)
    again.load(tmp_path)
    for mine, theirs in zip(index.search(gallery[:9], 120, 16), again.search(gallery[:9], 120, 16), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_errors_name_the_remedy(tmp_path) -> None:
    with pytest.raises(BadConfig, match="connectivity from 2"):
        USearch(connectivity=1)
    with pytest.raises(CorruptInput, match="delete the folder and run again"):
        USearch().load(tmp_path)
