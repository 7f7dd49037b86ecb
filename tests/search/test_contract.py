"""What every backend in conf/search must do, because it is listed there. Only class facts may exempt one."""

import functools
import json
import pickle
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest

from retrieval_bench import _job
from retrieval_bench.doctor import shipped_backend
from retrieval_bench.measure import Candidate, Measure, Plan, measure
from retrieval_bench.search import base
from retrieval_bench.search.base import Family, Index
from retrieval_bench.search.null import Null
from retrieval_bench.types import Embeddings, SearchResult, Similarity

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf" / "search"
NAMES = sorted(file.stem for file in CONF.glob("*.yaml"))
DIM, QUERIES, K = 32, 30, 10
# Clusters of about 120; large enough that the highest effort of no backend may read the gallery as a whole.
N = {"clustered": 7000, "repeated": 3000}
SMALL = 1500
KINDS = ("uniform", "clustered", "collapsed", "duplicates", "repeated", "lengths")


@functools.cache
def factory(name: str) -> functools.partial:
    """The yaml as the worker gets it."""
    return shipped_backend(CONF / f"{name}.yaml")


@functools.cache
def facts(name: str) -> type[Index]:
    return base.facts(factory(name))


def unit(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


@functools.cache
def generated(kind: str, similarity: Similarity) -> tuple[np.ndarray, np.ndarray]:
    """Gallery and queries as a worker hands them over, read-only."""
    rng = np.random.default_rng(11)
    n = N.get(kind, SMALL)
    total = n + QUERIES
    if kind in {"uniform", "lengths"}:
        x = rng.standard_normal((total, DIM))
    elif kind == "clustered":
        x = rng.standard_normal((60, DIM))[rng.integers(0, 60, total)] + 0.3 * rng.standard_normal((total, DIM))
    elif kind == "collapsed":
        x = np.tile(rng.standard_normal(DIM), (total, 1))
    else:  # every vector ten times, or a thousand times
        copies = 10 if kind == "duplicates" else 1000
        x = rng.standard_normal((n // copies, DIM))[rng.permutation(np.arange(total) % (n // copies))]
    x = unit(x)
    if kind == "lengths" and similarity is not Similarity.COSINE:
        x *= rng.uniform(0.3, 3, (total, 1)).astype(np.float32)
    x.setflags(write=False)
    return x[:n], x[n:]


@functools.cache
def brute(kind: str, similarity: Similarity) -> np.ndarray:
    """Float64 scores [q, n]."""
    return scored(*generated(kind, similarity), similarity)


def scored(gallery: np.ndarray, queries: np.ndarray, similarity: Similarity) -> np.ndarray:
    q, g = queries.astype(np.float64), gallery.astype(np.float64)
    if similarity is Similarity.EUCLIDEAN:
        return -np.stack([np.sqrt(((row - g) ** 2).sum(1)) for row in q])
    return q @ g.T


@functools.cache
def built(name: str, kind: str, similarity: Similarity) -> Index:
    return fresh(name, generated(kind, similarity)[0], similarity)


def fresh(name: str, gallery: np.ndarray, similarity: Similarity, seed: int = 3) -> Index:
    index = factory(name)()
    index.set_threads(1)
    index.set_blocks(halves(gallery.shape[1]))
    index.build(gallery, similarity, seed)
    return index


@functools.cache
def answer(name: str, kind: str, similarity: Similarity, effort: int | None) -> tuple[np.ndarray, ...]:
    """Rows, scores and candidate counts (or none) of all queries."""
    index = built(name, kind, similarity)
    rows, scores = index.search(generated(kind, similarity)[1], K, effort)
    return np.array(rows), np.array(scores), index.candidates()


def halves(dim: int) -> dict[str, tuple[int, int]]:
    """Two blocks, as of two streams; one column makes one."""
    return {"left": (0, dim - dim // 2)} | ({"right": (dim - dim // 2, dim)} if dim > 1 else {})


def supported(name: str) -> list[Similarity]:
    return sorted(facts(name).similarities)


def efforts(name: str) -> list[int | None]:
    return list(factory(name).keywords["efforts"]) or [None]


def recall(rows: np.ndarray, truth: np.ndarray, k: int) -> float:
    """Share of the true k best found; an equal score counts."""
    kth = np.sort(truth, axis=1)[:, -k][:, None]
    found = np.where(rows >= 0, np.take_along_axis(truth, np.maximum(rows, 0), 1), -np.inf)
    return float((found >= kth - 1e-5).mean())


def check_form(rows: np.ndarray, scores: np.ndarray, shape: tuple[int, int], n: int) -> None:
    assert rows.shape == scores.shape == shape
    assert (rows.dtype, scores.dtype) == (np.int64, np.float32)
    assert rows.max() < n
    SearchResult(np.asarray(rows), np.asarray(scores))  # descending, unique, -1 only at the end
    assert (scores[rows < 0] == -np.inf).all() and np.isfinite(scores[rows >= 0]).all()


def check_scores(rows: np.ndarray, scores: np.ndarray, truth: np.ndarray, similarity: Similarity) -> None:
    """Recomputed scores agree; distances as squares, in which all backends round."""
    found = rows >= 0
    theirs = scores[found].astype(np.float64)
    mine = np.take_along_axis(truth, np.maximum(rows, 0), 1)[found]
    if similarity is Similarity.EUCLIDEAN:
        assert (theirs <= 0).all()
        theirs, mine = theirs**2, mine**2
    np.testing.assert_allclose(theirs, mine, rtol=1e-5, atol=2e-6)


CASES = [(name, similarity) for name in NAMES for similarity in supported(name)]
ANSWERING = [(name, similarity) for name, similarity in CASES if not facts(name).floor]
EUCLIDEAN = [name for name, similarity in ANSWERING if similarity is Similarity.EUCLIDEAN]
WITH_LIBRARY = [name for name in NAMES if facts(name).library is not None]
FILED = [name for name in NAMES if facts(name).family is not Family.SERVER]  # a server keeps its own files


@pytest.mark.parametrize("name", NAMES)
def test_class_facts_are_readable_without_constructing(name: str) -> None:
    cls = facts(name)
    assert issubclass(cls, Index)
    assert cls.similarities and cls.similarities <= set(Similarity)
    assert cls.floor or cls.family in set(Family) - {Family.OTHER}
    assert cls.exact or cls.family is not Family.EXACT
    index = factory(name)()
    assert (cls.knob is None) == (len(index.efforts) == 0)
    assert list(index.efforts) == sorted(set(index.efforts)) == list(factory(name).keywords["efforts"])
    assert cls.knob is None or len(index.efforts) >= 5, "a curve needs points"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "similarity"), CASES)
def test_answers_are_well_formed(name: str, similarity: Similarity, kind: str) -> None:
    n = len(generated(kind, similarity)[0])
    for effort in efforts(name):
        rows, scores, _ = answer(name, kind, similarity, effort)
        check_form(rows, scores, (QUERIES, K), n)


@pytest.mark.parametrize("kind", ["collapsed", "repeated"])
@pytest.mark.parametrize(("name", "similarity"), ANSWERING)
def test_equal_vectors_fill_the_lists(name: str, similarity: Similarity, kind: str) -> None:
    rows = answer(name, kind, similarity, efforts(name)[-1])[0]
    assert (rows >= 0).all()
    if kind == "collapsed":
        assert recall(rows, brute(kind, similarity), K) == 1.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "similarity"), ANSWERING)
def test_scores_are_the_similarity(name: str, similarity: Similarity, kind: str) -> None:
    if facts(name).approximate_scores:  # nothing but their order is promised
        return
    for effort in efforts(name):
        check_scores(*answer(name, kind, similarity, effort)[:2], brute(kind, similarity), similarity)


@pytest.mark.parametrize(("name", "similarity"), ANSWERING)
def test_finds_the_neighbours(name: str, similarity: Similarity) -> None:
    truth = brute("clustered", similarity)
    answers = [answer(name, "clustered", similarity, effort) for effort in efforts(name)]
    recalls = [recall(rows, truth, K) for rows, _, _ in answers]
    assert recalls[-1] >= (1.0 if facts(name).exact else 0.9), recalls
    assert (np.diff(recalls) >= -0.02).all(), f"more effort must not find less: {recalls}"
    counts = answers[-1][2]
    if counts is not None and not facts(name).exact:
        assert counts.mean() / N["clustered"] <= 0.3, "so many candidates are nearly an exact search"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "similarity"), [case for case in ANSWERING if facts(case[0]).exact])
