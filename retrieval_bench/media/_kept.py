"""Decoded clips in a cache shared by all runs of a machine, and a ledger of the files that gave none or a part."""

from __future__ import annotations

import json
import os
import threading
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from retrieval_bench._once import writing
from retrieval_bench.errors import CorruptInput
from retrieval_bench.hashing import json_digest
from retrieval_bench.machine import cores

LEDGER = "failures.csv"
COLUMNS = ["file", "video", "outcome", "reason"]  # digest of its content; its name with that of its folder


class Outcome(StrEnum):
    """What the ledger says of a video."""

    FAILED = "failed"  # it gave no clip
    TRUNCATED = "truncated"  # it gave one of its first part


def content_digest(path: Path) -> str:
    """Digest of a file's bytes; read again only if its size or time changed since.

    Raises:
        CorruptInput: it cannot be opened; the message is the reason alone.
    """
    try:
        state = path.stat()
        return _digest(str(path), state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise CorruptInput(f"cannot be opened: {error.strerror}") from error


@lru_cache(maxsize=1 << 16)
def _digest(path: str, size: int, changed: int) -> str:
    with Path(path).open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()


class KeptClips:
    """The clips of one way of reading videos: a file each, under the digest of the video's bytes.

    Files are written under another name and renamed: a killed process leaves nothing that looks finished, and of two
    that want the same clip both may decode it, to the same bytes. The ledger names the videos that gave no clip, by
    content: they are not decoded again unless they change; and those that are cut off. It has no absolute paths.

    Args:
        cache: folder of the cache.
        decides: everything besides the file that decides a byte, as JSON.
    """

    def __init__(self, cache: str | Path, decides: Mapping[str, Any]) -> None:
        self.folder = Path(cache).expanduser() / "clips" / json_digest(decides, 16)
        self._decides = decides
        self._failed: dict[str, str] = {}
        self._ledger_time = 0

    def load(self, digest: str) -> dict[str, NDArray[np.uint8]] | None:
        """A kept clip, or none; a file that lost bytes counts as not there.

        Raises:
            CorruptInput: the ledger has this video; the message is the reason alone.
        """
        try:
            with self._file(digest).open("rb") as file, np.load(file) as kept:
                return dict(kept)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            pass
        reason = self._reasons().get(digest)
        if reason is not None:
            raise CorruptInput(reason)
        return None

    def save(self, digest: str, arrays: Mapping[str, NDArray[np.uint8]]) -> None:
        """Keep a clip. Raises OutOfSpace or BadConfig where the cache cannot be written."""
        file = self._file(digest)
        with writing(file.parent):
            self._about()
            temporary = _beside(file)
            try:
                with temporary.open("wb") as stream:
                    np.savez(stream, **arrays)  # type: ignore[arg-type]  # the stubs mix up its own options
                temporary.replace(file)
            finally:
                temporary.unlink(missing_ok=True)

    def note(self, digest: str, path: Path, outcome: Outcome, reason: str) -> None:
        """Write a line into the ledger. Raises as `save`."""
        import pandas as pd

        with writing(self.folder), FileLock(self.folder / f"{LEDGER}.lock"):
            self._about()
            rows = [row for row in self._rows() if row[0] != digest]
            rows.append((digest, _named(path), str(outcome), reason))
            temporary = _beside(self.folder / LEDGER)
            pd.DataFrame(rows, columns=COLUMNS).to_csv(temporary, index=False)
            temporary.replace(self.folder / LEDGER)

    def truncated(self, paths: Sequence[Path]) -> dict[Path, str]:
        """Those of the files that the ledger has as cut off, with the reason.

        Told by content, as everything here: a file may have been read under another name, or lie in a folder that was
        moved since. Where the ledger has none that is cut off, no file is read.
        """
        known = {file: why for file, _, outcome, why in self._rows() if outcome == Outcome.TRUNCATED}
        if not known:
            return {}
        with ThreadPoolExecutor(cores()) as pool:
            digests = pool.map(_digest_or_none, paths)
            return {path: known[digest] for path, digest in zip(paths, digests, strict=True) if digest in known}

    def _file(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.npz"

    def _about(self) -> None:
        """What the folder's name stands for, for people."""
        file = self.folder / "about.json"
        if not file.exists():
            temporary = _beside(file)
            temporary.write_text(json.dumps(self._decides, indent=1))
            temporary.replace(file)

    def _reasons(self) -> dict[str, str]:
        """Digest → reason of those that failed; the ledger is read again when it has changed."""
        try:
            changed = (self.folder / LEDGER).stat().st_mtime_ns
        except OSError:
            return {}
        if changed != self._ledger_time:
            self._failed = {file: why for file, _, outcome, why in self._rows() if outcome == Outcome.FAILED}
            self._ledger_time = changed
        return self._failed

    def _rows(self) -> list[tuple[str, str, str, str]]:
        import pandas as pd

        try:
            table = pd.read_csv(self.folder / LEDGER, dtype=str, keep_default_na=False)
            return list(table[COLUMNS].itertuples(index=False, name=None))
        except (OSError, ValueError, KeyError):
            return []  # none yet, or damaged: the worst is that a bad video is decoded once more


def _digest_or_none(path: Path) -> str:
    try:
        return content_digest(path)
    except CorruptInput:  # it is not there any more
        return ""


def _named(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _beside(file: Path) -> Path:
    """A name next to a file that no other thread or process uses."""
    return file.with_name(f".{file.name}.{os.getpid()}-{threading.get_ident()}.tmp")
