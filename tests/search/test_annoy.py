import numpy as np
import pytest

from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.search.annoy import Annoy
from retrieval_bench.types import Similarity


def vectors(n: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def built(similarity: Similarity = Similarity.EUCLIDEAN, seed: int = 0, trees: int = 10) -> Annoy:
    index = Annoy(trees=trees)
    index.build(vectors(600), similarity, seed)
    return index


@pytest.mark.parametrize("similarity", list(Similarity))
def test_a_search_of_few_nodes_gives_short_lists(similarity: Similarity) -> None:
    index, queries = built(similarity, trees=1), vectors(20, seed=1)
    rows, scores = index.search(queries, 50, 1)
    found = (rows >= 0).sum(axis=1)
    assert 0 < found.max() < 50
    for i in range(20):
        one, score = index.search(queries[i : i + 1], 50, 1)
        np.testing.assert_array_equal(one[0], rows[i])
        np.testing.assert_array_equal(score[0], scores[i])
        assert (score[0, found[i] :] == -np.inf).all() and np.isfinite(score[0, : found[i]]).all()


def test_the_seed_decides_the_trees() -> None:
    def answer(seed: int) -> list:
        return built(seed=seed, trees=1).search(vectors(50, seed=1), 10, 20)[0].tolist()

    assert answer(1) == answer(1) != answer(2)
    assert answer(2**31 + 1) == answer(1), "annoy's seeds have 31 bits"


def test_build_parameters_reach_annoy() -> None:
    assert built(trees=7)._index.get_n_trees() == 7
    with pytest.raises(BadConfig, match="trees=0: at least 1"):
        Annoy(trees=0)


def test_after_saving_the_index_is_the_file(tmp_path) -> None:
    index, queries = built(), vectors(20, seed=1)
    before = index.search(queries, 10, 1000)
    index.save(tmp_path)
    for mine, theirs in zip(before, index.search(queries, 10, 1000), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    index.close()
    with pytest.raises(CorruptInput, match="delete the folder and run again"):
        Annoy().load(tmp_path / "nowhere")


def test_threads_of_a_batch_change_nothing() -> None:
    index, queries = built(), vectors(300, seed=1)
    first = index.search(queries, 10, 100)
    index.set_threads(2)
    for mine, theirs in zip(first, index.search(queries, 10, 100), strict=True):
        np.testing.assert_array_equal(mine, theirs)