def test_exact_is_exact(name: str, similarity: Similarity, kind: str) -> None:
    truth = brute(kind, similarity)
    rows, _, _ = answer(name, kind, similarity, efforts(name)[-1])
    assert recall(rows, truth, K) == 1.0
    if kind in {"uniform", "clustered", "lengths"}:  # no ties there
        np.testing.assert_array_equal(rows, np.argsort(-truth, axis=1)[:, :K])


@pytest.mark.parametrize(("name", "similarity"), CASES)
def test_one_query_gets_what_the_batch_gets(name: str, similarity: Similarity) -> None:
    index, queries = built(name, "uniform", similarity), generated("uniform", similarity)[1]
    for effort in efforts(name):
        rows, scores, _ = answer(name, "uniform", similarity, effort)
        singles = [index.search(queries[i : i + 1], K, effort) for i in range(10)]  # kept: none may be overwritten
        np.testing.assert_array_equal(np.concatenate([r for r, _ in singles]), rows[:10])
        np.testing.assert_allclose(np.concatenate([s for _, s in singles]), scores[:10], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "similarity"), CASES)
def test_threads_do_not_change_a_batch(name: str, similarity: Similarity) -> None:
    index, effort = built(name, "uniform", similarity), efforts(name)[0]
    queries = np.tile(generated("uniform", similarity)[1], (4, 1))
    try:
        index.set_threads(2)
        rows, _ = index.search(queries, K, effort)
    finally:
        index.set_threads(1)
    np.testing.assert_array_equal(rows, np.tile(answer(name, "uniform", similarity, effort)[0], (4, 1)))


