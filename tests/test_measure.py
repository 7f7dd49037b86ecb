"""Measuring: the order of passes, what is kept, what a failure leaves, and what survives a kill."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from retrieval_bench.errors import BadConfig, OutOfSpace
from retrieval_bench.measure import Candidate, IndexResult, Measure, Plan, forget, measure, open_index, result_folder
from retrieval_bench.search.hnsw import HNSW
from retrieval_bench.search.ivf import IVF
from retrieval_bench.types import Similarity

BACKENDS = Path(__file__).parent / "backends"
Log = Callable[[], list[str]]


def ran(folder: Path, *names: str, **settings: object) -> dict[str, IndexResult]:
    from run_measure import SETTINGS, run

    return {r.build["index"]: r for r in run(folder, names, settings=replace(SETTINGS, **settings))}


def exact_ids(similarity: Similarity = Similarity.COSINE, depth: int = 5) -> np.ndarray:
    from run_measure import embeddings

    queries, gallery = embeddings(30, 100_000, 1), embeddings(200, 7, 2)
    q, g = (e.vectors / np.linalg.norm(e.vectors, axis=1, keepdims=True) for e in (queries, gallery))
    return gallery.ids[np.argsort(-(q @ g.T), axis=1)[:, :depth]]


@pytest.mark.slow
def test_everything_is_measured_and_in_turn(tmp_path: Path, log: Log) -> None:
    results = ran(tmp_path / "r", "brute", "hnsw", "slow")
    assert list(results) == ["null", "brute", "hnsw", "slow"]
    for name, result in results.items():
        assert result.build["status"] == "ok" and result.build["error"] is None
        assert [p.effort for p in result.points] == {"null": [None], "hnsw": [8, 16]}.get(name, [1, 2])
        for point in result.points:
            assert point.k == 4 and point.result.ids.shape == (30, 5)
            assert point.timing is not None and point.timing.nanoseconds.shape == (3, 20)
            assert len(set(point.timed_ids)) == 20 and (point.timed_ids % 3 == 1).all()
            assert point.batch_seconds is not None and point.batch_threads == 1
    for name in ("brute", "slow"):
        for point in results[name].points:
            np.testing.assert_array_equal(point.result.ids, exact_ids())
    sampled = [p.timed_ids.tolist() for r in results.values() for p in r.points]
    assert all(ids == sampled[0] for ids in sampled), "every point times the same queries"

    lines = [line for line in log() if not line.startswith("close")]
    assert lines.index("build slow float32") > lines.index("search brute 2 30 5"), "one index after the other"
    single = [line.split()[1:3] for line in lines if line.startswith("search") and line.split()[3] == "1"]
    turns = [key for key, _ in itertools.groupby(single)]
    assert turns == 4 * [["brute", "2"], ["brute", "1"], ["slow", "2"], ["slow", "1"]], (
        "warm-up, then three passes in turn"
    )
    assert log()[-2:] == ["close brute", "close slow"]
    assert len(list((tmp_path / "r").iterdir())) == 4, "one folder an index, and no copy of the vectors"
    assert not list((tmp_path / "r").rglob("*.part"))


def test_every_pass_has_an_order_of_its_own(tmp_path: Path, log: Log) -> None:
    import pandas as pd
    from run_measure import INDEXES

    ran(tmp_path, "brute")
    folder = result_folder(tmp_path, Candidate("brute", INDEXES["brute"]), 0)
    orders = [tuple(pd.read_parquet(folder / f"times-e1-k4-p{i}.parquet")["query_id"]) for i in (1, 2, 3)]
    assert len(set(orders)) == 3 and len({frozenset(order) for order in orders}) == 1
    table = pd.read_parquet(folder / "neighbours-e1-k4.parquet")
    assert list(table.columns) == ["query_id", "ids", "scores", "candidates"] and len(table) == 30
    assert json.loads((folder / "batch-e1-k4.json").read_text()).keys() == {"seconds", "threads", "n_queries"}
    assert {p.name for p in folder.iterdir() if not p.suffix} == {"index"}


def test_the_timed_sample_is_not_what_the_index_was_given_first(tmp_path: Path) -> None:
    """Leave-one-out: the ids of queries and gallery are the same, their two orders must not be."""
    from retrieval_bench._scene import Scene
    from retrieval_bench.types import Embeddings

    both = Embeddings(np.arange(5000), np.ones((5000, 2), np.float32))
    for seed in (0, 3):
        scene = Scene(both, both, Similarity.DOT, 1, seed, tmp_path)
        early = len(set(scene.asked[:1000].tolist()) & set(scene.order[:1000].tolist()))
        assert 120 < early < 280, "1000 of 5000, drawn twice, share 200 (standard deviation 11)"


def test_a_second_call_starts_no_worker(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ran(tmp_path / "r", "brute")
    before = log()
    monkeypatch.setattr(subprocess, "Popen", None)
    second = ran(tmp_path / "r", "brute")
    assert log() == before
    assert_equal(first, second, times=True)


def assert_equal(one: dict[str, IndexResult], other: dict[str, IndexResult], times: bool) -> None:
    measured = {"build_s", "index_bytes", "peak_rss_bytes"}
    assert one.keys() == other.keys()
    for name, a in one.items():
        b = other[name]
        assert {k: v for k, v in a.build.items() if times or k not in measured} == {
            k: v for k, v in b.build.items() if times or k not in measured
        }
        assert len(a.points) == len(b.points) > 0
        for p, q in zip(a.points, b.points, strict=True):
            assert (p.effort, p.k) == (q.effort, q.k)
            np.testing.assert_array_equal(p.result.ids, q.result.ids)
            np.testing.assert_array_equal(p.result.scores, q.result.scores)
            np.testing.assert_array_equal(p.timed_ids, q.timed_ids)
            assert p.timing is not None and q.timing is not None
            assert p.timing.nanoseconds.shape == q.timing.nanoseconds.shape
            assert not times or (p.timing.nanoseconds == q.timing.nanoseconds).all()


def test_adding_an_index_or_a_pass_measures_only_what_is_new(tmp_path: Path, log: Log) -> None:
    ran(tmp_path / "r", "brute")
    old = len(log())
    results = ran(tmp_path / "r", "brute", "slow")
    assert {line.split()[1] for line in log()[old:]} == {"slow"}
    assert len(results["brute"].points) == len(results["slow"].points) == 2
    old = len(log())
    results = ran(tmp_path / "r", "brute", passes=4)
    new = [line.split() for line in log()[old:]]
    assert [line[:2] for line in new[:1]] == [["load", "brute"]] and not [line for line in new if line[0] == "build"]
    assert len([line for line in new if line[0] == "search"]) == 2 * 2 * (8 + 20)  # warm-up and pass
    assert results["brute"].points[0].timing is not None
    assert results["brute"].points[0].timing.nanoseconds.shape == (4, 20)


def test_new_efforts_keep_the_build(tmp_path: Path, log: Log) -> None:
    import faulty
    from run_measure import SETTINGS, embeddings

    plan = Plan(Similarity.DOT, [4], 0, 0, SETTINGS)
    sides = embeddings(30, 100_000, 1), embeddings(200, 7, 2)
    for efforts in ([1], [1, 5], [1, 5]):
        candidate = Candidate("b", partial(faulty.Brute, name="b", efforts=efforts))
        result = measure([candidate], *sides, plan, tmp_path / "r", lambda *_: None)[1]
        assert [p.effort for p in result.points] == efforts
    assert len([line for line in log() if line.startswith("build")]) == 1
    assert result.build["params"] == {"name": "b"} and result.build["knob"] == "breadth"


def test_another_source_or_library_is_another_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from retrieval_bench import _recipe

    (tmp_path / "my_own.py").write_text((BACKENDS / "faulty.py").read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_own

    def folder(index: type) -> Path:
        return result_folder(tmp_path / "r", Candidate("x", partial(index)), 0)

    class Derived(my_own.Brute):
        pass

    before, derived, ivf = folder(my_own.Brute), folder(Derived), folder(IVF)
    assert before == folder(my_own.Brute)
    (tmp_path / "my_own.py").write_text((tmp_path / "my_own.py").read_text() + "# edited\n")
    assert before != folder(my_own.Brute) and derived != folder(Derived) and ivf == folder(IVF)
    monkeypatch.setattr(_recipe, "version", lambda name: f"{name} of tomorrow")
    assert ivf != folder(IVF)


def test_sources_of_an_index_are_all_that_decide_its_answers() -> None:
    from retrieval_bench import _recipe

    def names(source: str) -> list[str]:
        return [file.name for file in _recipe._private(source.encode())]

    assert names("def f():\n    from retrieval_bench.search._rerank import Reranker") == ["_rerank.py"]
    assert names("from retrieval_bench.search import _bands, base\nimport retrieval_bench._simd") == [
        "_simd.py",
        "_bands.py",
    ]
    assert names("from retrieval_bench._simd import _dot\nfrom retrieval_bench.nearest import x\nimport numpy") == [
        "_simd.py",
        "nearest.py",
    ]
    assert names("\0") == names("import") == []
    assert len(_recipe._sources(IVF)) == 5  # ivf, _faiss, _ivf and, imported in a constructor, _rerank, _compiled


def test_the_record_says_which_library(tmp_path: Path, log: Log) -> None:
    from importlib.metadata import version

    results = ran(tmp_path / "r", "brute", "hnsw")
    said = {name: (r.build["library"], r.build["library_version"]) for name, r in results.items()}
    assert said == {"null": (None, None), "brute": (None, None), "hnsw": ("faiss-cpu", version("faiss-cpu"))}


@pytest.mark.slow
def test_forget_deletes_what_is_named_and_nothing_else(tmp_path: Path, log: Log) -> None:
    from run_measure import INDEXES

    ran(tmp_path / "r", "brute", "slow", build_seeds=[0, 1])
    forget(tmp_path / "r", [Candidate("slow", INDEXES["slow"]), Candidate("hnsw", INDEXES["hnsw"])], [0])
    old = len(log())
    ran(tmp_path / "r", "brute", "slow", build_seeds=[0, 1])
    assert [line for line in log()[old:] if line.startswith(("build", "load"))] == ["build slow float32"]


def test_efforts_that_search_alike_are_measured_once(tmp_path: Path, log: Log) -> None:
    """HNSW's queue is never shorter than the asked depth, 4 + 1 ignored here."""
    from run_measure import SETTINGS, embeddings

    sides = embeddings(30, 100_000, 1), embeddings(200, 7, 2)
    plan = Plan(Similarity.DOT, [4], 1, 0, SETTINGS)
    for efforts in ([1, 3, 5, 6], [2, 5]):
        candidate = Candidate("hnsw", partial(HNSW, efforts=efforts))
        result = measure([candidate], *sides, plan, tmp_path / "r", lambda *_: None)[1]
        assert result.build["status"] == "ok" and [p.effort for p in result.points] == efforts
        folder = result_folder(tmp_path / "r", candidate, 0)
        assert sorted(f.name for f in folder.glob("batch-*")) == ["batch-e5-k4.json", "batch-e6-k4.json"]
    first, second = (p.timing for p in result.points)
    assert first is not None and second is not None
    np.testing.assert_array_equal(first.nanoseconds, second.nanoseconds)


