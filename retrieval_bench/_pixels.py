"""Images and frames for training: decoded and prepared once, then read as bytes from a memory map every epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._item_batches import Reading, batches, check_unreadable
from retrieval_bench._kept_blocks import keep
from retrieval_bench._row_store import RowStore
from retrieval_bench.hashing import json_digest
from retrieval_bench.turns import working

_log = logging.getLogger(__name__)

_SCHEMA = 2  # part of every cache key


@dataclass(frozen=True, eq=False)
class Pixels:
    """Prepared images of the items that could be read, in their order. A row here is not a row of the items.

    Attributes:
        images: uint8 [n, size, size, c], a read-only memory map; of clips all frames, one clip after the other.
        kept: int64 [n], the row of the items that each image or clip is of: `items.labels[pixels.kept]`.
        unreadable: (key, reason) of the other items.
        decoded: items that were decoded now; 0 when all came from the cache.
        ends: int64 [n] of clips: where the frames of each end; none of images.
    """

    images: NDArray[np.uint8]
    kept: NDArray[np.int64]
    unreadable: list[tuple[str, str]]
    decoded: int
    ends: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.kept)

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """A copy of some images: [b, size, size, c]."""
        return np.take(self.images, rows, axis=0)

    def clips(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """A copy of the frames of some clips [frames, size, size, c], and how many each has: int64 [b]."""
        ends = np.arange(1, len(self) + 1) if self.ends is None else self.ends
        stops, starts = ends[rows], np.where(rows > 0, ends[rows - 1], 0)
        frames = np.concatenate([np.arange(a, b) for a, b in zip(starts, stops, strict=True)])
        return self.batch(frames), (stops - starts).astype(np.int64)


def pixels(reading: Reading, cache: Path, progress: Callable[[int, int], None]) -> Pixels:
    """Decode and prepare items at the size of training, or take them from the cache.

    The cache key is made of the items' fingerprint and of what decides pixels: size, resizing and interpolation. Random
    crops in training are cut from these images, so what the preprocessing cuts off is never trained on. A killed call
    goes on behind its last finished block; two processes that want the same pixels decode once.

    Args:
        reading: items, the name of their images, preprocessing, and the settings of reading.
        cache: folder of all caches.
        progress: called with (done, total) items after every batch.

    Raises:
        TooManyUnreadable: more items than `embed.max_unreadable` allows; names the first few.
        OutOfSpace: the disk is full; finished blocks are kept.
    """
    items, how = reading.items, reading.preprocessing
    decides = [reading.name, how.size, how.resize, how.interpolation, *([how.channels] if reading.clips else [])]
    key = json_digest([_SCHEMA, decides, items.fingerprint, len(items)])
    store = RowStore(cache / "pixels" / key, "pixels", np.uint8)
    with store.locked(_log.warning):
        before = store.state.setdefault("done", 0)
        if not store.state["finished"]:
            with working(_log.warning):
                made = ((batch, batch.images) for batch in batches(reading, before))
                keep(store, reading, made, (how.size, how.size, how.channels), progress)
        unreadable = [(str(key), str(reason)) for key, reason in store.state["unreadable"]]
        check_unreadable(unreadable, reading)
        lost = {key for key, _ in unreadable}
        kept = np.flatnonzero([key not in lost for key in items.keys])
        ends = np.cumsum(np.array(store.state["frames"], np.int64)[kept]) if reading.clips and len(items) else None
        return Pixels(np.asarray(store.read()), kept, unreadable, len(items) - before, ends)