@pytest.mark.parametrize(("name", "similarity"), CASES)
def test_concurrent_callers_get_their_own_answers(name: str, similarity: Similarity) -> None:
    """What `measure.clients` does: several threads ask one index for single queries at once."""
    index, queries, effort = built(name, "uniform", similarity), generated("uniform", similarity)[1], efforts(name)[-1]
    rows, scores, _ = answer(name, "uniform", similarity, effort)
    firsts = [0, 7, 14, 21]
    start = threading.Barrier(len(firsts), timeout=60)

    def client(first: int) -> bool:
        start.wait()
        for i in range(first, first + 3 * QUERIES):
            mine, values = index.search(queries[i % QUERIES][None], K, effort)
            np.testing.assert_array_equal(mine[0], rows[i % QUERIES])
            np.testing.assert_allclose(values[0], scores[i % QUERIES], rtol=1e-5, atol=1e-5)
        return True

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # else a thread is done before the next one gets its turn
    try:
        with ThreadPoolExecutor(len(firsts)) as pool:
            assert all(pool.map(client, firsts))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize(("name", "similarity"), CASES)
@pytest.mark.parametrize("n", [1, 2, 17])
def test_a_small_gallery_gives_short_lists(name: str, similarity: Similarity, n: int) -> None:
    gallery, queries = generated("uniform", similarity)
    index = fresh(name, np.ascontiguousarray(gallery[:n]), similarity)
    for effort in efforts(name):
        for count in (3, 1):
            rows, scores = index.search(queries[:count], n + 5, effort)
            check_form(rows, scores, (count, n + 5), n)
    # All of them at the highest effort; of tables that a query may miss, at least itself.
    if facts(name).family is Family.LSH:
        rows, _ = index.search(np.ascontiguousarray(gallery[:n]), n + 5, efforts(name)[-1])
        np.testing.assert_array_equal(rows[:, 0], np.arange(n))
    else:
        np.testing.assert_array_equal(np.sort(rows[:, :n], axis=1), np.arange(n)[None])
    index.close()