def test_no_more_is_asked_than_the_gallery_has(tmp_path: Path, log: Log) -> None:
    import faulty
    from run_measure import SETTINGS, embeddings

    plan = Plan(Similarity.DOT, [4, 6], 3, 0, SETTINGS)
    sides = embeddings(30, 100_000, 1), embeddings(8, 7, 2)
    candidate = Candidate("b", partial(faulty.Brute, name="b", efforts=[1]))
    points = measure([candidate], *sides, plan, tmp_path / "r", lambda *_: None)[1].points
    assert [(p.k, p.result.k) for p in points] == [(4, 7), (6, 8)]
    assert {line.split()[4] for line in log() if line.startswith("search")} == {"7", "8"}


def test_memory_of_the_batch_search_counts(tmp_path: Path, log: Log) -> None:
    build = ran(tmp_path / "r", "Ravenous")["Ravenous"].build
    assert build["status"] == "ok" and 256 < build["peak_rss_bytes"] / 2**20 < 300
    (file,) = (tmp_path / "r").glob("Ravenous-*/build.json")
    assert json.loads(file.read_text())["peak_rss_bytes"] == build["peak_rss_bytes"]
    resumed = ran(tmp_path / "r", "Ravenous", passes=4)["Ravenous"].build
    assert resumed["peak_rss_bytes"] == build["peak_rss_bytes"]


