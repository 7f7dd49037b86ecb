"""MinHash LSH: its theory, its knob, its parameters."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.nearest import rescore
from retrieval_bench.search.minhash_lsh import MinHashLSH
from retrieval_bench.types import Similarity


def clustered(n: int, dim: int = 32, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((40, dim))
    return (centres[rng.integers(0, 40, n)] + 0.4 * rng.standard_normal((n, dim))).astype(np.float32)


def built(gallery: np.ndarray, seed: int = 0, **parameters: object) -> MinHashLSH:
    index = MinHashLSH(**parameters)  # type: ignore[arg-type]
    index.build(gallery, Similarity.EUCLIDEAN, seed)
    return index


@pytest.mark.parametrize(("band_rows", "tables"), [(1, 1), (1, 3), (2, 1), (2, 12), (3, 12)])
def test_pairs_meet_as_often_as_predicted(band_rows: int, tables: int) -> None:
    """Over random permutations, with the token sets fixed: within 5 standard errors, in each part of the range."""
    gallery, queries = clustered(300), clustered(20, seed=1)
    rows = np.tile(np.arange(300), (20, 1))
    met, draws = np.zeros((20, 300)), 150
    for seed in range(draws):
        index = built(gallery, seed, tokenizer="signed_top", tokens=8, bands=12, band_rows=band_rows)
        for line, found in zip(met, index.candidate_sets(queries, tables), strict=True):
            line[found] += 1
    jaccard, predicted = index.collision(queries, rows, tables)
    assert (jaccard.min(), jaccard.max() > 0.5) == (0, True)
    np.testing.assert_allclose(predicted, 1 - (1 - jaccard**band_rows) ** tables)
    assert (met[jaccard == 0] == 0).all()
    for similarity in np.unique(jaccard):
        pairs = jaccard == similarity
        p = predicted[pairs][0]
        # Pairs share their permutations, so the error is that of the draws, shrunk by less than the number of pairs.
        error = np.sqrt(p * (1 - p) / draws) + 1e-12
        assert abs(met[pairs].mean() / draws - p) <= 5 * error / np.sqrt(min(pairs.sum(), 20))


def test_jaccard_by_hand() -> None:
    gallery = np.array([[9, 8, 0, 0], [9, -8, 0, 0], [0, 0, 9, 8]], np.float32)
    index = built(gallery, tokenizer="signed_top", tokens=2)
    jaccard, probability = index.collision(gallery[:1], np.array([[0, 1, 2, 0]]), 1)
    np.testing.assert_allclose(jaccard, [[1, 1 / 3, 0, 1]])
    np.testing.assert_allclose(probability, [[1, 1 / 9, 0, 1]])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_answer_is_the_exact_order_of_the_candidates(dtype: type) -> None:
    gallery, queries = (20 * clustered(3000) + 128).astype(dtype), 20 * clustered(30, seed=1) + 128
    for asked in (queries, np.rint(queries)):
        index = built(gallery)
        for effort in (1, 8, 32):
            rows, scores = index.search(asked, 10, effort)
            sets = index.candidate_sets(asked, effort)
            np.testing.assert_array_equal(index.candidates(), [len(found) for found in sets])
            for i, found in enumerate(sets):
                exact = np.sort(rescore(asked[i : i + 1], gallery, found[None], Similarity.EUCLIDEAN)[0])[::-1][:10]
                np.testing.assert_allclose(scores[i, : len(exact)], exact, rtol=1e-5)
                assert np.isin(rows[i, : len(exact)], found).all() and (rows[i, len(exact) :] == -1).all()


def test_more_tables_hold_what_fewer_hold() -> None:
    gallery, queries = clustered(2000), clustered(30, seed=1)
    index = built(gallery)
    sets = [index.candidate_sets(queries, effort) for effort in (1, 2, 8, 32)]
    for fewer, more in pairwise(sets):
        assert all(np.isin(a, b).all() for a, b in zip(fewer, more, strict=True))
    for same in (64, None):
        for a, b in zip(sets[-1], index.candidate_sets(queries, same), strict=True):
            np.testing.assert_array_equal(a, b)


def test_threads_change_nothing() -> None:
    gallery, queries = clustered(2000), clustered(333, seed=1)
    index = built(gallery)
    alone, counts = index.search(queries, 10, 4), index.candidates()
    index.set_threads(3)
    for one, other in zip(alone, index.search(queries, 10, 4), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(index.candidates(), counts)
    with ThreadPoolExecutor(4) as clients:  # concurrent callers of one query each
        singles = list(clients.map(lambda i: index.search(queries[i : i + 1], 10, 4)[0][0], range(333)))
    np.testing.assert_array_equal(singles, alone[0])


def test_what_is_saved_is_what_is_read(tmp_path: Path) -> None:
    queries = np.rint(20 * clustered(20, seed=1) + 128)
    for name, dtype, parameters in (
        ("a", np.uint8, {}),
        ("b", np.float32, {"band_rows": 3, "tokenizer": "signed_top"}),
    ):
        index = built((20 * clustered(500) + 128).astype(dtype), **parameters)
        folder = tmp_path / name
        folder.mkdir()
        index.save(folder)
        other = MinHashLSH(**parameters)  # type: ignore[arg-type]
        other.load(folder)
        for one, two in zip(index.search(queries, 5, 32), other.search(queries, 5, 32), strict=True):
            np.testing.assert_array_equal(one, two)
        rows = np.arange(40).reshape(20, 2)
        np.testing.assert_array_equal(index.collision(queries, rows, 2)[0], other.collision(queries, rows, 2)[0])
    (tmp_path / "c").mkdir()
    with pytest.raises(CorruptInput, match=r"holds no minhash\.npz; delete the folder"):
        other.load(tmp_path / "c")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tokenizer": "words"}, "tokenizer=words is not one of kmeans_words, signed_top"),
        ({"bands": 0, "tokens": -1}, "tokens=-1, bands=0: numbers from 1 are needed"),
        (
            {"bands": 64, "band_rows": 3},
            "64 bands of 3 rows need 192 permutations, more than 128; type permutations=192",
        ),
    ],
)
def test_wrong_parameters_are_told(parameters: dict, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        MinHashLSH(**parameters)