@pytest.mark.parametrize("dim", [1, 33, 127])
@pytest.mark.parametrize(("name", "similarity"), ANSWERING)
def test_odd_dimensions(name: str, similarity: Similarity, dim: int) -> None:
    rng = np.random.default_rng(dim)
    gallery = unit(rng.standard_normal((300, dim)))
    if dim == 1 and similarity is not Similarity.COSINE:  # unit vectors of one dimension are all but equal
        gallery = rng.uniform(0.5, 2, (300, 1)).astype(np.float32)
    index, queries = fresh(name, gallery, similarity), np.ascontiguousarray(gallery[:40])
    truth = scored(gallery, queries, similarity)
    rows, scores = index.search(queries, K, efforts(name)[-1])
    check_form(rows, scores, (40, K), 300)
    if not facts(name).approximate_scores:
        check_scores(rows, scores, truth, similarity)
        if dim > 1 or similarity is not Similarity.DOT:  # elsewhere an item need not be its own best answer
            assert recall(rows[:, :1], truth, 1) == 1.0, "an item of the gallery finds itself"
    index.close()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16, np.float64])
@pytest.mark.parametrize("name", EUCLIDEAN)
def test_other_dtypes(name: str, dtype: type) -> None:
    gallery = np.random.default_rng(0).integers(0, 120, (500, 16)).astype(dtype)
    index = fresh(name, gallery, Similarity.EUCLIDEAN)
    rows, scores = index.search(gallery[:40].astype(np.float32), 1, efforts(name)[-1])
    np.testing.assert_array_equal(rows[:, 0], np.arange(40))
    if not facts(name).approximate_scores:
        np.testing.assert_allclose(scores[:, 0], 0, atol=1e-2)
    index.close()


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_not_written(name: str) -> None:
    similarity = supported(name)[0]
    rng = np.random.default_rng(1)
    gallery, queries = unit(rng.standard_normal((300, 8))), unit(rng.standard_normal((20, 8)))
    before = gallery.copy(), queries.copy()
    index = fresh(name, gallery, similarity)
    for effort in efforts(name):
        index.search(queries, 5, effort)
        index.search(queries[:1], 5, effort)
    np.testing.assert_array_equal(gallery, before[0])
    np.testing.assert_array_equal(queries, before[1])
    index.close()


@pytest.mark.parametrize(("name", "similarity"), CASES)
def test_the_same_seed_gives_the_same_answers(name: str, similarity: Similarity) -> None:
    for kind in ("uniform", "duplicates"):
        gallery, queries = generated(kind, similarity)
        second = fresh(name, gallery, similarity)
        for effort in efforts(name):
            rows = answer(name, kind, similarity, effort)[0]
            np.testing.assert_array_equal(second.search(queries, K, effort)[0], rows)
        second.close()


@pytest.mark.parametrize(("name", "similarity"), CASES)
def test_candidates_count_the_last_call(name: str, similarity: Similarity) -> None:
    index, queries = built(name, "uniform", similarity), generated("uniform", similarity)[1]
    means = []
    for effort in efforts(name):
        counts = answer(name, "uniform", similarity, effort)[2]
        if counts is None:
            return
        assert counts.shape == (QUERIES,) and counts.dtype == np.int64 and counts.min() >= 0
        means.append(counts.mean())
        index.search(queries[:1], K, effort)
        single = index.candidates()
        assert single is not None and single.shape == (1,) and single.dtype == np.int64
    assert len(means) == 1 or ((np.diff(means) >= 0).all() and means[-1] > means[0]), "more effort scores more vectors"