def test_another_gallery_is_measured_anew(tmp_path: Path, log: Log) -> None:
    import faulty
    from run_measure import SETTINGS, embeddings

    queries, plan = embeddings(30, 100_000, 1), Plan(Similarity.DOT, [4], 0, 0, SETTINGS)
    candidate = Candidate("b", partial(faulty.Brute, name="b"))
    for seed in (2, 5):
        gallery = embeddings(200, 7, seed)
        point = measure([candidate], queries, gallery, plan, tmp_path / "r", lambda *_: None)[1].points[0]
        truth = gallery.ids[np.argsort(-(queries.vectors @ gallery.vectors.T), axis=1)[:, :4]]
        np.testing.assert_array_equal(point.result.ids, truth)


def test_build_seeds(tmp_path: Path, log: Log) -> None:
    from run_measure import SETTINGS, run

    results = run(tmp_path / "r", ["brute"], settings=replace(SETTINGS, build_seeds=[0, 4]))
    assert [(r.build["index"], r.build["build_seed"]) for r in results] == [("null", 0), ("brute", 0), ("brute", 4)]


FAILURES = {
    "Killed": "ended by SIGKILL in build",
    "DiesInAPass": "exited with code 3 in timepass",
    "Raising": "RuntimeError in build: no luck today",
    "Missing": "frobnicate is not installed; type: pip install 'retrieval-bench[frob]'",
    "OnlyDot": "OnlyDot cannot search by cosine; type similarity=dot, or leave it out",
    "Lying": "its scores are not the cosine of the vectors",
    "UpsideDown": "its scores are not the cosine of the vectors",
    "Repeating": "an id stands twice in a row",
    "Outside": "rows must lie in -1 … 199; found ",
    "Squeezed": "rows and scores must be (30, 5), not (30, 4)",
}


