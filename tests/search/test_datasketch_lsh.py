"""Our tables against datasketch's dictionaries."""

import sys

import numpy as np
import pytest

from retrieval_bench.errors import MissingExtra
from retrieval_bench.search.datasketch_lsh import DatasketchLSH
from retrieval_bench.search.minhash_lsh import MinHashLSH
from retrieval_bench.types import Similarity


@pytest.mark.parametrize("similarity", list(Similarity))
@pytest.mark.parametrize(
    ("tokenizer", "bands", "band_rows"),
    [("kmeans_words", 32, 2), ("kmeans_words", 16, 1), ("kmeans_words", 32, 3), ("signed_top", 20, 6)],
)
def test_both_backends_have_the_same_candidates_and_answers(
    tokenizer: str, bands: int, band_rows: int, similarity: Similarity
) -> None:
    rng = np.random.default_rng(0)
    x = 2 * rng.standard_normal((30, 16))[rng.integers(0, 30, 1040)] + 0.5 * rng.standard_normal((1040, 16))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    gallery, queries = x[:1000], x[1000:]
    made = [backend(tokenizer, None, None, 128, bands, band_rows) for backend in (MinHashLSH, DatasketchLSH)]
    for index in made:
        index.build(gallery, similarity, 7)
    sizes = []
    for effort in (1, 4, bands):
        ours, theirs = (index.candidate_sets(queries, effort) for index in made)
        assert [found.tolist() for found in ours] == [found.tolist() for found in theirs]
        sizes.append(sum(map(len, ours)))
        (rows, scores), (their_rows, their_scores) = (index.search(queries, 10, effort) for index in made)
        np.testing.assert_array_equal(rows >= 0, their_rows >= 0)
        np.testing.assert_allclose(scores, their_scores, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(made[0].candidates(), made[1].candidates())
        rows = np.maximum(rows, 0)
        for one, other in zip(*(index.collision(queries, rows, effort) for index in made), strict=True):
            np.testing.assert_array_equal(one, other)
    assert 0 < sizes[0] < sizes[1] < sizes[2] < 40 * 1000


def test_fewer_tables_share_the_dictionaries() -> None:
    index = DatasketchLSH(tokenizer="signed_top")
    index.build(np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32), Similarity.EUCLIDEAN, 0)
    view = index._view(4)
    assert type(view) is type(index._lsh) and len(view.hashtables) == 4 and len(index._lsh.hashtables) == 32
    assert view.hashtables[3] is index._lsh.hashtables[3]


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(
        MissingExtra, match=r"datasketch is not installed; type: pip install 'retrieval-bench\[datasketch\]'"
    ):
        DatasketchLSH()