@pytest.mark.parametrize(("name", "similarity"), CASES)
def test_candidate_sets_hold_the_answers(name: str, similarity: Similarity) -> None:
    index, (gallery, queries) = built(name, "clustered", similarity), generated("clustered", similarity)
    sizes = []
    for effort in efforts(name):
        sets = index.candidate_sets(queries, effort)
        if sets is None:
            assert index.candidate_sets(queries[:1], effort) is None
            return
        assert len(sets) == QUERIES
        rows = answer(name, "clustered", similarity, effort)[0]
        for one, found in zip(sets, rows, strict=True):
            assert one.dtype == np.int64 and one.ndim == 1 and len(np.unique(one)) == len(one)
            assert one.min(initial=0) >= 0 and one.max(initial=0) < len(gallery)
            assert np.isin(found[found >= 0], one).all(), "an answer was no candidate"
        sizes.append(np.mean([len(one) for one in sets]))
    assert (np.diff(sizes) >= 0).all() and sizes[-1] > sizes[0]


@pytest.mark.parametrize(("name", "similarity"), CASES)
def test_collision_theory_is_a_probability(name: str, similarity: Similarity) -> None:
    index, (gallery, _) = built(name, "clustered", similarity), generated("clustered", similarity)
    queries = np.ascontiguousarray(gallery[:20])
    rows = np.random.default_rng(0).integers(0, len(gallery), (20, 30))
    rows[:, 0] = np.arange(20)
    before = np.zeros(rows.shape)
    for effort in efforts(name):
        told = index.collision(queries, rows, effort)
        if told is None:
            return
        alike, probability = told
        assert alike.shape == probability.shape == rows.shape and alike.dtype == probability.dtype == np.float64
        assert np.isfinite(alike).all() and (probability >= 0).all() and (probability <= 1).all()
        np.testing.assert_allclose(probability[:, 0], 1, atol=1e-6, err_msg="an item always meets itself")
        assert (probability >= before - 1e-6).all(), "more effort meets no fewer"
        before = probability


