"""A growing file of rows on disk that survives being killed, and that other processes wait for."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import DTypeLike, NDArray

from retrieval_bench.errors import CorruptInput, OutOfSpace

_SPARE_BYTES = 1 << 20  # left free for the small files beside the rows


class RowStore:
    """Rows of one shape and type in one .npy file, appended block by block; every finished block survives a kill.

    Blocks are written with plain writes, never through a memory map: on a full disk a write says so, a map kills the
    process. What counts is `state.json`, renamed into place after its block is on disk; what is behind it is cut off.

    Args:
        folder: made when it is locked.
        what: what the rows are called, in messages and in the name of the file.
        dtype: of the rows.

    Attributes:
        state: JSON values: `rows` (rows written) and `finished`, and whatever the owner adds.
    """

    def __init__(self, folder: Path, what: str, dtype: DTypeLike) -> None:
        self.folder = folder
        self.state: dict[str, Any] = {"rows": 0, "finished": False}
        self._what, self._dtype = what, np.dtype(dtype).newbyteorder("<")
        self._rows, self._state = folder / f"{what}.npy", folder / "state.json"

    @contextmanager
    def locked(self, waiting: Callable[[str], None]) -> Iterator[None]:
        """Only one process at a time; `waiting` is told once if another one is at work. Reads the state."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(self.folder) + ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting(f"another process makes the same {self._what}; waiting for it")
            lock.acquire()
        try:
            if self._state.is_file():
                self.state = json.loads(self._state.read_text())
            yield
        finally:
            lock.release()

    def save_state(self) -> None:
        """Write the state, atomically."""
        with _full_disk(self.folder):
            temporary = self._state.with_suffix(".tmp")
            temporary.write_text(json.dumps(self.state))
            temporary.replace(self._state)

    @contextmanager
    def appending(self, n: int, shape: tuple[int, ...]) -> Iterator[Callable[[NDArray[Any]], None]]:
        """Append blocks [b, *shape] behind the rows that are there, up to n rows; each call ends in `save_state`.

        On leaving without an error the file gets its final length and the store is finished.

        Raises:
            OutOfSpace: the disk is full, or will be before n rows are written. Finished blocks stay.
        """
        row_bytes = math.prod(shape) * self._dtype.itemsize
        self._need_space((n - self.state["rows"]) * row_bytes)
        with _full_disk(self.folder), self._rows.open("r+b" if self.state["rows"] else "w+b") as file:
            start = self._write_header(file, (n, *shape))
            file.truncate(start + self.state["rows"] * row_bytes)
            file.seek(0, os.SEEK_END)

            def append(block: NDArray[Any]) -> None:
                file.write(np.ascontiguousarray(block, self._dtype).data)
                file.flush()
                os.fsync(file.fileno())
                self.state["rows"] += len(block)
                self.save_state()

            yield append
            file.seek(0)
            if self._write_header(file, (self.state["rows"], *shape)) != start:
                raise CorruptInput(f"the header of {self._rows} changed its length; delete the folder {self.folder}")
        self.state["finished"] = True
        self.save_state()

    def read(self) -> NDArray[Any]:
        """All rows of a finished store, as a read-only memory map (an empty array if there are none).

        Raises:
            CorruptInput: the file is shorter than it was.
        """
        try:
            rows: NDArray[Any] = np.load(self._rows, mmap_mode="r" if self.state["rows"] else None)
        except (ValueError, OSError) as error:
            raise CorruptInput(f"{self._rows} is damaged ({error}); delete the folder {self.folder}") from error
        return rows

    def _write_header(self, file: Any, shape: tuple[int, ...]) -> int:
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        return int(file.tell())

    def _need_space(self, more: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if more + _SPARE_BYTES > free:
            raise OutOfSpace(
                f"{more / 1e6:.0f} MB of {self._what} do not fit into the {free / 1e6:.0f} MB that are free for"
                f" {self.folder}; free some, or type paths.cache=FOLDER"
            )


@contextmanager
def _full_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OutOfSpace(
            f"the disk of {folder} is full; finished blocks are kept: free some space and type the same command again,"
            " or type paths.cache=FOLDER"
        ) from error
