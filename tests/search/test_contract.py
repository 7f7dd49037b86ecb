"""What every backend in conf/search must do, because it is listed there."""

import functools
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from retrieval_bench.search.base import Index
from retrieval_bench.types import SearchResult, Similarity

CONF = Path(__file__).parents[2] / "conf" / "search"
NAMES = sorted(file.stem for file in CONF.glob("*.yaml"))
N, DIM, QUERIES = 1500, 32, 50


def factory(name: str) -> functools.partial:
    """The yaml as the worker gets it."""
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    module, _, cls = node.pop("_target_").rpartition(".")
    assert node.pop("_partial_") is True
    return functools.partial(getattr(importlib.import_module(module), cls), **node)


def unit(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


@functools.cache
def generated(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Gallery and queries, unit vectors, read-only."""
    rng = np.random.default_rng(11)
    total = N + QUERIES
    if kind == "uniform":
        x = rng.standard_normal((total, DIM))
    elif kind == "clustered":
        x = rng.standard_normal((60, DIM))[rng.integers(0, 60, total)] + 0.3 * rng.standard_normal((total, DIM))
    elif kind == "collapsed":
        x = np.tile(rng.standard_normal(DIM), (total, 1))
    else:  # every vector ten times
        x = rng.standard_normal((total // 10 + 1, DIM))[rng.integers(0, total // 10, total)]
    x = unit(x)
    x.setflags(write=False)
    return x[:N], x[N:]


@functools.cache
def brute(kind: str, similarity: Similarity) -> np.ndarray:
    """Float64 scores [q, n]."""
    gallery, queries = generated(kind)
    q, g = queries.astype(np.float64), gallery.astype(np.float64)
    if similarity is Similarity.EUCLIDEAN:
        return -np.sqrt(((q[:, None] - g[None]) ** 2).sum(2))
    return q @ g.T


@functools.cache
def built(name: str, kind: str, similarity: Similarity, seed: int = 3) -> Index:
    index = factory(name)()
    index.set_threads(1)
    index.build(generated(kind)[0], similarity, seed)
    return index


def supported(name: str) -> list[Similarity]:
    return sorted(factory(name).func.similarities)


def efforts(index: Index) -> list[int | None]:
    return [None] if index.knob is None else list(index.efforts)


def recall(rows: np.ndarray, truth: np.ndarray, k: int) -> float:
    """Share of the true k best found; an equal score counts."""
    kth = np.sort(truth, axis=1)[:, -k][:, None]
    found = np.where(rows >= 0, np.take_along_axis(truth, np.maximum(rows, 0), 1), -np.inf)
    return float((found >= kth - 1e-5).mean())


CASES = [(name, similarity) for name in NAMES for similarity in supported(name)]
ANSWERING = [(name, similarity) for name, similarity in CASES if not factory(name).func.floor]
EUCLIDEAN = [name for name, similarity in ANSWERING if similarity is Similarity.EUCLIDEAN]
KINDS = ("uniform", "clustered", "collapsed", "duplicates")


@pytest.mark.parametrize("name", NAMES)
def test_class_facts_are_readable_without_constructing(name: str) -> None:
    made = factory(name)
    cls = made.func
    assert issubclass(cls, Index)
    assert cls.similarities and cls.similarities <= set(Similarity)
    index = made()
    assert (cls.knob is None) == (len(index.efforts) == 0)
    assert list(index.efforts) == sorted(set(index.efforts))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "similarity"), CASES)
def test_answers_are_well_formed(name: str, similarity: Similarity, kind: str) -> None:
    index, queries = built(name, kind, similarity), generated(kind)[1]
    for effort in efforts(index):
        rows, scores = index.search(queries, 10, effort)
        assert rows.shape == scores.shape == (QUERIES, 10)
        assert (rows.dtype, scores.dtype) == (np.int64, np.float32)
        assert rows.max() < N
        SearchResult(np.asarray(rows), np.asarray(scores))  # descending, unique, -1 only at the end
        assert (scores[rows < 0] == -np.inf).all()


@pytest.mark.parametrize(("name", "similarity"), ANSWERING)
def test_scores_are_the_similarity(name: str, similarity: Similarity) -> None:
    index = built(name, "clustered", similarity)
    assert not index.approximate_scores or name not in {"exact", "ivf", "hnsw"}
    if index.approximate_scores:
        return
    queries, truth = generated("clustered")[1], brute("clustered", similarity)
    for effort in efforts(index):
        rows, scores = index.search(queries, 10, effort)
        found = rows >= 0
        expected = np.take_along_axis(truth, np.maximum(rows, 0), 1)
        np.testing.assert_allclose(scores[found], expected[found], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("name", "similarity"), ANSWERING)
def test_finds_the_neighbours(name: str, similarity: Similarity) -> None:
    index = built(name, "clustered", similarity)
    queries, truth = generated("clustered")[1], brute("clustered", similarity)
    recalls = [recall(index.search(queries, 10, effort)[0], truth, 10) for effort in efforts(index)]
    assert recalls[-1] >= (1.0 if index.exact else 0.9)
    assert (np.diff(recalls) >= -0.02).all(), "more effort must not find less"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "similarity"), [case for case in ANSWERING if factory(case[0]).func.exact])
def test_exact_is_exact(name: str, similarity: Similarity, kind: str) -> None:
    queries, truth = generated(kind)[1], brute(kind, similarity)
    rows, _ = built(name, kind, similarity).search(queries, 10, None)
    assert recall(rows, truth, 10) == 1.0
    if kind in {"uniform", "clustered"}:  # no ties there
        np.testing.assert_array_equal(rows, np.argsort(-truth, axis=1)[:, :10])


@pytest.mark.parametrize(("name", "similarity"), CASES)
def test_one_query_gets_what_the_batch_gets(name: str, similarity: Similarity) -> None:
    index, queries = built(name, "uniform", similarity), generated("uniform")[1]
    for effort in efforts(index):
        rows, scores = index.search(queries, 10, effort)
        singles = [index.search(queries[i : i + 1], 10, effort) for i in range(10)]  # kept: none may be overwritten
        np.testing.assert_array_equal(np.concatenate([r for r, _ in singles]), rows[:10])
        np.testing.assert_allclose(np.concatenate([s for _, s in singles]), scores[:10], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "similarity"), CASES)
@pytest.mark.parametrize("n", [1, 2, 17])
def test_a_small_gallery_gives_short_lists(name: str, similarity: Similarity, n: int) -> None:
    gallery, queries = generated("uniform")
    index = factory(name)()
    index.build(np.ascontiguousarray(gallery[:n]), similarity, 0)
    effort = efforts(index)[-1]
    rows, scores = index.search(queries[:3], n + 5, effort)
    np.testing.assert_array_equal(np.sort(rows[:, :n], axis=1), np.tile(np.arange(n), (3, 1)))
    assert (rows[:, n:] == -1).all() and (scores[:, n:] == -np.inf).all() and np.isfinite(scores[:, :n]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float64])
@pytest.mark.parametrize("name", EUCLIDEAN)
def test_other_dtypes(name: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    gallery = rng.integers(0, 200, (500, 16)).astype(dtype)
    index = factory(name)()
    index.build(gallery, Similarity.EUCLIDEAN, 0)
    rows, scores = index.search(gallery[:40].astype(np.float32), 1, efforts(index)[-1])
    np.testing.assert_array_equal(rows[:, 0], np.arange(40))
    np.testing.assert_allclose(scores[:, 0], 0, atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_not_written(name: str) -> None:
    similarity = supported(name)[0]
    rng = np.random.default_rng(1)
    gallery, queries = unit(rng.standard_normal((300, 8))), unit(rng.standard_normal((20, 8)))
    before = gallery.copy(), queries.copy()
    index = factory(name)()
    index.build(gallery, similarity, 0)
    for effort in efforts(index):
        index.search(queries, 5, effort)
        index.search(queries[:1], 5, effort)
    np.testing.assert_array_equal(gallery, before[0])
    np.testing.assert_array_equal(queries, before[1])


@pytest.mark.parametrize(("name", "similarity"), CASES)
def test_the_same_seed_gives_the_same_answers(name: str, similarity: Similarity) -> None:
    first, queries = built(name, "clustered", similarity), generated("clustered")[1]
    second = factory(name)()
    second.set_threads(1)
    second.build(generated("clustered")[0], similarity, 3)
    for effort in efforts(first):
        np.testing.assert_array_equal(first.search(queries, 10, effort)[0], second.search(queries, 10, effort)[0])


@pytest.mark.parametrize(("name", "similarity"), CASES)
def test_candidates_count_the_last_call(name: str, similarity: Similarity) -> None:
    index, queries = built(name, "uniform", similarity), generated("uniform")[1]
    means = []
    for effort in efforts(index):
        index.search(queries, 10, effort)
        counts = index.candidates()
        if counts is None:
            return
        assert counts.shape == (QUERIES,) and counts.dtype == np.int64 and counts.min() >= 0
        means.append(counts.mean())
        index.search(queries[:1], 10, effort)
        single = index.candidates()
        assert single is not None and single.shape == (1,)
    assert (np.diff(means) > 0).all(), "more effort scores more vectors"


LOADED = """
import sys, pickle, numpy as np
from pathlib import Path
folder = Path(sys.argv[1])
make = pickle.loads((folder / "factory.pickle").read_bytes())
queries, k, efforts = np.load(folder / "queries.npy"), 10, pickle.loads((folder / "efforts.pickle").read_bytes())
for number, similarity in enumerate(sorted(make.func.similarities)):
    index = make()
    index.load(folder / f"index{number}")
    for effort in efforts:
        rows, scores = index.search(queries, k, effort)
        np.savez(folder / f"answer{number}-{effort}.npz", rows=rows, scores=scores)
    index.close()
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_index_answers_the_same_in_a_fresh_process(name: str, tmp_path: Path) -> None:
    import pickle

    queries = generated("clustered")[1]
    (tmp_path / "factory.pickle").write_bytes(pickle.dumps(factory(name)))
    np.save(tmp_path / "queries.npy", queries)
    for number, similarity in enumerate(supported(name)):
        index = built(name, "clustered", similarity)
        (tmp_path / "efforts.pickle").write_bytes(pickle.dumps(efforts(index)))
        (tmp_path / f"index{number}").mkdir()
        index.save(tmp_path / f"index{number}")
        assert any((tmp_path / f"index{number}").iterdir())
    done = subprocess.run([sys.executable, "-c", LOADED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for number, similarity in enumerate(supported(name)):
        index = built(name, "clustered", similarity)
        for effort in efforts(index):
            rows, scores = index.search(queries, 10, effort)
            with np.load(tmp_path / f"answer{number}-{effort}.npz") as answer:
                np.testing.assert_array_equal(answer["rows"], rows)
                np.testing.assert_allclose(answer["scores"], scores, rtol=1e-6)


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from retrieval_bench.errors import MissingExtra

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"faiss is not installed; type: pip install 'retrieval-bench\[faiss\]'"):
        factory("hnsw")()


def test_search_needs_no_torch() -> None:
    code = "import sys, retrieval_bench.search.%s; assert not {'torch', 'faiss', 'pandas'} & set(sys.modules)"
    for name in NAMES:
        done = subprocess.run([sys.executable, "-c", code % name], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
