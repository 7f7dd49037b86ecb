"""The worker process: what it prepares, how it is asked, and how its death is told."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from retrieval_bench import worker as worker_module
from retrieval_bench._messages import ArrayFile, Build, Load, Search, Serve, Start, TimePass
from retrieval_bench._workers import LimitExceeded, Limits, WorkerProcess
from retrieval_bench.errors import OutOfSpace, WorkerFailed
from retrieval_bench.search.null import Null
from retrieval_bench.types import Similarity
from retrieval_bench.worker import folder_bytes, gathered, prepared, resident_bytes

BACKENDS = Path(__file__).parent / "backends"
LIMITS = Limits(timeout_s=60, memory_gb=None, threads=2)


Begin = Callable[..., WorkerProcess]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Starts the worker of a backend in tests/backends, a folder that only this process's sys.path names."""
    monkeypatch.syspath_prepend(str(BACKENDS))
    import faulty

    workers = []
    rng = np.random.default_rng(0)
    queries = on_disk(tmp_path, "queries", rng.standard_normal((30, 8)).astype(np.float32))

    def start(backend: str, limits: Limits = LIMITS) -> WorkerProcess:
        workers.append(WorkerProcess(backend, limits))
        workers[-1].ask(Start(partial(getattr(faulty, backend)), queries, Similarity.DOT))
        return workers[-1]

    yield start
    for worker in workers:
        worker.end()


@pytest.fixture
def build(tmp_path: Path) -> Build:
    (tmp_path / "index").mkdir()
    gallery = on_disk(tmp_path, "gallery", np.random.default_rng(1).standard_normal((100, 8)).astype(np.float32))
    return Build(gallery, np.arange(100)[::-1].copy(), 0, 1, str(tmp_path / "index"))


def on_disk(folder: Path, name: str, array: np.ndarray) -> ArrayFile:
    np.save(folder / f"{name}.npy", array)
    file = ArrayFile.of(np.load(folder / f"{name}.npy", mmap_mode="r"))
    assert file is not None
    return file


def test_cosine_gets_unit_float32_rows_and_the_source_stays() -> None:
    block = np.array([[3, 4], [0, 2]], np.uint8)
    rows = prepared(block, Similarity.COSINE)
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 1]], rtol=1e-7)
    assert rows.dtype == np.float32 and rows.flags.c_contiguous
    source = np.array([[3, 4]], np.float32)
    prepared(source, Similarity.COSINE)
    np.testing.assert_array_equal(source, [[3, 4]])


@pytest.mark.parametrize("dtype", ["u1", "f2", ">f4", "f8"])
def test_other_similarities_keep_the_native_dtype(dtype: str) -> None:
    vectors = np.arange(12).reshape(4, 3).astype(dtype)
    order = np.array([2, 0, 3, 1])
    out = gathered(vectors, order, Similarity.EUCLIDEAN)
    np.testing.assert_array_equal(out, vectors[order])
    assert out.dtype == vectors.dtype.newbyteorder("=")
    assert gathered(vectors + 1, order, Similarity.COSINE).dtype == np.float32


def test_arrays_are_handed_over_by_their_file(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.float32).reshape(10, 6)
    np.save(tmp_path / "a.npy", array)
    whole = np.load(tmp_path / "a.npy", mmap_mode="r")
    raw = np.memmap(
        tmp_path / "a.npy", np.float32, "r", offset=(tmp_path / "a.npy").stat().st_size - 240, shape=(10, 6)
    )
    for view in (whole, whole[3:], whole[3:][2:, 1:], whole[::2], np.asarray(whole)[4:6], raw, raw[5:], whole.T):
        file = ArrayFile.of(view)
        assert file is not None
        np.testing.assert_array_equal(file.open(), view)
    copied = np.load(tmp_path / "a.npy", mmap_mode="c")
    copied[0, 0] = 99
    for memory in (array, array[2:], whole[[1, 2]], whole[::-1], whole + 1, copied):
        assert ArrayFile.of(memory) is None


def test_build_search_time_save_load(tmp_path: Path, begin: Begin, build: Build) -> None:
    worker = begin("Brute")
    built = worker.ask(build)
    assert built.seconds > 0 and built.index_bytes == folder_bytes(tmp_path / "index") > 100 * 8 * 8
    queries, gallery = np.load(tmp_path / "queries.npy"), np.load(tmp_path / "gallery.npy")
    truth = np.argsort(-(queries.astype(float) @ gallery[::-1].T.astype(float)), axis=1)[:, :5]
    found = worker.ask(Search(0, 30, 5, 1, 2))
    np.testing.assert_array_equal(found.rows, truth)
    assert found.candidates is None and found.seconds > 0
    np.testing.assert_array_equal(worker.ask(Search(10, 20, 5, 1, 1)).rows, truth[10:20])
    times = worker.ask(TimePass(np.array([4, 2, 9]), 5, 1, float("inf")))
    assert times.shape == (3,) and times.dtype == np.int64 and (times > 0).all()
    assert psutil.Process(worker._process.pid).cpu_affinity() == [sorted(os.sched_getaffinity(0))[-1]]
    worker.finish()
    again = begin("Brute")
    again.ask(Load(str(tmp_path / "index")))
    np.testing.assert_array_equal(again.ask(Search(0, 30, 5, 1, 1)).rows, truth)


