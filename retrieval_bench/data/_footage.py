"""Frames of shots that are drawn once, by a script, into a cache shared by all runs; a killed process goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._row_store import RowStore
from retrieval_bench.data._rendered import progress
from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.hashing import json_digest
from retrieval_bench.machine import cores
from retrieval_bench.media.clip import Clip

BLOCK = 1024  # frames that are drawn before they are written; more only where one shot has more
Frames = NDArray[np.uint8]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Script:
    """How to draw the shots of one part of a data set: clips, or whole videos.

    Attributes:
        name: data set and part, e.g. "motions-train".
        decides: everything besides the keys that decides a pixel (parameters, versions, digests); JSON values.
        keys: [n] names of the shots; the drawing of a shot depends on its key and on `decides` alone.
        lengths: [n] frames of each shot.
        size: side in pixels.
        draw: row → uint8 [lengths[row], size, size, 3]; called from several threads.
    """

    name: str
    decides: Mapping[str, Any]
    keys: Sequence[str]
    lengths: Sequence[int]
    size: int
    draw: Callable[[int], Frames]

    @property
    def digest(self) -> str:
        """Name of the script's place in the cache."""
        return json_digest([self.name, self.size, self.decides, list(self.keys), list(self.lengths)], 8)


@dataclass(frozen=True, eq=False)
class Footage:
    """The drawn frames of all shots.

    Attributes:
        frames: read-only memory map uint8 [all frames, size, size, 3].
        starts: int64 [n + 1]; shot i is frames[starts[i] : starts[i + 1]].
        fingerprint: digest of pixels and keys.
    """

    frames: Frames
    starts: NDArray[np.int64]
    fingerprint: str

    def shot(self, row: int) -> Frames:
        """The frames of a shot, a read-only slice of the memory map: [length, size, size, 3]."""
        return np.asarray(self.frames)[self.starts[row] : self.starts[row + 1]]


def footage(cache: str | Path, script: Script, threads: int | None = None) -> Footage:
    """The frames of a script: from the cache, or drawn into it first. Two processes draw once.

    Args:
        cache: folder; made if missing.
        script: what to draw.
        threads: none = one for each core. The bytes do not depend on it, nor on where an earlier process was killed.

    Raises:
        OutOfSpace: the disk of the cache is full; what was drawn is kept. BadConfig: the cache cannot be written.
    """
    place = Path(cache).expanduser() / "rendered" / f"{script.name}-{script.digest}"
    store = RowStore(place, "frames", np.uint8)
    starts = np.concatenate([[0], np.cumsum(script.lengths)]).astype(np.int64)
    try:
        with store.locked(_log.warning):
            frames = _finished(store, script, int(starts[-1]))
            if frames is None:
                _draw(store, script, starts, threads or cores())
                frames = store.read()
            if "fingerprint" not in store.state:
                store.state["fingerprint"] = _fingerprint(script, frames)
                store.save_state()
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise BadConfig(f"the cache {place.parent} cannot be written ({error}); type paths.cache=FOLDER") from error
    return Footage(frames, starts, str(store.state["fingerprint"]))


def _finished(store: RowStore, script: Script, n: int) -> Frames | None:
    """The frames of a finished store, or none. A file that lost bytes since counts as not there."""
    if not store.state["finished"]:
        return None
    try:
        frames = store.read()
    except CorruptInput:
        frames = np.empty(0, np.uint8)
    if frames.shape == (n, script.size, script.size, 3):
        return frames
    store.state = {"rows": 0, "finished": False}
    return None


def _draw(store: RowStore, script: Script, starts: NDArray[np.int64], threads: int) -> None:
    """Draw what is not there yet; the store counts frames, and a block ends where a shot ends."""
    shape = (script.size, script.size, 3)
    first = int(np.searchsorted(starts, store.state["rows"]))
    with store.appending(int(starts[-1]), shape) as append, ThreadPoolExecutor(threads) as pool:
        for rows in progress(f"drawing {script.name}", list(_blocks(starts, first))):
            drawn = list(pool.map(script.draw, rows))
            for row, frames in zip(rows, drawn, strict=True):
                if frames.shape != (script.lengths[row], *shape) or frames.dtype != np.uint8:
                    raise ValueError(f"{script.name} drew {frames.dtype} {frames.shape} for {script.keys[row]}")
            append(np.concatenate(drawn))


def _blocks(starts: NDArray[np.int64], first: int) -> Iterator[range]:
    """Runs of shots of at most BLOCK frames together, or of one shot."""
    while first < len(starts) - 1:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + BLOCK, side="right")) - 1)
        yield range(first, last)
        first = last


def _fingerprint(script: Script, frames: Frames) -> str:
    digest = blake2b("\n".join(script.keys).encode(), digest_size=16)
    for start in range(0, len(frames), BLOCK):
        digest.update(np.ascontiguousarray(frames[start : start + BLOCK]).data)
    return f"{script.name}-{digest.hexdigest()}"


def side_read(clip: Clip, size: int) -> int | None:
    """Side of the squares that a clip makes of squares of this size, or none if they are no squares any more."""
    width, height = clip.width or size, clip.height or size
    return width if width == height else None