@pytest.mark.parametrize(("similarity", "dtype"), [(Similarity.COSINE, "float32"), (Similarity.EUCLIDEAN, "uint8")])
def test_backends_load_side_by_side_before_anything_is_built(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch, similarity: Similarity, dtype: str
) -> None:
    import faulty
    from run_measure import SETTINGS, embeddings

    monkeypatch.setattr("retrieval_bench._measurement.cores", lambda: 2)
    names = {"CannotLoad": faulty.CannotLoad, "one": faulty.Loads, "other": faulty.Loads}
    indexes = [Candidate(name, partial(kind, name=name)) for name, kind in names.items()]
    gallery = replace(embeddings(200, 7, 2), vectors=np.arange(1600, dtype=np.uint8).reshape(200, 8))
    plan = Plan(similarity, [4], 1, 0, SETTINGS)
    done = measure(indexes, embeddings(30, 100_000, 1), gallery, plan, tmp_path / "r", lambda *_: None)
    found = {result.build["index"]: result.build for result in done}
    assert found["CannotLoad"]["status"] == "failed" and "its kernel does not compile" in found["CannotLoad"]["error"]
    assert [found[name]["status"] for name in ("null", "one", "other")] == ["ok"] * 3
    lines = [line for line in log() if line.startswith(("warm", "build"))]
    assert sorted(lines[:2]) == [f"warm one {dtype}", f"warm other {dtype}"]
    assert lines[2:] == [f"build one {dtype}", f"build other {dtype}"]