LOADED = """
import pickle, sys, traceback
from pathlib import Path
import numpy as np
for folder in sorted(Path(sys.argv[1]).iterdir()):
    try:
        make, queries, k, effort = pickle.loads((folder / "asked.pickle").read_bytes())
        index = make()
        index.load(folder / "index")
        rows, scores = index.search(queries, k, effort)
        np.savez(folder / "answer.npz", rows=rows, scores=scores)
        index.close()
    except Exception:
        (folder / "error.txt").write_text(traceback.format_exc())
"""


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of each backend and similarity with what a fresh process answers from the saved index."""
    root = tmp_path_factory.mktemp("saved")
    for name in FILED:
        for similarity in supported(name):
            folder = root / f"{name}-{similarity}"
            (folder / "index").mkdir(parents=True)
            asked = (factory(name), generated("uniform", similarity)[1], K, efforts(name)[-1])
            (folder / "asked.pickle").write_bytes(pickle.dumps(asked))
            built(name, "uniform", similarity).save(folder / "index")
    done = subprocess.run([sys.executable, "-c", LOADED, str(root)], capture_output=True, text=True, check=False)
    (root / "printed.txt").write_text(done.stdout + done.stderr)
    return root


@pytest.mark.parametrize(("name", "similarity"), [case for case in CASES if case[0] in FILED])
def test_a_saved_index_answers_the_same_in_a_fresh_process(name: str, similarity: Similarity, reloaded: Path) -> None:
    folder = reloaded / f"{name}-{similarity}"
    assert any((folder / "index").iterdir())
    assert not (folder / "error.txt").exists(), (folder / "error.txt").read_text()
    assert (folder / "answer.npz").exists(), (reloaded / "printed.txt").read_text()
    rows, scores, _ = answer(name, "uniform", similarity, efforts(name)[-1])
    with np.load(folder / "answer.npz") as loaded:
        np.testing.assert_array_equal(loaded["rows"], rows)
        np.testing.assert_allclose(loaded["scores"], scores, rtol=1e-6)


def harness(folder: Path, candidates: list[Candidate], similarity: Similarity) -> dict[str, dict]:
    """Name → what the harness tells of the build."""
    rng = np.random.default_rng(0)
    queries, gallery = (
        Embeddings(np.arange(first, first + n), rng.standard_normal((n, 4)).astype(np.float32), fingerprint=str(first))
        for first, n in ((1000, 5), (0, 40))
    )
    plan = Plan(similarity, [1], 0, 0, Measure(passes=1, max_queries=5, max_seconds=0.1, batch_threads=1))
    results = measure(candidates, queries, gallery, plan, folder, lambda *_: None)
    return {result.build["index"]: result.build for result in results}


@pytest.mark.slow
def test_a_missing_library_is_a_failed_row_with_the_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module_of = {d: module for module, found in packages_distributions().items() for d in found if module[0] != "_"}
    hidden = {name: module_of[facts(name).library] for name in WITH_LIBRARY}
    (tmp_path / "hidden").mkdir()
    for module in hidden.values():
        (tmp_path / "hidden" / f"{module}.py").write_text(f"raise ModuleNotFoundError('No module named {module}')\n")
    monkeypatch.syspath_prepend(tmp_path / "hidden")  # which workers inherit
    builds = harness(tmp_path / "r", [Candidate(name, factory(name)) for name in WITH_LIBRARY], Similarity.COSINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert builds.pop("null")["status"] == "ok"
    assert sorted(builds) == WITH_LIBRARY
    for name, build in builds.items():
        assert build["status"] == "failed"
        told, _, extra = build["error"].removesuffix("]'").rpartition("[")
        assert told.endswith("is not installed; type: pip install 'retrieval-bench"), build["error"]
        assert any(wanted.startswith(facts(name).library) for wanted in extras[extra])


class CosineOnly(Null):
    similarities = frozenset({Similarity.COSINE})
    floor = False


@pytest.mark.parametrize("similarity", list(Similarity))
def test_an_unsupported_similarity_never_reaches_a_worker(
    similarity: Similarity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, start = [], _job.WorkerProcess

    def watched(name: str, *rest: object) -> object:
        started.append(name)
        return start(name, *rest)

    monkeypatch.setattr(_job, "WorkerProcess", watched)
    makes: dict[str, Callable] = {name: factory(name) for name in NAMES} | {"mine": functools.partial(CosineOnly)}
    refused = {name: make for name, make in makes.items() if similarity not in make.func.similarities}
    builds = harness(tmp_path, [Candidate(name, make) for name, make in refused.items()], similarity)
    assert ("mine" in refused) == (similarity is not Similarity.COSINE)
    assert started == ["null"] and builds.pop("null")["status"] == "ok"
    assert sorted(builds) == sorted(refused)
    for name, build in builds.items():
        allowed = " or ".join(f"similarity={s}" for s in sorted(makes[name].func.similarities))
        assert build["status"] == "failed" and json.dumps(build)
        assert f"cannot search by {similarity}; type {allowed}, or leave it out" in build["error"]


def test_importing_a_backend_loads_no_other_library() -> None:
    hidden = {"torch", "faiss", "pandas", "hnswlib", "annoy", "usearch", "datasketch", "pymilvus"}
    code = f"""
import importlib, sys
for name in {NAMES}:
    importlib.import_module(f"retrieval_bench.search.{{name}}")
    assert not {hidden} & set(sys.modules), name
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
