import numpy as np
import pytest

from retrieval_bench.search._scan import FARTHEST, Store, _compare, _limit, all_signs, answer, as_bytes


def packed(bits: np.ndarray) -> np.ndarray:
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint64)


@pytest.mark.parametrize("words", [0, 1, 2, 4])
def test_signs_and_their_differences(words: int):
    rng = np.random.default_rng(words)
    values = rng.standard_normal((70, 64 * words + 3)).astype(np.float32)
    values[0] = -values[1]  # all bits differ: 256 do not fit into a byte
    sketches = np.empty((70, words), np.uint64)
    all_signs(values, sketches)
    bits = values[:, : 64 * words] > 0
    if words:
        np.testing.assert_array_equal(sketches, packed(bits))
    out = np.full(100, 77, np.uint8)
    for start, end, width in ((0, 0, 70), (3, 11, 1), (5, 20, 64), (69, 0, 1)):
        out[:] = 77
        _compare(np.ascontiguousarray(sketches.T), start, sketches[1], out, end, width)
        expected = np.minimum((bits[start : start + width] != bits[1]).sum(1), FARTHEST)
        np.testing.assert_array_equal(out[end : end + width], expected)
        assert (out[:end] == 77).all() and (out[end + width :] == 77).all()


def test_the_smallest_limit_that_lets_enough_through():
    rng = np.random.default_rng(0)
    for size in (64, 128, 640):
        distances = rng.integers(0, 200, size).astype(np.uint8)
        distances[-10:] = 255
        for wanted in (1, 2, 30, size - 10):
            assert _limit(distances, wanted) == np.sort(distances)[wanted - 1]


def test_whole_bytes():
    out = np.empty(3, np.uint8)
    assert as_bytes(np.array([0, 7, 255], np.float32), out) and out.tolist() == [0, 7, 255]
    for value in (0.5, -1, 256, 1e30, -1e30, np.inf):
        assert not as_bytes(np.array([0, value, 9], np.float32), out)


def everything(vectors: np.ndarray, euclidean: bool) -> Store:
    """A store without sketches, in a shuffled order."""
    n = len(vectors)
    rows = np.random.default_rng(5).permutation(n).astype(np.int32)
    nothing = np.empty((0, n), np.int32), np.empty((1, 0, n), np.uint64)
    return Store(np.ascontiguousarray(vectors[rows]), rows, *nothing, euclidean, 1, 0.0)


@pytest.mark.parametrize("euclidean", [True, False])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("k", [1, 10, 65, 200, 400])  # kept sorted, sorted at the end, more than there are
def test_scores_and_order(k: int, dtype: type, whole: bool, euclidean: bool):
    rng = np.random.default_rng(k)
    vectors = rng.integers(0, 256, (300, 37)).astype(dtype)
    query = (rng.integers(0, 256, 37) + (0 if whole else 0.25)).astype(np.float32)
    spans = np.array([[[0, 100], [0, 0], [150, 300]]], np.int64)
    store = everything(vectors, euclidean)
    rows, scores = np.empty(k, np.int64), np.empty(k, np.float32)
    answer(query, np.empty(0, np.float32), store, spans, rows, scores)
    wide = vectors.astype(np.float64)
    truth = -np.linalg.norm(wide - query, axis=1) if euclidean else wide @ query
    reached = np.concatenate([store.rows[:100], store.rows[150:]])
    best = reached[np.argsort(-truth[reached], kind="stable")][:k]
    found = min(k, 250)
    np.testing.assert_allclose(scores[:found], truth[rows[:found]], rtol=1e-6)
    np.testing.assert_allclose(scores[:found], truth[best], rtol=1e-6)
    assert len(np.unique(rows[:found])) == found and np.isin(rows[:found], reached).all()
    assert (rows[found:] == -1).all() and (scores[found:] == -np.inf).all()


def test_no_bucket_no_answer():
    rows, scores = np.empty(3, np.int64), np.empty(3, np.float32)
    store = everything(np.ones((4, 2), np.float32), True)
    answer(np.ones(2, np.float32), np.empty(0, np.float32), store, np.zeros((1, 5, 2), np.int64), rows, scores)
    assert (rows == -1).all() and (scores == -np.inf).all()
