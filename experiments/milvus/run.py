"""Milvus as a user meets it: a real server on loopback, Milvus Lite, and a server that dies in the middle.

python experiments/milvus/run.py --gallery base.npy --queries query.npy                 # all three parts
python experiments/milvus/run.py --gallery base.npy --queries query.npy --part server   # or lite, or killed

The server is the one that `pip install 'retrieval-bench[milvus_server]'` brings (Linux x86-64). It is started on a free
port with a temporary folder, and ended with everything it started, whatever happens. Only the CSV stays.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pymilvus

HERE = Path(__file__).parent
BACKENDS = ("milvus_flat", "milvus_ivf_flat", "milvus_ivf_sq8", "milvus")
LITE_ROWS = 20_000  # at 100,000 a query of Milvus Lite takes a good part of a second
COLUMNS = ["index", "knob", "effort", "ann_recall", "latency_p50_ms", "latency_p50_ms_lo", "latency_p50_ms_hi"]
COLUMNS += ["latency_p95_ms", "latency_p99_ms", "qps_batch", "build_s", "index_bytes", "peak_rss_bytes", "functional"]
COLUMNS += ["n_gallery", "status", "error"]
WAIT_S = 180


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running Milvus; its peak of resident memory is sampled."""

    def __init__(self, folder: Path) -> None:
        self.port, self.peak = free_port(), 0
        self.uri = f"http://127.0.0.1:{self.port}"
        program = Path(sys.executable).with_name("milvus-server")
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            [str(program), "--data", str(folder), "--proxy-port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a group of its own: it starts a child, and both are ended
        )
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise
        self.seconds = time.perf_counter() - begin
        threading.Thread(target=self._sample, daemon=True).start()

    def _wait(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if any(one.status() == psutil.STATUS_ZOMBIE for one in psutil.Process(self.process.pid).children()):
                raise SystemExit("the Milvus server died at its start; does another one run on this machine?")
            with contextlib.suppress(pymilvus.MilvusException):
                pymilvus.MilvusClient(self.uri, timeout=2).list_collections(timeout=2)
                return
            time.sleep(0.5)
        raise SystemExit(f"the Milvus server did not answer within {WAIT_S} s")

    def _sample(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            while True:
                members = [root, *root.children(recursive=True)]
                self.peak = max(self.peak, sum(one.memory_info().rss for one in members))
                time.sleep(0.5)

    def collections(self) -> list[str]:
        return [str(name) for name in pymilvus.MilvusClient(self.uri).list_collections()]

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="retrieval_bench_milvus_", ignore_cleanup_errors=True) as folder:
        running = Server(Path(folder))
        try:
            yield running
        finally:
            running.kill()


def command(data: list[str], runs: Path, names: list[str], *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "retrieval_bench.commands", "run", "data=vectors", *data, "similarity=euclidean"),
        *(f"search=[{','.join(['exact', *names])}]", "k=[10]", f"paths.runs={runs}", *more),
    ]


def points(runs: Path) -> pd.DataFrame:
    (file,) = runs.rglob("points.parquet")
    table = pd.read_parquet(file)
    return table[table["half"] == "all"].reindex(columns=COLUMNS)


def uris(uri: str) -> list[str]:
    return [f"search.{name}.uri={uri}" for name in BACKENDS]


def on_a_server(data: list[str], seconds: str) -> pd.DataFrame:
    with server() as running, tempfile.TemporaryDirectory() as runs:
        done = command(data, Path(runs), list(BACKENDS), *uris(running.uri), seconds)
        subprocess.run(done, check=True)
        left = running.collections()
        print(f"server: up after {running.seconds:.1f} s; {running.peak / 1e6:.0f} MB of memory at its peak")
        print(f"collections left: {left}")
        assert not left
        return points(Path(runs)).assign(where="server")


def embedded(gallery: Path, queries: Path, seconds: str) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as runs:
        part = Path(runs) / "gallery.npy"
        np.save(part, np.load(gallery, mmap_mode="r")[:LITE_ROWS])
        data = [f"data.gallery={part}", f"data.queries={queries.absolute()}"]
        subprocess.run(command(data, Path(runs) / "runs", list(BACKENDS), seconds), check=True)
        return points(Path(runs) / "runs").assign(where="lite")


def killed(data: list[str], seconds: str) -> pd.DataFrame:
    """Kill the server as soon as the index is built; the run must end with code 0 and keep everything else."""
    with server() as running, tempfile.TemporaryDirectory() as runs:
        more = [f"search.milvus.uri={running.uri}", "search.milvus.timeout_s=5", seconds]
        run = subprocess.Popen(command(data, Path(runs), ["hnsw", "milvus"], *more))
        try:
            while run.poll() is None and not list(Path(runs).rglob("milvus-*/build.json")):
                time.sleep(0.2)
            running.kill()
            print("server: killed", flush=True)
            assert run.wait(timeout=1800) == 0
        finally:
            run.kill()
        table = points(Path(runs)).assign(where="killed")
    status = table.groupby("index")["status"].agg(set).to_dict()
    assert status["exact"] == status["hnsw"] == {"ok"} and "failed" in status["milvus"], status
    print(table.loc[table["status"] == "failed", "error"].iloc[0])
    return table


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the server is ended, too
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--part", choices=["server", "lite", "killed"], help="default: all")
    parser.add_argument("--max-seconds", type=float, default=20.0, help="of timed queries a point")
    given = parser.parse_args()
    data = [f"data.gallery={given.gallery.absolute()}", f"data.queries={given.queries.absolute()}"]
    seconds = f"measure.max_seconds={given.max_seconds}"
    parts = [given.part] if given.part else ["server", "lite", "killed"]
    for part in parts:
        if part == "server":
            table = on_a_server(data, seconds)
        elif part == "lite":
            table = embedded(given.gallery, given.queries, seconds)
        else:
            table = killed(data, seconds)
        table.to_csv(HERE / f"{part}.csv", index=False, float_format="%.4g")
        print(table.drop(columns=["error", "where"]).to_string())


if __name__ == "__main__":
    main()
