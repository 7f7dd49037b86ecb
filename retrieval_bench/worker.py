"""The process in which one index lives: `python -m retrieval_bench.worker FD`, started by the harness only.

It imports numpy and the backend's own library and nothing heavier, so that memory and start-up are the backend's.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import gc
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._messages import (
    ArrayFile,
    Build,
    Built,
    Close,
    Collide,
    Collided,
    Failure,
    Found,
    Load,
    Request,
    Search,
    Serve,
    Served,
    Start,
    TimePass,
)
from retrieval_bench._questions import Questions
from retrieval_bench.errors import RetrievalBenchError
from retrieval_bench.search.base import Index
from retrieval_bench.types import Similarity

BLOCK_ROWS = 16_384
LEAST_TIMED = 20
PRELUDE = 8  # untimed queries before each pass: another process has just had the caches
LINUX = sys.platform == "linux"
Ask = Callable[[Any, int, int | None], Any]  # (query, k, effort): what is timed


def prepared(block: NDArray[np.generic], similarity: Similarity) -> NDArray[np.float32]:
    """Contiguous float32 rows, a copy, of unit length under cosine."""
    if similarity is not Similarity.COSINE:
        return np.array(block, np.float32, order="C")
    rows = np.array(block, np.float32, order="C")
    rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))[:, None].astype(np.float32)
    return rows


def dtype_given(dtype: np.dtype[Any], similarity: Similarity) -> np.dtype[Any]:
    """Of the gallery as an index gets it: float32 under cosine, else the native dtype."""
    return np.dtype(np.float32) if similarity is Similarity.COSINE else dtype.newbyteorder("=")


def gathered(vectors: NDArray[np.generic], order: NDArray[np.int64], similarity: Similarity) -> NDArray[np.generic]:
    """`vectors[order]` as an index gets it: float32 unit vectors under cosine, else the native dtype."""
    cosine = similarity is Similarity.COSINE
    out = np.empty((len(order), vectors.shape[1]), dtype_given(vectors.dtype, similarity))
    for start in range(0, len(order), BLOCK_ROWS):
        block = vectors[order[start : start + BLOCK_ROWS]]
        out[start : start + BLOCK_ROWS] = prepared(block, similarity) if cosine else block
    return out


def resident_bytes(peak: bool) -> int:
    """Resident memory of this process, now or at its peak."""
    if LINUX:
        name = "VmHWM:" if peak else "VmRSS:"
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _forget_peak() -> None:
    """Start the peak anew. Where the kernel does not offer it, the peak stays a little too high."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _pin(cores: list[int]) -> None:
    """Let every thread run on these cores only (threads of a pool keep the mask that they were born with)."""
    if LINUX:
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # a thread that has just ended
                os.sched_setaffinity(int(thread.name), cores)


def _die_with_parent(parent: int) -> None:
    """Have the system end this process when the harness dies, also in the middle of a long build."""
    if LINUX:
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit("the harness ended before its worker began")


