"""What the contract suite does not ask: single queries against batches, dtypes kept, and what is saved."""

import numpy as np
import pytest

from retrieval_bench.errors import CorruptInput
from retrieval_bench.search.exact import Exact
from retrieval_bench.types import Similarity


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.mark.parametrize("similarity", list(Similarity))
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_a_single_query_is_answered_as_in_a_batch(rng, similarity, dtype):
    gallery = rng.integers(1, 250, (400, 24)).astype(dtype)
    queries = rng.integers(1, 250, (9, 24)).astype(np.float32)
    index = Exact()
    index.build(gallery, similarity, 0)
    rows, scores = index.search(queries, 12, None)
    assert index.candidates().tolist() == [400] * 9
    for i in range(9):
        one_rows, one_scores = index.search(queries[i : i + 1], 12, None)
        np.testing.assert_array_equal(one_rows, rows[i : i + 1])
        np.testing.assert_array_equal(one_scores, scores[i : i + 1])
    assert index.candidates().tolist() == [400]


def test_the_gallery_is_neither_copied_nor_converted(rng, tmp_path):
    gallery = rng.integers(0, 250, (50, 8)).astype(np.uint8)
    index = Exact()
    index.build(gallery, Similarity.EUCLIDEAN, 0)
    index.save(tmp_path)
    gallery[0] = 255
    rows, scores = index.search(np.full((1, 8), 255, np.float32), 1, None)
    assert (rows.item(), scores.item()) == (0, 0.0)
    assert [p.name for p in tmp_path.iterdir()] == ["euclidean.npy"]
    assert np.load(tmp_path / "euclidean.npy").dtype == np.uint8


@pytest.mark.parametrize("similarity", list(Similarity))
def test_saved_and_loaded_it_answers_the_same(rng, similarity, tmp_path):
    gallery, queries = rng.normal(size=(90, 5)).astype(np.float32), rng.normal(size=(4, 5)).astype(np.float32)
    index, again = Exact(), Exact()
    index.build(gallery, similarity, 0)
    index.save(tmp_path)
    again.load(tmp_path)
    for q in (queries, queries[:1]):
        for mine, theirs in zip(index.search(q, 100, None), again.search(q, 100, None), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_threads_change_nothing(rng):
    gallery = rng.normal(size=(600, 5)).astype(np.float32)
    index = Exact()
    index.build(gallery, Similarity.COSINE, 0)
    first = index.search(gallery, 3, None)
    index.set_threads(2)
    np.testing.assert_array_equal(first[0], index.search(gallery, 3, None)[0])


def test_errors_name_the_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"efforts must be \[\], not \[3\]"):
        Exact([3])
    with pytest.raises(CorruptInput, match="delete the folder and run again"):
        Exact().load(tmp_path)