def test_an_interruption_while_backends_load_leaves_no_worker(tmp_path: Path, log: Log) -> None:
    """Ctrl-C reaches the harness alone, while one backend waits a minute for another, which never comes."""
    command = [sys.executable, str(BACKENDS / "run_measure.py"), str(tmp_path / "r"), "Loads"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 60
    while "warm brute float32" not in log() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert log() == ["warm brute float32"]
    workers = psutil.Process(process.pid).children()
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    gone, alive = psutil.wait_procs(workers, timeout=10)
    assert process.returncode != 0 and len(gone) == 2 and not alive
    assert time.monotonic() - begin < 30, "it does not wait for the backend"


@pytest.mark.slow
def test_a_failed_index_is_a_row_and_the_others_go_on(tmp_path: Path, log: Log) -> None:
    from run_measure import INDEXES

    results = ran(tmp_path / "r", *FAILURES, "brute", "Quantised")
    for name, message in FAILURES.items():
        build = results[name].build
        assert build["status"] == "failed" and message in build["error"], (name, build["error"])
        assert build["error"].startswith(f"{name}")
        assert {"index", "params", "knob", "build_seed", "build_s", "index_bytes", "threads"} <= build.keys()
    assert not any(len(results[name].points) for name in FAILURES)
    assert results["DiesInAPass"].build["build_s"] > 0 and results["Raising"].build["build_s"] is None
    for name in ("brute", "Quantised", "null"):
        assert results[name].build["status"] == "ok"
        assert all(p.timing is not None and p.timing.nanoseconds.shape == (3, 20) for p in results[name].points)
    folder = result_folder(tmp_path / "r", Candidate("brute", INDEXES["brute"]), 0)
    assert json.loads((folder / "build.json").read_text())["status"] == "ok"
    assert json.loads(next((tmp_path / "r").glob("Raising-*/build.json")).read_text())["status"] == "failed"


def test_too_large_is_not_tried_again_under_the_same_limit(tmp_path: Path, log: Log) -> None:
    for limit, tries in ((0.3, 1), (0.3, 1), (0.35, 2)):
        build = ran(tmp_path / "r", "Greedy", memory_limit_gb=limit)["Greedy"].build
        assert build["status"] == "failed" and "raise measure.memory_limit_gb" in build["error"]
        assert log().count("greedy") == tries


def test_a_crash_is_told_without_the_paths_of_this_machine(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(BACKENDS)
    error = ran(tmp_path / "r", "Segfault")["Segfault"].build["error"]
    assert "SIGSEGV" in error and 'File "./faulty.py"' in error and str(BACKENDS) not in error


def test_a_crash_is_tried_again(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    import faulty

    assert ran(tmp_path / "r", "Missing")["Missing"].build["status"] == "failed"
    (tmp_path / "mended").mkdir()
    text = (BACKENDS / "faulty.py").read_text().replace("raise MissingExtra(", "super().__init__() if 1 else (")
    (tmp_path / "mended" / "faulty.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path / "mended"))  # for the new worker; this process keeps the old module
    assert faulty.Missing.__module__ == "faulty"
    assert ran(tmp_path / "r", "Missing")["Missing"].build["status"] == "ok"


def test_a_full_disk_loses_nothing(tmp_path: Path, log: Log) -> None:
    with pytest.raises(OutOfSpace, match="type the same command again"):
        ran(tmp_path / "r", "brute", "FullDisk")
    old = log()
    assert "build brute float32" in old
    ran(tmp_path / "r", "brute")
    assert not [line for line in log()[len(old) :] if line.startswith("build")]
    assert not psutil.Process().children(recursive=True), "a worker was left behind"


def test_a_slow_point_times_fewer_queries(tmp_path: Path, log: Log) -> None:
    results = ran(tmp_path / "r", "Snail", max_queries=30, max_seconds=0.25)
    (point, _) = results["Snail"].points
    assert point.timing is not None and point.timing.nanoseconds.shape == (
        3,
        20,
    )  # 0.25 s / 3 / 5 ms = 16, so the least
    (floor,) = results["null"].points
    assert floor.timing is not None and floor.timing.nanoseconds.shape == (3, 30)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], dict[str, IndexResult]]:
    """The same measurement without a kill, made once."""
    folder = tmp_path_factory.mktemp("whole")
    return lambda: ran(folder, "brute", "slow")


@pytest.mark.parametrize("moment", ["slow: building", "pass 2 of 3 at breadth 1"])
def test_kill_9_and_run_again(
    tmp_path: Path, log: Log, moment: str, uninterrupted: Callable[[], dict[str, IndexResult]]
) -> None:
    names, whole = ("brute", "slow"), uninterrupted()
    old = len(log())
    command = [sys.executable, str(BACKENDS / "run_measure.py"), str(tmp_path / "killed"), *names]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = next((line for line in process.stdout if moment in line), None)
    assert told is not None, "the moment never came"
    workers = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    gone, alive = psutil.wait_procs(workers, timeout=10)
    assert gone and not alive, "workers must die with the harness"

    resumed = ran(tmp_path / "killed", *names)
    builds = [line.split()[1] for line in log()[old:] if line.startswith("build")]
    assert builds.count("brute") == builds.count("slow") == 1, "a finished build is loaded, not repeated"
    assert_equal(resumed, whole, times=False)
    assert not list((tmp_path / "killed").rglob("*.part"))


def test_a_finished_index_opens_for_a_query(tmp_path: Path, log: Log) -> None:
    import faulty
    from run_measure import INDEXES, embeddings

    results = ran(tmp_path / "r", "brute", "hnsw", "Raising")
    queries = embeddings(30, 100_000, 1).vectors
    for name, effort in (("brute", 1), ("hnsw", 16)):
        opened = open_index(tmp_path / "r", Candidate(name, INDEXES[name]))
        found = opened.search(queries * 5, 5, effort)  # of any length: normalised on the way
        np.testing.assert_array_equal(found.ids, next(p for p in results[name].points if p.effort == effort).result.ids)
    with pytest.raises(BadConfig, match=r"no finished index Raising with build seed 0 .* no luck today"):
        open_index(tmp_path / "r", Candidate("Raising", partial(faulty.Raising)))
    with pytest.raises(BadConfig, match="no finished index brute with build seed 7"):
        open_index(tmp_path / "r", Candidate("brute", INDEXES["brute"]), 7)


@pytest.mark.parametrize(("similarity", "dtype"), [("cosine", "u1"), ("dot", "f4"), ("euclidean", "u1")])
def test_real_backends_under_every_similarity(tmp_path: Path, similarity: str, dtype: str) -> None:
    from retrieval_bench.types import Embeddings

    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.integers(1, 250, (3000, 16)).astype(dtype))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    both = Embeddings(np.arange(3000), mapped)
    plan = Plan(Similarity(similarity), [3], 1, 0, Measure(passes=1, max_queries=20))
    ivf = measure([Candidate("ivf", partial(IVF, efforts=[200]))], both, both, plan, tmp_path / "r", lambda *_: None)[1]
    assert ivf.build["status"] == "ok", ivf.build["error"]
    (point,) = ivf.points
    if similarity != "dot":
        np.testing.assert_array_equal(point.result.ids[:, 0], np.arange(3000))
    assert (point.result.candidates == 3000).all()  # every list was read
    assert not list((tmp_path / "r").glob("vectors-*")), "mapped vectors are not written again"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"passes": 0}, "measure.passes=0: at least 1"),
        ({"max_seconds": 0}, "measure.max_seconds=0: more than 0"),
        ({"build_seeds": []}, "measure.build_seeds=\\[\\]: different whole numbers"),
        ({"build_seeds": [1, 1]}, "measure.build_seeds"),
        ({"memory_limit_gb": -1}, "measure.memory_limit_gb=-1"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        Measure(**settings)


def test_candidates_that_are_no_index(tmp_path: Path, log: Log) -> None:
    import faulty

    with pytest.raises(BadConfig, match=r"search.x: .* is not a subclass"):
        result_folder(tmp_path, Candidate("x", partial(dict)), 0)
    with pytest.raises(BadConfig, match=r"search\.x: got an unexpected keyword argument 'nmae'"):
        result_folder(tmp_path, Candidate("x", partial(faulty.Brute, nmae="b")), 0)
    with pytest.raises(BadConfig, match=r"search.x: Brute has the knob breadth, so it needs values: efforts=\[…\]"):
        result_folder(tmp_path, Candidate("x", partial(faulty.Brute, efforts=[])), 0)
    given = result_folder(tmp_path, Candidate("x", partial(faulty.Brute, name="brute")), 0)
    assert given == result_folder(tmp_path, Candidate("x", partial(faulty.Brute, efforts=[9])), 0), (
        "defaults count as given"
    )