class Worker:
    """One index and what it is asked. The harness asks one thing at a time."""

    def __init__(self) -> None:
        self._cores = sorted(os.sched_getaffinity(0)) if LINUX else []
        self._index: Index
        self._queries: ArrayFile  # mapped for a moment only: pages of a map count as memory of this process
        self._similarity: Similarity
        self._questions: Questions | None = None
        self._baseline = 0

    def answer(self, request: Request) -> Any:
        """Do one request; the reply is described with the request's class."""
        handlers: dict[type[Any], Callable[[Any], Any]] = {
            Start: self._start,
            Build: self._build,
            Load: lambda load: self._index.load(Path(load.folder)),
            Search: self._search,
            TimePass: self._time,
            Serve: self._serve,
            Collide: self._collide,
            Close: lambda _: self._index.close(),
        }
        return handlers[type(request)](request)

    def _use(self, threads: int) -> None:
        _pin(self._cores[-threads:])
        self._index.set_threads(threads)

    def _start(self, request: Start) -> None:
        self._index = request.factory()
        self._index.warm(dtype_given(np.dtype(request.dtype), request.similarity))
        self._queries, self._similarity = request.queries, request.similarity
        if request.moments is not None:
            self._questions = Questions.of(request.moments, request.similarity)
        self._baseline = resident_bytes(peak=False)

    def _build(self, request: Build) -> Built:
        self._use(request.threads)
        vectors = gathered(request.gallery.open(), request.order, self._similarity)
        self._index.set_blocks(request.blocks)
        _forget_peak()  # of gathering: the mapped source is not the index's doing
        begin = time.perf_counter()
        self._index.build(vectors, self._similarity, request.seed)
        seconds = time.perf_counter() - begin
        peak = resident_bytes(peak=True)
        del vectors
        self._index.save(Path(request.folder))
        if self._index.remote:
            return Built(seconds, None, None, self._index.functional)
        held = folder_bytes(Path(request.folder))
        return Built(seconds, held, max(0, peak - self._baseline), self._index.functional)

    def _search(self, request: Search) -> Found:
        self._use(request.threads)
        queries = prepared(self._queries.open()[request.start : request.stop], self._similarity)
        self._index.search(queries[:PRELUDE], request.k, request.effort)
        _forget_peak()
        begin = time.perf_counter()
        rows, scores = self._index.search(queries, request.k, request.effort)
        seconds = time.perf_counter() - begin
        peak = max(0, resident_bytes(peak=True) - self._baseline - queries.nbytes)
        return Found(np.asarray(rows), np.asarray(scores), self._index.candidates(), seconds, peak)

    def _singly(self, rows: NDArray[np.int64]) -> tuple[Ask, list[Any]]:
        """How one query is asked, and the queries: a vector each, or all windows of a moment query."""
        vectors, found = self._queries.open(), self._questions
        if found is not None:
            blocks = [prepared(vectors[found.part(number)], self._similarity) for number in rows.tolist()]
            return found.asking(self._index), list(map(found.question, rows.tolist(), blocks))
        queries = prepared(vectors[rows], self._similarity)
        return self._index.search, [queries[i : i + 1] for i in range(len(queries))]

    def _time(self, request: TimePass) -> NDArray[np.int64]:
        self._use(1)
        search, single = self._singly(request.rows)
        k, effort, clock = request.k, request.effort, time.perf_counter_ns
        times = np.zeros(len(single), np.int64)
        left = request.limit_s * 1e9
        for query in single[:PRELUDE]:
            search(query, k, effort)
        gc.collect()
        gc.disable()
        try:
            for i, query in enumerate(single):
                begin = clock()
                search(query, k, effort)
                spent = clock() - begin
                times[i] = max(1, spent)
                left -= spent
                if left < 0 and i + 1 >= LEAST_TIMED:
                    return times[: i + 1]
        finally:
            gc.enable()
        return times

    def _serve(self, request: Serve) -> Served:
        self._use(request.clients)
        self._index.set_threads(1)
        return _served(*self._singly(request.rows), request)

    def _collide(self, request: Collide) -> Collided | None:
        queries = prepared(self._queries.open()[request.queries], self._similarity)
        theory = self._index.collision(queries, request.rows, request.effort)
        sets = self._index.candidate_sets(queries, request.effort)
        if theory is None or sets is None:
            return None
        hit = [np.isin(rows, found) for rows, found in zip(request.rows, sets, strict=True)]
        return Collided(theory[0], theory[1], np.array(hit))


def _served(search: Ask, single: list[Any], request: Serve) -> Served:
    """Closed loop: as many threads as clients, all at once, until the time is over."""
    start = threading.Barrier(request.clients + 1)
    k, effort, clock = request.k, request.effort, time.perf_counter_ns
    begins, ends = [0] * request.clients, [0] * request.clients

    def client(number: int) -> list[int]:
        times: list[int] = []
        at = number * len(single) // request.clients
        start.wait()
        begins[number] = clock()  # not by the thread that waits for them: that one may get its turn much later
        last, now = begins[number] + int(request.seconds * 1e9), 0
        while now < last:
            begin = clock()
            search(single[at], k, effort)
            now = clock()
            times.append(max(1, now - begin))
            at = (at + 1) % len(single)
        ends[number] = now
        return times

    for query in single[:PRELUDE]:
        search(query, k, effort)
    gc.collect()
    gc.disable()
    try:
        with ThreadPoolExecutor(request.clients) as pool:
            asked = [pool.submit(client, number) for number in range(request.clients)]
            start.wait()
            times = [np.array(one.result(), np.int64) for one in asked]
    finally:
        gc.enable()
    owner = np.repeat(np.arange(request.clients), [len(one) for one in times])
    return Served(np.concatenate(times), owner, (max(ends) - min(begins)) / 1e9)


def _failure(error: Exception) -> Failure:
    traceback.print_exception(error)
    # faiss turns the system's error into text.
    full = os.strerror(errno.ENOSPC) in str(error) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return Failure(type(error).__name__, str(error), isinstance(error, RetrievalBenchError), full)


def serve(connection: Connection) -> None:
    """Answer requests until the harness hangs up."""
    worker = Worker()
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        reply: Any
        try:
            reply = worker.answer(pickle.loads(message))
        except Exception as error:  # noqa: BLE001 - whatever a backend raises is told to the harness as its failure
            reply = _failure(error)
        connection.send(reply)


if __name__ == "__main__":
    faulthandler.enable()
    _die_with_parent(int(sys.argv[2]))
    serve(Connection(int(sys.argv[1])))
