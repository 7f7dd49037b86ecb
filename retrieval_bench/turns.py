"""Who may use this machine now: what is timed runs alone, what only computes runs beside its like.

A readers-writer lock of the whole machine: encoding, training and exact search share it, measuring has it alone. It is
a lock of the system on a file, so it goes when its process ends, however that ends. No one holds it while waiting for
another lock that is held by a measurement, and each process that has computed waits for its own measurement before it
computes again, so neither side starves.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from retrieval_bench.errors import BadConfig

FOLDER = "RETRIEVAL_BENCH_TURNS"  # environment variable: the folder of the lock; machines in one are told apart
_NAME = "retrieval_bench.measuring.lock"
_held = [0]  # how often this process computes now: what it does inside needs no second turn


@contextmanager
def working(say: Callable[[str], None]) -> Iterator[None]:
    """Compute without a clock: others may, too, but nobody measures meanwhile.

    Args:
        say: told once if another process measures now.
    """
    with _turn(fcntl.LOCK_SH, "another process measures on this machine; waiting until it is done", say):
        _held[0] += 1
        try:
            yield
        finally:
            _held[0] -= 1


@contextmanager
def measuring(say: Callable[[str], None]) -> Iterator[None]:
    """Measure with the clock: alone on this machine among processes of retrieval_bench.

    Args:
        say: told once if another process is at work now.
    """
    if _held[0]:  # would wait for itself for ever
        raise RuntimeError("measuring within working: leave one before the other")
    with _turn(fcntl.LOCK_EX, "another process is at work on this machine; measuring waits until it is quiet", say):
        yield


@contextmanager
def _turn(kind: int, reason: str, say: Callable[[str], None]) -> Iterator[None]:
    handle = _opened(Path(os.environ.get(FOLDER) or tempfile.gettempdir()) / _NAME)
    try:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            say(reason)
            fcntl.flock(handle, kind)
        yield
    finally:
        os.close(handle)  # and with it goes the lock


def _opened(file: Path) -> int:
    """The file, made if it is not there. It is read only: other users' processes lock the same one.

    Raises:
        BadConfig: it cannot be made.
    """
    try:
        try:
            return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            file.parent.mkdir(parents=True, exist_ok=True)
            return os.open(file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise BadConfig(f"{file} cannot be made ({error.strerror}); type export {FOLDER}=FOLDER") from error
