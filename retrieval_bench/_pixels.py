"""Images for training: decoded and prepared once, then read as bytes from a memory map every epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._epochs import BatchSampler
from retrieval_bench._item_batches import Reading, batches, check_unreadable
from retrieval_bench._row_store import RowStore
from retrieval_bench.hashing import json_digest

if TYPE_CHECKING:
    from torch import Tensor

_log = logging.getLogger(__name__)

_SCHEMA = 1  # part of every cache key
_BATCHES_A_BLOCK = 8  # at most this many batches are lost when the process is killed


@dataclass(frozen=True, eq=False)
class Pixels:
    """Prepared images of the items that could be read, in their order. A row here is not a row of the items.

    Attributes:
        images: uint8 [n, size, size, 3], a read-only memory map.
        kept: int64 [n], the row of the items that each image is of: `items.labels[pixels.kept]`.
        unreadable: (key, reason) of the other items.
        decoded: items that were decoded now; 0 when all came from the cache.
    """

    images: NDArray[np.uint8]
    kept: NDArray[np.int64]
    unreadable: list[tuple[str, str]]
    decoded: int

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """A copy of some images: [b, size, size, 3]."""
        return np.take(self.images, rows, axis=0)


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
    decides = [reading.name, how.size, how.resize, how.interpolation]
    key = json_digest([_SCHEMA, decides, items.fingerprint, len(items)])
    store = RowStore(cache / "pixels" / key, "pixels", np.uint8)
    with store.locked(_log.warning):
        before = store.state.setdefault("done", 0)
        if not store.state["finished"]:
            _fill(store, reading, progress)
        unreadable = store.state["unreadable"]
        named = _named(unreadable, reading)
        check_unreadable(named, reading)
        kept = np.delete(np.arange(len(items)), [row for row, _ in unreadable])
        return Pixels(np.asarray(store.read()), kept, named, len(items) - before)


def _fill(store: RowStore, reading: Reading, progress: Callable[[int, int], None]) -> None:
    state, n, side = store.state, len(reading.items), reading.preprocessing.size
    unreadable, block = state.setdefault("unreadable", []), list[NDArray[np.uint8]]()
    progress(state["done"], n)
    with store.appending(n, (side, side, 3)) as append:
        for batch in batches(reading, state["done"]):
            done = batch.start + len(batch.images)
            block.append(np.delete(batch.images, list(batch.unreadable), axis=0) if batch.unreadable else batch.images)
            unreadable += [(batch.start + i, reason) for i, reason in batch.unreadable.items()]
            check_unreadable(_named(unreadable, reading), reading)
            if len(block) == _BATCHES_A_BLOCK or done == n:
                state["done"] = done
                append(np.concatenate(block))
                block = []
            progress(done, n)


def _named(unreadable: Sequence[tuple[int, str]], reading: Reading) -> list[tuple[str, str]]:
    return [(reading.items.keys[row], reason) for row, reason in unreadable]


class Loader:
    """Batches of pixels in the order of a sampler, read in the process that trains.

    Reading a batch is copying some bytes, so there is nothing for other processes to do. Lightning takes this for a
    loader whose place is part of its checkpoint, and sets the epoch of `sampler`.
    """

    def __init__(self, pixels: Pixels, sampler: BatchSampler) -> None:
        self.sampler = sampler
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images uint8 [b, 3, size, size] (channels last in memory) and their rows in the pixels, int64 [b]."""
        import torch

        for rows in self.sampler:
            yield torch.from_numpy(self._pixels.batch(rows)).permute(0, 3, 1, 2), torch.tensor(rows)

    def state_dict(self) -> dict[str, Any]:
        """The sampler's."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises as the sampler's does."""
        self.sampler.load_state_dict(state)
