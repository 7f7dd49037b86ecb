"""What is made of batches of items, kept on the disk some batches at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._item_batches import FRAMES, Batch, Reading, check_unreadable
from retrieval_bench._row_store import RowStore

_BATCHES_A_BLOCK = 8  # at most this many batches are lost when the process is killed


def keep(
    store: RowStore,
    reading: Reading,
    made: Iterable[tuple[Batch, NDArray[Any]]],
    row: tuple[int, ...],
    progress: Callable[[int, int], None],
) -> None:
    """Append the rows of each batch, from the item `state["done"]` on, and finish the store.

    The state also gets `unreadable`, (key, reason) of items, and `frames`, how many rows each item has.

    Args:
        made: a batch and its rows [.., *row], in the order of the items.
        progress: called with (done, total) items at the start and after every batch.

    Raises:
        TooManyUnreadable, OutOfSpace: finished blocks are kept.
    """
    state, n = store.state, len(reading.items)
    unreadable, frames = state.setdefault("unreadable", []), state.setdefault("frames", [])
    block, waiting = list[NDArray[Any]](), list[int]()
    progress(state["done"], n)
    room = n * max(frames, default=FRAMES) if reading.clips else n
    with store.appending(max(room, state["rows"]), row) as append:
        for batch, rows in made:
            done = batch.start + batch.count
            block.append(rows)
            waiting += batch.frames
            unreadable += [(reading.items.keys[batch.start + i], reason) for i, reason in batch.unreadable.items()]
            check_unreadable(unreadable, reading)
            if len(block) == _BATCHES_A_BLOCK or done == n:
                state["done"] = done
                frames += waiting
                append(np.concatenate(block))
                block, waiting = [], []
            progress(done, n)
