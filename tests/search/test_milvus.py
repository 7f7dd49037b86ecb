import functools
import gc
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from retrieval_bench.errors import BadConfig, CorruptInput, IndexGone, MissingExtra, WorkerFailed
from retrieval_bench.measure import Candidate, Measure, Plan, measure
from retrieval_bench.search import _milvus
from retrieval_bench.search.base import Index
from retrieval_bench.search.exact import Exact
from retrieval_bench.search.milvus import Milvus
from retrieval_bench.search.milvus_flat import MilvusFlat
from retrieval_bench.search.milvus_ivf_flat import MilvusIVFFlat
from retrieval_bench.search.milvus_ivf_sq8 import MilvusIVFSQ8
from retrieval_bench.types import Embeddings, Similarity
from retrieval_bench.worker import _failure

KINDS: dict[str, Callable[..., _milvus.MilvusIndex]] = {
    "HNSW": Milvus,
    "FLAT": MilvusFlat,
    "IVF_FLAT": functools.partial(MilvusIVFFlat, nlist=16),
    "IVF_SQ8": functools.partial(MilvusIVFSQ8, nlist=16),
}


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))


@pytest.fixture(scope="module")
def gallery() -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((600, 16))
    return np.ascontiguousarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


@pytest.fixture
def unused() -> Iterator[str]:
    """A URI on which nobody answers: its port is taken, but nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


RELOAD = """
import sys, numpy as np
from pathlib import Path
from retrieval_bench.search.{file} import {cls}
index = {cls}()
index.load(Path(sys.argv[1]) / "saved")
rows, scores = index.search(np.load(Path(sys.argv[1]) / "queries.npy"), 5, {effort})
np.savez(Path(sys.argv[1]) / "answer.npz", rows=rows, scores=scores)
index.close()
"""


@pytest.mark.parametrize("kind", list(KINDS))
def test_an_index_type_finds_keeps_and_leaves_nothing(kind: str, gallery: np.ndarray, tmp_path: Path) -> None:
    index = KINDS[kind]()
    assert index.functional and not index.remote
    index.build(gallery, Similarity.EUCLIDEAN, 0)
    described = index._client.describe_index(index._name, _milvus.VECTOR)
    assert described["index_type"] == kind and described.get("params", {}) == index._kind()[1]
    effort = index.efforts[-1] if index.efforts else None
    queries = gallery[:20]
    rows, scores = index.search(queries, 5, effort)
    distances = np.linalg.norm(queries[:, None].astype(np.float64) - gallery[None], axis=2)
    np.testing.assert_array_equal(rows[:, 0], np.arange(20))
    np.testing.assert_allclose(
        scores, -np.take_along_axis(distances, rows, 1), atol=0.05 if kind == "IVF_SQ8" else 1e-3
    )
    if kind != "IVF_SQ8":
        np.testing.assert_array_equal(rows, np.argsort(distances, axis=1)[:, :5])
    (tmp_path / "saved").mkdir()
    np.save(tmp_path / "queries.npy", queries)
    index.save(tmp_path / "saved")
    index.close()
    assert not list((tmp_path / "scratch").iterdir()), "the working file outlives the index"
    code = RELOAD.format(
        file=f"milvus{'' if kind == 'HNSW' else '_' + kind.lower()}", cls=type(index).__name__, effort=effort
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "answer.npz") as loaded:
        np.testing.assert_array_equal(loaded["rows"], rows)
        np.testing.assert_allclose(loaded["scores"], scores, rtol=1e-6)


def test_nprobe_reaches_milvus(gallery: np.ndarray) -> None:
    index = MilvusIVFFlat(nlist=16)
    index.build(gallery, Similarity.DOT, 0)
    truth = np.argsort(-gallery[:100] @ gallery.T, axis=1)[:, :10]
    found = [index.search(gallery[:100], 10, effort)[0] for effort in (1, 4, 16, 10_000)]
    recalls = [np.mean([np.isin(a, b).mean() for a, b in zip(truth, rows, strict=True)]) for rows in found]
    assert recalls[0] < recalls[1] < recalls[2] == 1.0
    np.testing.assert_array_equal(found[2], found[3])
    index.close()


def test_batches_are_bounded_by_bytes(
    gallery: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_milvus, "BATCH_BYTES", 100 * 16 * 4)
    monkeypatch.setattr(_milvus, "TELL_S", 0.0)
    index = MilvusFlat()
    index.build(gallery, Similarity.COSINE, 0)
    told = [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines() if "inserted" in line]
    assert told == [f"{n} of 600 vectors inserted" for n in (100, 200, 300, 400, 500, 600)]
    sent: list[int] = []
    search = index._client.search
    monkeypatch.setattr(
        index._client, "search", lambda name, data, **rest: sent.append(len(data)) or search(name, data, **rest)
    )
    monkeypatch.setattr(_milvus, "BATCH_BYTES", 100 * 600 * 16 * 4)  # FLAT of Milvus Lite: all differences at once
    rows, _ = index.search(gallery[:250], 3, None)
    assert sent == [100, 100, 50]
    sent.clear()
    monkeypatch.setattr(MilvusFlat, "compares_all", False)
    monkeypatch.setattr(_milvus, "BATCH_BYTES", 200 * 16 * 4)
    index.search(gallery[:250], 3, None)
    assert sent == [200, 50]
    np.testing.assert_array_equal(rows[:, 0], np.arange(250))
    index.close()


def test_a_file_of_the_users_own_folder(gallery: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    index = MilvusFlat(uri=str(tmp_path / "mine" / "demo.db"))
    index.build(gallery, Similarity.COSINE, 0)
    second = MilvusFlat(uri=str(tmp_path / "mine" / "demo.db"))  # one file a worker: no lock is in the way
    second.build(gallery, Similarity.COSINE, 0)
    assert len(list((tmp_path / "mine").glob("demo-*.db"))) == 2
    index.close()
    second.close()
    assert not list((tmp_path / "mine").iterdir())
    with pytest.raises(BadConfig, match=r"there is no folder .*nowhere; create it, or type uri=null"):
        MilvusFlat(uri=str(tmp_path / "nowhere" / "demo.db")).build(gallery, Similarity.COSINE, 0)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Milvus Lite leaves a file open then
def test_a_full_disk_is_told_and_leaves_nothing(
    gallery: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(pyarrow.parquet, "write_table", full)
    index = MilvusFlat()
    with pytest.raises(WorkerFailed, match="No space left on device") as caught:
        index.build(gallery, Similarity.COSINE, 0)
    assert _failure(caught.value).disk_full
    del caught
    gc.collect()
    assert not list((tmp_path / "scratch").iterdir())


def test_a_locked_database_is_told(gallery: np.ndarray, tmp_path: Path) -> None:
    index = MilvusFlat()
    index.build(gallery, Similarity.COSINE, 0)
    index.save(tmp_path)
    index.close()
    holding = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holding, str(tmp_path / "milvus.db" / "LOCK")], stdin=-1, stdout=-1
    ) as other:
        assert other.stdout is not None and other.stdin is not None
        other.stdout.readline()
        with pytest.raises(WorkerFailed, match=r"cannot be opened \(another process may hold it\)"):
            MilvusFlat().load(tmp_path)
        other.stdin.close()


def test_a_time_out_names_its_parameter(gallery: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    from milvus_lite.index.brute_force import BruteForceIndex

    index = MilvusFlat()
    index.build(gallery, Similarity.COSINE, 0)
    monkeypatch.setattr(BruteForceIndex, "search", lambda *_, **__: time.sleep(1))
    index.timeout_s = 0.2
    with pytest.raises(WorkerFailed, match=r"failed in search: .*; raise timeout_s=0.2 of this backend"):
        index.search(gallery[:1], 3, None)
    index.close()


def test_a_folder_without_an_index_is_told(tmp_path: Path) -> None:
    with pytest.raises(CorruptInput, match="holds no saved Milvus index"):
        Milvus().load(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Milvus(uri="ftp://host"), "uri=ftp://host: http://host:19530, a file name.db, or null"),
        (lambda: Milvus(uri="somewhere"), "uri=somewhere: http://host:19530, a file name.db, or null"),
        (lambda: Milvus(m=1), "m=1, ef_construction=200: m from 2"),
        (lambda: Milvus(timeout_s=0.0), "timeout_s=0.0, retries=3: more than 0 seconds"),
        (lambda: MilvusIVFFlat(nlist=0), "nlist=0: at least 1"),
        (lambda: MilvusIVFSQ8(nlist=0), "nlist=0: at least 1"),
        (lambda: MilvusFlat(efforts=[4]), "FLAT has no knob; type efforts=[]"),
    ],
)
def test_wrong_parameters(make: Callable[[], Index], message: str) -> None:
    with pytest.raises(BadConfig) as caught:
        make()
    assert message in str(caught.value)


def test_more_than_milvus_returns(gallery: np.ndarray) -> None:
    with pytest.raises(BadConfig, match="at most 16,384 a query"):
        Milvus().search(gallery[:1], 16_385, 16)


def test_a_server_that_refuses(gallery: np.ndarray, unused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Milvus(uri=unused, connect_s=1.0)
    assert index.remote and not index.functional
    with pytest.raises(BadConfig) as caught:
        index.build(gallery, Similarity.COSINE, 0)
    assert str(caught.value).startswith(f"Milvus at {unused} does not answer (")
    assert "start it (milvus-server --data DIR), mend uri=…, or type uri=null" in str(caught.value)
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    with pytest.raises(BadConfig, match="type export NO_SUCH_TOKEN=user:password"):
        Milvus(uri=unused, token_env="NO_SUCH_TOKEN").build(gallery, Similarity.COSINE, 0)


def test_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(MissingExtra, match=r"pip install 'retrieval-bench\[milvus\]'"):
        Milvus()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The URI of a Milvus in another process, spoken to as any server is."""
    code = (
        "import sys; from milvus_lite.adapter.grpc.server import start_server_in_thread as start\n"
        "server, db, port = start(sys.argv[1]); print(port, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "server.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


def collections(uri: str) -> list[str]:
    import pymilvus

    client = pymilvus.MilvusClient(uri)
    try:
        return [str(name) for name in client.list_collections()]
    finally:
        client.close()


def test_a_collection_is_dropped_unless_it_is_kept(server: str, gallery: np.ndarray, tmp_path: Path) -> None:
    kept, dropped = MilvusFlat(uri=server, keep=True), MilvusFlat(uri=server)
    for index in (kept, dropped):
        index.build(gallery, Similarity.EUCLIDEAN, 0)
    names = collections(server)
    assert len(names) == 2 and all(name.startswith("retrieval_bench_") for name in names)
    for index, folder in ((kept, "kept"), (dropped, "dropped")):
        (tmp_path / folder).mkdir()
        index.save(tmp_path / folder)
        assert [file.name for file in (tmp_path / folder).iterdir()] == ["facts.json"]
        index.close()
    assert collections(server) == [kept._name]
    again = MilvusFlat(uri=server)
    again.load(tmp_path / "kept")
    np.testing.assert_array_equal(again.search(gallery[:9], 1, None)[0][:, 0], np.arange(9))
    gone = MilvusFlat(uri=server)
    with pytest.raises(IndexGone, match=f"has no collection {dropped._name} any more"):
        gone.load(tmp_path / "dropped")
    again.close()
    assert collections(server) == []


def measured(folder: Path, uri: str, efforts: list[int]) -> dict[str, dict]:
    rng = np.random.default_rng(0)
    queries, gallery = (
        Embeddings(np.arange(first, first + n), rng.standard_normal((n, 8)).astype(np.float32), fingerprint=str(first))
        for first, n in ((1000, 5), (0, 60))
    )
    candidates = [
        Candidate("exact", functools.partial(Exact)),
        Candidate("milvus", functools.partial(Milvus, uri=uri, connect_s=1.0, timeout_s=1.0, efforts=efforts)),
    ]
    plan = Plan(Similarity.COSINE, [1], 0, 0, Measure(passes=1, max_queries=5, max_seconds=0.1, batch_threads=1))
    results = measure(candidates, queries, gallery, plan, folder, lambda *_: None)
    return {result.build["index"]: result.build | {"points": len(result.points)} for result in results}


@pytest.mark.slow
def test_a_servers_bytes_and_memory_stay_blank_and_what_it_dropped_is_built_anew(server: str, tmp_path: Path) -> None:
    first = measured(tmp_path / "run", server, [16])
    assert (first["milvus"]["status"], first["milvus"]["error"], first["milvus"]["points"]) == ("ok", None, 1)
    assert first["milvus"]["index_bytes"] is None and first["milvus"]["peak_rss_bytes"] is None
    assert first["exact"]["index_bytes"] > 0 and first["exact"]["functional"] is False
    assert collections(server) == []
    again = measured(tmp_path / "run", server, [16, 32])  # needs the index, which is no longer there
    assert (again["milvus"]["status"], again["milvus"]["points"]) == ("ok", 2)
    assert again["milvus"]["build_s"] != first["milvus"]["build_s"]
    assert again["exact"]["build_s"] == first["exact"]["build_s"]


@pytest.mark.slow
def test_a_server_that_is_not_there_is_one_failed_row(unused: str, tmp_path: Path) -> None:
    builds = measured(tmp_path / "run", unused, [16])
    assert builds["exact"]["status"] == "ok" and builds["exact"]["points"] == 1
    assert builds["milvus"]["status"] == "failed" and builds["milvus"]["points"] == 0
    assert f"milvus: Milvus at {unused} does not answer" in builds["milvus"]["error"]


@pytest.mark.slow
def test_milvus_lite_counts_its_bytes_and_is_labelled(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = Embeddings(np.arange(60), rng.standard_normal((60, 8)).astype(np.float32), fingerprint="x")
    plan = Plan(Similarity.COSINE, [1], 1, 0, Measure(passes=1, max_queries=5, max_seconds=0.1, batch_threads=1))
    lite = [Candidate("milvus_flat", functools.partial(MilvusFlat))]
    build = measure(lite, data, data, plan, tmp_path / "run", lambda *_: None)[1].build
    assert build["status"] == "ok" and build["functional"] is True
    assert build["index_bytes"] > 60 * 8 * 4 and build["peak_rss_bytes"] > 0
