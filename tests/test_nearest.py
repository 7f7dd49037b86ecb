"""The kernel against plain float64 numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_bench import nearest as kernel
from retrieval_bench.nearest import nearest, nearest_float32, nearest_of_one, rescore, tie_tolerance
from retrieval_bench.types import Similarity

ALL = list(Similarity)


def reference(queries, gallery, k, similarity):
    """Rows and float64 scores by a full matrix and a stable sort."""
    q, x = np.asarray(queries, np.float64), np.asarray(gallery, np.float64)
    if similarity is Similarity.EUCLIDEAN:
        scores = -np.sqrt(((q[:, None] - x[None]) ** 2).sum(-1))
    else:
        scores = (q[:, None] * x[None]).sum(-1)
        if similarity is Similarity.COSINE:
            scores /= np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(x, axis=1)[None]
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(scores, rows, 1)


def agree(queries, gallery, k, similarity, **options):
    rows, scores = nearest(queries, gallery, k, similarity, **options)
    want, exact = reference(queries, gallery, k, similarity)
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(rows, want)
    np.testing.assert_allclose(scores, exact, rtol=2e-7, atol=1e-7)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("similarity", ALL)
@pytest.mark.parametrize(
    ("q", "n", "dim", "k"), [(300, 2100, 12, 10), (5, 1030, 64, 1), (1, 300, 3, 300), (40, 90, 1, 7)]
)
def test_two_sets(rng, similarity, q, n, dim, k):
    queries, gallery = rng.normal(size=(q, dim)).astype(np.float32), rng.normal(size=(n, dim)).astype(np.float32)
    if dim == 1 and similarity is Similarity.COSINE:
        queries, gallery = abs(queries), abs(gallery)  # all tie at 1
        scores = nearest(queries, gallery, k, similarity)[1]
        np.testing.assert_allclose(scores, 1, rtol=1e-7)
        return
    agree(queries, gallery, k, similarity)


@pytest.mark.parametrize("similarity", ALL)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_one_set_uses_each_product_twice(rng, similarity, threads):
    vectors = rng.normal(size=(1600, 10)).astype(np.float32)
    agree(vectors, vectors, 6, similarity, threads=threads)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int64, np.float16, np.float64, ">f4", np.bool_])
@pytest.mark.parametrize("similarity", ALL)
def test_dtypes(rng, dtype, similarity):
    raw = rng.integers(-90, 90, (700, 9)) if np.dtype(dtype).kind in "if" else rng.integers(0, 256, (700, 9))
    gallery = (raw % 2 if dtype is np.bool_ else raw).astype(dtype)
    gallery[~gallery.any(axis=1), 0] = 1
    agree(gallery[:40], gallery, 5, similarity) if similarity is not Similarity.COSINE else agree_scores(gallery)


def agree_scores(gallery):
    """Under cosine, small integers tie up to the last bit of float64: compare scores only."""
    _, scores = nearest(gallery[:40], gallery, 5, Similarity.COSINE)
    np.testing.assert_allclose(scores, reference(gallery[:40], gallery, 5, Similarity.COSINE)[1], rtol=2e-7)


@pytest.mark.parametrize("similarity", ALL)
def test_memory_map_is_read_in_slabs(rng, similarity, tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "SLAB_BYTES", 100 * 16 * 4)
    monkeypatch.setattr(kernel, "STATE_BYTES", 1)
    np.save(tmp_path / "x.npy", rng.normal(size=(1500, 16)).astype(np.float32))
    gallery = np.load(tmp_path / "x.npy", mmap_mode="r")
    agree(gallery[:600], gallery, 4, similarity)
    agree(gallery, gallery, 4, similarity)


def test_a_transposed_or_strided_input_is_read_rightly(rng):
    gallery = np.asfortranarray(rng.normal(size=(500, 8)).astype(np.float32))
    agree(gallery[::7], gallery, 3, Similarity.DOT)
    assert nearest_of_one(gallery[3:4], gallery, 1, Similarity.EUCLIDEAN)[0].item() == 3


@pytest.mark.parametrize("similarity", ALL)
@pytest.mark.parametrize("one_set", [True, False])
def test_collapsed_vectors_come_in_row_order(similarity, one_set):
    gallery = np.full((1500, 6), 0.3, np.float32)
    rows, scores = nearest(gallery if one_set else gallery[:20].copy(), gallery, 4, similarity)
    assert (rows == np.arange(4)).all()
    assert (scores == scores[0, 0]).all()


@pytest.mark.parametrize("one_set", [True, False])
def test_ties_follow_the_given_order(rng, one_set):
    gallery = rng.integers(0, 2, (1300, 4)).astype(np.float32)
    order = rng.permutation(1300)
    queries = gallery if one_set else gallery[:50].copy()
    rows, scores = nearest(queries, gallery, 9, Similarity.EUCLIDEAN, order=order)
    want, exact = reference(queries, gallery[order], 9, Similarity.EUCLIDEAN)
    np.testing.assert_array_equal(rows, order[want])
    np.testing.assert_allclose(scores, exact, rtol=2e-7)


def test_binary_cosine_ties_are_resolved(rng):
    """Thousands of rows tie with the k-th: neither product can tell them apart, the exact scores can."""
    gallery = rng.integers(0, 2, (1500, 16)).astype(np.float32)
    gallery[:, 0] = 1
    rows, scores = nearest(gallery[:30], gallery, 5, Similarity.COSINE)
    exact = reference(gallery[:30], gallery, 5, Similarity.COSINE)[1]
    np.testing.assert_allclose(scores, exact, rtol=2e-7)
    everything = rescore(gallery[:30], gallery, np.tile(np.arange(1500), (30, 1)), Similarity.COSINE)
    np.testing.assert_array_equal(rows, np.argsort(-everything, axis=1, kind="stable")[:, :5])


@pytest.mark.parametrize("spread", [1e-3, 1e-5, 1e-7])
def test_far_from_the_origin_nothing_cancels(rng, spread):
    gallery = 1000 + spread * rng.normal(size=(1200, 8))
    agree_in_order(gallery[:25], gallery)


def agree_in_order(queries, gallery):
    rows, _ = nearest(queries, gallery, 5, Similarity.EUCLIDEAN)
    np.testing.assert_array_equal(rows, reference(queries, gallery, 5, Similarity.EUCLIDEAN)[0])


@pytest.mark.parametrize("similarity", ALL)
def test_anisotropic_embeddings_are_proven_in_the_first_pass(rng, similarity, monkeypatch):
    """Cosines within 1e-4 of 1, as a random encoder gives: centring leaves float32 enough digits to order them."""
    gallery = (10 + 0.05 * rng.normal(size=(1500, 64))).astype(np.float32)
    unproven = []
    answer = kernel._Search.answer
    monkeypatch.setattr(kernel._Search, "answer", lambda *a: unproven.append(answer(*a)) or unproven[-1])
    rows, _ = nearest(gallery[:50], gallery, 5, similarity)
    np.testing.assert_array_equal(rows, reference(gallery[:50], gallery, 5, similarity)[0])
    assert [len(left) for left in unproven] == [0, 0, 0]


def test_a_class_collapsed_below_float32_is_still_ordered(rng):
    direction = rng.normal(size=8)
    gallery = direction + 1e-4 * rng.normal(size=(1200, 8))
    rows, _ = nearest(gallery[:20], gallery, 5, Similarity.COSINE)
    np.testing.assert_array_equal(rows, reference(gallery[:20], gallery, 5, Similarity.COSINE)[0])


@pytest.mark.parametrize("size", [1e-25, 1e-13, 1e13, 1e25])
@pytest.mark.parametrize("similarity", ALL)
def test_sizes_beyond_float32(rng, size, similarity):
    gallery = size * rng.normal(size=(1100, 5))
    rows, _ = nearest(gallery[:20], gallery, 5, similarity)
    np.testing.assert_array_equal(rows, reference(gallery[:20], gallery, 5, similarity)[0])


def test_the_answer_does_not_depend_on_threads(rng):
    gallery = np.repeat(rng.normal(size=(400, 6)), 4, axis=0).astype(np.float32)
    first = nearest(gallery, gallery, 7, Similarity.COSINE, 1)
    for threads in (2, 4):
        again = nearest(gallery, gallery, 7, Similarity.COSINE, threads)
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])


def test_one_set_and_two_sets_agree(rng):
    gallery = np.repeat(rng.normal(size=(500, 6)), 3, axis=0).astype(np.float32)
    for similarity in ALL:
        np.testing.assert_array_equal(
            nearest(gallery, gallery, 4, similarity)[0], nearest(gallery, gallery.copy(), 4, similarity)[0]
        )


def test_short_galleries_pad():
    gallery = np.eye(2, dtype=np.float32)
    rows, scores = nearest(gallery[:1], gallery, 4, Similarity.DOT)
    assert rows.tolist() == [[0, 1, -1, -1]]
    assert scores.tolist() == [[1.0, 0.0, -np.inf, -np.inf]]
    rows, scores = nearest(gallery, gallery[:0], 2, Similarity.DOT)
    assert rows.tolist() == [[-1, -1], [-1, -1]]
    assert nearest(gallery[:0], gallery, 2, Similarity.DOT)[0].shape == (0, 2)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        nearest(np.eye(2), np.eye(2), 0, Similarity.DOT)
    with pytest.raises(ValueError, match=r"not \(2, 2\) and \(3, 3\)"):
        nearest(np.eye(2), np.eye(3), 1, Similarity.DOT)


def test_inputs_are_not_written(rng):
    gallery = rng.normal(size=(600, 5)).astype(np.float32)
    before = gallery.copy()
    for similarity in ALL:
        nearest(gallery, gallery, 3, similarity)
    np.testing.assert_array_equal(gallery, before)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 300),
    st.integers(1, 6),
    st.integers(1, 30),
    st.sampled_from(ALL),
    st.integers(0, 9),
)
def test_small_integers_exactly(q, n, dim, k, similarity, seed):
    """Many ties, every shape; euclidean and dot are exact, so rows must match to the last tie."""
    rng = np.random.default_rng(seed)
    dim = 1 + seed % 7
    queries, gallery = rng.integers(1, 4, (q, dim)).astype(np.float32), rng.integers(1, 4, (n, dim)).astype(np.float32)
    rows, scores = nearest(queries, gallery, k, similarity)
    want, exact = reference(queries, gallery, k, similarity)
    found = min(k, n)
    np.testing.assert_allclose(scores[:, :found], exact, rtol=2e-7)
    if similarity is not Similarity.COSINE:
        np.testing.assert_array_equal(rows[:, :found], want)
    assert (rows[:, found:] == -1).all()


@pytest.mark.parametrize("similarity", ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float16])
@pytest.mark.parametrize("k", [1, 10, 600, 1000])
def test_one_query_is_answered_as_a_batch(rng, similarity, dtype, k):
    gallery = rng.integers(1, 200, (900, 20)).astype(dtype)
    query = rng.integers(1, 200, (1, 20)).astype(np.float32)
    rows, scores = nearest_of_one(query, gallery, k, similarity)
    want = nearest(query, gallery, k, similarity)
    np.testing.assert_array_equal(rows, want[0])
    np.testing.assert_array_equal(scores, want[1])


def test_float32_search_answers_near_copies_within_the_tie_tolerance(rng):
    gallery = (1000 + 1e-4 * rng.normal(size=(900, 8))).astype(np.float32)
    for similarity in ALL:
        for queries in (gallery[:1], gallery[:5]):
            want, best = nearest(queries, gallery, 3, similarity)
            one = len(queries) == 1
            rows, _ = (
                nearest_of_one(queries, gallery, 3, similarity)
                if one
                else nearest_float32(queries, gallery, 3, similarity)
            )
            scores = rescore(queries, gallery, rows, similarity)
            slack = tie_tolerance(queries, gallery, want, rescore(queries, gallery, want, similarity), similarity)
            assert (scores[:, -1] >= best[:, -1] - slack[:, -1]).all()


@pytest.mark.parametrize("similarity", ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_rescore(rng, similarity, dtype):
    gallery = rng.normal(size=(200, 7)).astype(dtype)
    rows, exact = reference(gallery[:30], gallery, 6, similarity)
    rows[:, -1] = -1
    scores = rescore(gallery[:30], gallery, rows, similarity)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores[:, :-1], exact[:, :-1], rtol=1e-12, atol=1e-14)
    assert (scores[:, -1] == -np.inf).all()


def test_tie_tolerance_values():
    queries, gallery = np.array([[3.0, 4.0]]), np.array([[0.0, 2.0], [30.0, 40.0]])
    rows = np.array([[0, 1, -1]])
    unit = 2 * 2.0**-24
    got = tie_tolerance(queries, gallery, rows, np.array([[8.0, 250.0, -np.inf]]), Similarity.DOT)
    np.testing.assert_allclose(got, [[8e-6, 250e-6, 0]])
    got = tie_tolerance(queries, gallery, rows, np.array([[0.0, 1.0, -np.inf]]), Similarity.DOT)
    np.testing.assert_allclose(got, [[unit * 10, unit * 250, 0]])
    got = tie_tolerance(queries, gallery, rows, np.array([[0.1, 1.0, -np.inf]]), Similarity.COSINE)
    np.testing.assert_allclose(got, [[unit, 1e-6, 0]])
    got = tie_tolerance(queries, gallery, rows, np.array([[0.0, -45.0, -np.inf]]), Similarity.EUCLIDEAN)
    np.testing.assert_allclose(got, [[np.sqrt(2 * unit * 10), 45e-6, 0]])


def test_importing_the_kernel_compiles_and_loads_nothing_heavy():
    import subprocess
    import sys

    code = "import sys, retrieval_bench.nearest; print(sorted({'numba', 'torch', 'faiss'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
