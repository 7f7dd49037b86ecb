"""The harness's side of a worker process: start it, ask it with a time and memory limit, end it, tell why it died."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import psutil

from retrieval_bench._messages import Close, Failure, Request
from retrieval_bench.errors import IndexGone, OutOfSpace, WorkerFailed

POLL_S = 0.05
GB = 1e9
# Libraries read these once, when they load.
PINNED = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR", "GOTO", "RAYON")
LINES_OF_STDERR = 6


class LimitExceeded(WorkerFailed):
    """A worker took more time or memory than it was allowed; trying again would do the same."""


@dataclass(frozen=True)
class Limits:
    """What a worker may take: seconds for one request, gigabytes of resident memory (none = no limit), threads."""

    timeout_s: float
    memory_gb: float | None
    threads: int


def _environment(threads: int) -> dict[str, str]:
    pinned = {f"{name}_NUM_THREADS": "1" for name in PINNED}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109 - '' means the current folder
    return {
        **os.environ,
        **pinned,
        "VECLIB_MAXIMUM_THREADS": "1",
        "NUMBA_NUM_THREADS": str(threads),  # a ceiling that numba cannot raise later, so all that a batch may use
        "PYTHONPATH": path,  # a backend of the user's own is importable wherever the parent finds it
        "PYTHONUNBUFFERED": "1",
    }


class WorkerProcess:
    """A running worker; whoever starts it must call `end`."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.name, self._limits = name, limits
        ours, theirs = multiprocessing.Pipe()
        self._connection: Connection = ours
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "retrieval_bench.worker", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                env=_environment(limits.threads),
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C reaches the harness only, which ends its workers itself
            )
        self._memory = psutil.Process(self._process.pid)

    def ask(self, request: Request) -> Any:
        """Send one request and wait for its reply.

        Raises:
            WorkerFailed: the backend raised, the process died. LimitExceeded: too slow, too much memory.
            OutOfSpace: the disk is full. IndexGone: what was saved is no longer in its database.
        """
        doing = type(request).__name__.lower()
        try:
            self._connection.send(request)
            self._wait(doing)
            reply = self._connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerFailed(f"{self.name}: {self._last_words(doing)}") from error
        if isinstance(reply, Failure):
            if reply.disk_full:
                raise OutOfSpace(f"the disk is full ({reply.message}); free some space and type the same command again")
            if reply.kind == IndexGone.__name__:
                raise IndexGone(f"{self.name}: {reply.message}")
            kind = "" if reply.ours else f"{reply.kind} in {doing}: "
            raise WorkerFailed(f"{self.name}: {kind}{reply.message}")
        return reply

    def _wait(self, doing: str) -> None:
        deadline = time.monotonic() + self._limits.timeout_s
        limit = self._limits.memory_gb
        while not self._connection.poll(POLL_S if limit is not None else max(0.0, deadline - time.monotonic())):
            if limit is not None and self._process.poll() is None and self._memory.memory_info().rss > limit * GB:
                self.end()
                raise LimitExceeded(
                    f"{self.name}: took more than {limit:g} GB of memory in {doing}; raise measure.memory_limit_gb"
                )
            if time.monotonic() >= deadline:
                self.end()
                raise LimitExceeded(
                    f"{self.name}: not done with {doing} after {self._limits.timeout_s:g} s; raise measure.timeout_s"
                )

    def _last_words(self, doing: str) -> str:
        """How the process ended, and the end of what it printed."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        self._output.seek(0)
        text = self._output.read()[-20_000:].decode(errors="replace")
        _, fatal, trace = text.rpartition("Fatal Python error")  # faulthandler's; the first lines tell most
        lines = [line.strip() for line in (fatal + trace).splitlines() if line.strip()]
        lines = lines[:LINES_OF_STDERR] if fatal else lines[-LINES_OF_STDERR:]
        return f"its worker {how} in {doing}{'; it printed: ' + ' | '.join(lines) if lines else ''}"

    def finish(self) -> None:
        """Let the backend close its index, then end the process."""
        self.ask(Close())
        self.end()

    def end(self) -> None:
        """Kill the process, if it still runs, and free what it held."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._output.close()
