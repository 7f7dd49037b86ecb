"""What the LSH families share, shown on each of them; their collision theory against many draws of hash functions."""

from pathlib import Path

import numpy as np
import pytest

from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.search._lsh import LSH, automatic_bits
from retrieval_bench.search.cross_polytope import CrossPolytope
from retrieval_bench.search.e2lsh import E2LSH
from retrieval_bench.search.simhash import SimHash
from retrieval_bench.types import Similarity

FAMILIES = [SimHash, CrossPolytope, E2LSH]
RNG = np.random.default_rng(0)
GALLERY = RNG.standard_normal((2000, 24)).astype(np.float32) + 2
QUERIES = (GALLERY[:30] + 0.3 * RNG.standard_normal((30, 24))).astype(np.float32)


def built(index: LSH, similarity: Similarity = Similarity.EUCLIDEAN, seed: int = 0, vectors=GALLERY) -> LSH:
    index.build(vectors, similarity, seed)
    return index


def distances(vectors: np.ndarray = GALLERY, queries: np.ndarray = QUERIES) -> np.ndarray:
    return np.linalg.norm(queries[:, None].astype(np.float64) - vectors, axis=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_sketches_the_best_candidates_are_the_answer(family: type[LSH]):
    for options in ({}, {"tables": 3}, {"rotation": "random", "tables": 2}):
        index, truth = built(family(sketch_bits=0, **options)), distances()
        for effort in (1, 8):
            rows, scores = index.search(QUERIES, 5, effort)
            sets = index.candidate_sets(QUERIES, effort)
            for i, one in enumerate(sets):
                best = one[np.argsort(truth[i, one], kind="stable")][:5]
                np.testing.assert_array_equal(rows[i, : len(best)], best)
                np.testing.assert_allclose(-scores[i, : len(best)], truth[i, best], rtol=1e-5)
                assert (rows[i, len(best) :] == -1).all()
            assert index.candidates().tolist() == [len(one) for one in sets]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rotation", ["pca", "random"])
def test_more_tables_and_more_probes_read_more(family: type[LSH], rotation: str):
    one, three = (built(family(rotation=rotation, tables=tables)) for tables in (1, 3))
    for effort in (1, 4, 16):
        small, large = (index.candidate_sets(QUERIES, effort) for index in (one, three))
        assert sum(map(len, large)) > 1.5 * sum(map(len, small))
        wider = one.candidate_sets(QUERIES, 2 * effort)
        assert all(np.isin(a, b).all() for a, b in zip(small, wider, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sketch_bits", [64, 128, 256])
def test_sketches_keep_the_near_ones(family: type[LSH], sketch_bits: int):
    exact = built(family(sketch_bits=0)).search(QUERIES, 5, 64)[0]
    sieved = built(family(sketch_bits=sketch_bits, rerank=4)).search(QUERIES, 5, 64)[0]
    same = np.mean([np.isin(a, b).mean() for a, b in zip(exact, sieved, strict=True)])
    assert {64: 0.4, 128: 0.5, 256: 0.6}[sketch_bits] < same <= 1
    np.testing.assert_array_equal(sieved[:, 0], np.arange(30))


@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_stay_bytes_and_answer_like_floats(family: type[LSH]):
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (800, 19)).astype(np.uint8)
    queries = small[:20].astype(np.float32)
    for similarity in (Similarity.EUCLIDEAN, Similarity.DOT):
        index, floats = built(family(), similarity, 0, small), built(family(), similarity, 0, small.astype(np.float32))
        for asked in (queries, queries + np.float32(0.25)):
            (rows, scores), (expected, others) = index.search(asked, 7, 32), floats.search(asked, 7, 32)
            np.testing.assert_array_equal(np.sort(rows), np.sort(expected))
            np.testing.assert_allclose(scores, others, rtol=1e-5, atol=1e-3)
    store = index._parts[3]
    assert store.vectors.dtype == np.uint8 and not np.shares_memory(store.vectors, small)


@pytest.mark.parametrize("family", FAMILIES)
def test_threads_share_a_batch(family: type[LSH]):
    index, queries = built(family()), np.tile(QUERIES, (10, 1))
    expected = index.search(queries, 3, 4)
    index.set_threads(3)
    rows, scores = index.search(queries, 3, 4)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seed_draws_the_functions(family: type[LSH]):
    one, two, again = (built(family(rotation="random"), seed=seed).candidate_sets(QUERIES, 2) for seed in (0, 1, 0))
    assert any(len(a) != len(b) for a, b in zip(one, two, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_damaged_folder_is_refused(family: type[LSH], tmp_path: Path):
    index = built(family())
    with pytest.raises(CorruptInput, match="holds no saved LSH index"):
        index.load(tmp_path)
    index.save(tmp_path)
    (tmp_path / "lsh.json").write_text("{}")
    with pytest.raises(CorruptInput, match="holds no saved LSH index"):
        index.load(tmp_path)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        (SimHash, {"rotation": "hadamard"}, "rotation=hadamard: pca or random is needed"),
        (SimHash, {"tables": 0}, "tables=0, sketch_bits=256, rerank=5: tables and rerank from 1"),
        (E2LSH, {"sketch_bits": 100}, "sketch_bits=100, rerank=5: .* sketch_bits of 0, 64, 128, 256 are needed"),
        (SimHash, {"bits": 25}, "bits=25: a whole number from 0 to 24, or null"),
        (E2LSH, {"functions": 33}, "functions=33: a whole number from 1 to 32, or null"),
        (E2LSH, {"width": 0.0}, r"width=0\.0: more than 0"),
        (CrossPolytope, {"functions": 0}, "functions=0, axes=None: functions from 1"),
        (CrossPolytope, {"functions": 9, "axes": 64}, r"\(2 · axes\)\^functions up to"),
    ],
)
def test_what_cannot_be_built_is_refused(family: type[LSH], options: dict, message: str):
    with pytest.raises(BadConfig, match=message):
        family(**options)


def test_bits_for_a_gallery():
    assert [automatic_bits(n) for n in (1, 2, 100, 600, 100_000, 1 << 19, 1 << 23)] == [0, 1, 6, 9, 9, 10, 12]


SMALL = {SimHash: {"bits": 7}, CrossPolytope: {"functions": 2, "axes": 6}, E2LSH: {"functions": 5, "width": 1.5}}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tables", [1, 2])
def test_predicted_collisions_are_those_of_many_draws(family: type[LSH], tables: int):
    """One pair a draw and kind: the events are independent, so their sum is binomial around the predicted sum."""
    rng = np.random.default_rng(4)
    query = rng.standard_normal(16)
    noise = rng.standard_normal((3, 16))
    gallery = np.concatenate([query + np.array([[0.3], [0.8], [2.0]]) * noise, rng.standard_normal((60, 16))])
    gallery, query = gallery.astype(np.float32), query[None].astype(np.float32)
    index = family(rotation="random", sketch_bits=0, tables=tables, **SMALL[family])
    pairs = np.array([[0, 1, 2, 30]])
    for effort in (1, 6):
        hits, predicted = np.zeros((150, 4)), np.zeros((150, 4))
        for seed in range(150):
            index.build(gallery, Similarity.EUCLIDEAN, seed)
            hits[seed] = np.isin(pairs[0], index.candidate_sets(query, effort)[0])
            _, chance = index.collision(query, pairs, effort)
            predicted[seed] = chance[0]
        error = np.sqrt((predicted * (1 - predicted)).sum(0))
        away = (hits.sum(0) - predicted.sum(0)) / error
        assert (np.abs(away) < 4).all(), (away, hits.mean(0), predicted.mean(0))
        assert (predicted > 0).all() and (predicted <= 1).all()
        assert (np.diff(predicted.mean(0)[:3]) < 0).all(), "nearer rows collide more often"
    assert predicted.mean() > 0.1 and (predicted.std(0) > 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_similarity_of_a_collision_is_the_family_s_own(family: type[LSH]):
    index = built(family(rotation="random"))
    rows = np.array([[0, 5], [3, 1]])
    similarity, _ = index.collision(QUERIES[:2], rows, 4)
    x, q = GALLERY - GALLERY.mean(0), QUERIES[:2, None] - GALLERY.mean(0)
    cosine = (q * x[rows]).sum(2) / np.linalg.norm(q, axis=2) / np.linalg.norm(x[rows], axis=2)
    expected = distances()[np.arange(2)[:, None], rows] if family is E2LSH else cosine
    np.testing.assert_allclose(similarity, expected, atol=1e-5)
    assert built(family(rotation="pca")).collision(QUERIES[:2], rows, 4) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_that_is_the_query_collides_for_sure(family: type[LSH]):
    index = built(family(rotation="random"))
    _, chance = index.collision(GALLERY[:5], np.arange(5)[:, None], 1)
    np.testing.assert_allclose(chance, 1, atol=1e-6)


@pytest.mark.parametrize("sketch_bits", [0, 64, 128, 256])
def test_a_vector_that_differs_in_every_bit_of_its_sketch_is_found(sketch_bits: int) -> None:
    gallery = np.array([[1, 0, 0, 0], [0, 3, 1, 0]], np.float32)  # centred, each is the other's opposite
    index = SimHash(sketch_bits=sketch_bits, rotation="random")
    index.build(gallery, Similarity.EUCLIDEAN, 0)
    assert index.search(gallery[:1], 2, 2)[0].tolist() == [[0, 1]]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_effort_beyond_all_buckets_is_bounded(family: type[LSH]):
    """A list of 10^12 probes would not fit into memory."""
    index = built(family())
    most, many = (index.candidate_sets(QUERIES, effort) for effort in (10**12, 10**6))
    assert all((a == b).all() for a, b in zip(most, many, strict=True)), "the bound is below both"
    few = index.candidate_sets(QUERIES, 128)
    assert all(np.isin(a, b).all() for a, b in zip(few, most, strict=True))
    np.testing.assert_array_equal(index.search(QUERIES, 5, 10**12)[0], index.search(QUERIES, 5, 10**6)[0])