def test_a_slow_index_stops_when_the_time_is_spent_but_not_before_twenty(begin: Begin, build: Build) -> None:
    worker = begin("Snail")
    worker.ask(build)
    assert len(worker.ask(TimePass(np.arange(30), 5, 1, 0.001))) == 20
    assert len(worker.ask(TimePass(np.arange(10), 5, 1, 0.001))) == 10


def test_peak_memory_is_that_of_the_build(tmp_path: Path) -> None:
    vectors = on_disk(tmp_path, "gallery", np.ones((40_000, 128), np.float32))  # 20 MB
    worker = WorkerProcess("null", LIMITS)
    worker.ask(Start(partial(Null), on_disk(tmp_path, "queries", np.ones((3, 128), np.float32)), Similarity.EUCLIDEAN))
    (tmp_path / "index").mkdir()
    peak = worker.ask(Build(vectors, np.arange(40_000), 0, 1, str(tmp_path / "index"))).peak_rss_bytes
    worker.end()
    assert 20e6 < peak < 55e6  # the gallery it is given, at most with its mapped source; no third copy


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("Raising", "^Raising: RuntimeError in build: no luck today$"),
        ("Killed", "^Killed: its worker was ended by SIGKILL in build$"),
        (
            "Segfault",
            "^Segfault: its worker was ended by SIGSEGV in build; it printed: Fatal Python error: Seg",
        ),
    ],
)
def test_a_failing_backend_is_told_with_its_reason(begin: Begin, build: Build, backend: str, message: str) -> None:
    worker = begin(backend)
    with pytest.raises(WorkerFailed, match=message):
        worker.ask(build)


def test_a_missing_library_is_told_as_it_is(begin: Begin) -> None:
    with pytest.raises(WorkerFailed, match=r"frobnicate is not installed; type: pip install 'retrieval-bench\[frob\]'"):
        begin("Missing")


def test_a_full_disk_ends_everything(begin: Begin, build: Build) -> None:
    worker = begin("FullDisk")
    with pytest.raises(OutOfSpace, match="free some space and type the same command again"):
        worker.ask(build)


def test_clients_are_timed_from_the_first_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """However late the thread that started them gets its turn: here, after they are done."""

    class Late(threading.Barrier):
        def wait(self, timeout: float | None = None) -> int:
            place = super().wait(timeout)
            if threading.current_thread() is threading.main_thread():
                time.sleep(0.2)
            return place

    monkeypatch.setattr(threading, "Barrier", Late)
    single = [np.ones((1, 3), np.float32)] * 4
    served = worker_module._served(Null().search, single, Serve(np.arange(4), 1, None, 2, 0.05))
    assert served.seconds >= 0.05 and set(served.client) == {0, 1}
    assert served.nanoseconds.sum() <= 2e9 * served.seconds, "no client is asked longer than the clock ran"


def test_too_slow(begin: Begin, build: Build) -> None:
    worker = begin("Hanging")
    worker._limits = Limits(0.5, None, 1)
    with pytest.raises(LimitExceeded, match=r"Hanging: not done with build after 0.5 s; raise measure.timeout_s"):
        worker.ask(build)
    assert worker._process.poll() is not None


def test_too_large(begin: Begin, build: Build) -> None:
    worker = begin("Greedy", Limits(60.0, 0.4, 1))
    with pytest.raises(LimitExceeded, match=r"took more than 0.4 GB of memory in build; raise measure.memory_limit_gb"):
        worker.ask(build)
    assert worker._process.poll() is not None


def test_threads_are_pinned_and_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys, retrieval_bench.worker as w; heavy = {'torch', 'pandas', 'faiss', 'numba', 'pyarrow', 'hydra'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    worker = WorkerProcess("threads", Limits(60, None, 2))
    queries = on_disk(tmp_path, "queries", np.ones((3, 4), np.float32))
    worker.ask(Start(partial(Null), queries, Similarity.DOT))  # only once it answers has /proc its environment
    environment = psutil.Process(worker._process.pid).environ()
    worker.end()
    for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"):
        assert environment[f"{name}_NUM_THREADS"] == "1"
    assert environment["VECLIB_MAXIMUM_THREADS"] == "1" and environment["NUMBA_NUM_THREADS"] == "2"


ORPHAN = """
import os, sys, time
from functools import partial
import numpy as np
sys.path.append(sys.argv[2])
import faulty
from retrieval_bench._messages import ArrayFile, Build, Start
from retrieval_bench._workers import Limits, WorkerProcess
from retrieval_bench.types import Similarity
worker = WorkerProcess("orphan", Limits(60, None, 1))
if sys.argv[1] == "building":
    file = ArrayFile.of(np.load(sys.argv[3], mmap_mode="r"))
    worker.ask(Start(partial(faulty.Hanging), file, Similarity.DOT))
    worker._connection.send(Build(file, np.arange(3), 0, 1, "nowhere"))
    time.sleep(0.5)
print(worker._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("moment", ["starting", "building"])
def test_a_worker_dies_with_the_harness(tmp_path: Path, moment: str) -> None:
    np.save(tmp_path / "x.npy", np.eye(3, dtype=np.float32))
    command = [sys.executable, "-c", ORPHAN, moment, str(BACKENDS), str(tmp_path / "x.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert gone(int(done.stdout), 10)


def gone(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_resident_memory_is_read() -> None:
    assert 10e6 < resident_bytes(peak=False) <= resident_bytes(peak=True)
