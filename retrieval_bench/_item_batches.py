"""From items to batches of prepared images: read and resized in threads, a few batches ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data.base import Items
from retrieval_bench.encoder.base import Device, EngineName, Precision, Preprocessing, prepare
from retrieval_bench.errors import BadConfig, CorruptInput, TooManyUnreadable
from retrieval_bench.machine import cores

if TYPE_CHECKING:
    from retrieval_bench.encoder.base import Encoder


@dataclass(frozen=True)
class Embed:
    """Settings of encoding.

    Attributes:
        engine: auto, torch or openvino. auto: OpenVINO on a CPU, where it is installed and agrees with torch.
        device: auto, cpu or cuda.
        precision: float32 or bfloat16.
        batch_size: images in one forward pass.
        workers: threads that read and resize; none: one per core.
        max_unreadable: share of the items that may be unreadable before the run stops.
    """

    engine: EngineName = EngineName.AUTO
    device: Device = Device.AUTO
    precision: Precision = Precision.FLOAT32
    batch_size: int = 64
    workers: int | None = None
    max_unreadable: float = 0.01

    def __post_init__(self) -> None:
        for name, kind in (("engine", EngineName), ("device", Device), ("precision", Precision)):
            given = getattr(self, name)
            if given not in list(kind):
                raise BadConfig(f"embed.{name}={given}: type one of {', '.join(kind)}")
            object.__setattr__(self, name, kind(given))
        if self.batch_size < 1 or (self.workers is not None and self.workers < 1):
            raise BadConfig(
                f"embed.batch_size={self.batch_size} embed.workers={self.workers}: type numbers of 1 or more"
            )
        if not 0 <= self.max_unreadable <= 1:
            raise BadConfig(f"embed.max_unreadable={self.max_unreadable}: type a share from 0 to 1")


@dataclass(frozen=True)
class Batch:
    start: int
    images: NDArray[np.uint8]  # [b, size, size, 3]; black where unreadable
    unreadable: dict[int, str]  # position in the batch -> reason


@dataclass(frozen=True)
class Reading:
    """Which items are read, and what is made of them.

    Attributes:
        items: what to read.
        name: which of an item's arrays, for instance `image`.
        preprocessing: what is made of it.
        settings: size of a batch, threads, limit of unreadable items.
    """

    items: Items
    name: str
    preprocessing: Preprocessing
    settings: Embed


@dataclass(frozen=True)
class Job:
    """What `embed` was asked for."""

    items: Items
    encoder: Encoder
    preprocessing: Preprocessing
    settings: Embed
    cache: Path
    progress: Callable[[int, int], None]

    @property
    def reading(self) -> Reading:
        return Reading(self.items, self.encoder.inputs[0], self.preprocessing, self.settings)


def check_unreadable(unreadable: Sequence[tuple[str, str]], reading: Reading) -> None:
    n, limit = len(reading.items), reading.settings.max_unreadable
    if len(unreadable) > limit * n:
        named = "; ".join(f"{key}: {reason}" for key, reason in unreadable[:3])
        raise TooManyUnreadable(
            f"at least {len(unreadable)} of {n} items cannot be read, more than embed.max_unreadable={limit:g} allows:"
            f" {named}{' …' if len(unreadable) > 3 else ''}; mend or remove them, or raise the limit",
            [(str(key), str(reason)) for key, reason in unreadable],
        )


def batches(reading: Reading, start: int) -> Iterator[Batch]:
    """Read and prepared in threads (Pillow, simplejpeg and numpy let go of the interpreter), in order, a few ahead."""
    n, size, workers = len(reading.items), reading.settings.batch_size, reading.settings.workers or cores()
    pool = ThreadPoolExecutor(workers, "read")
    try:
        todo = iter(range(start, n, size))
        ahead = deque(pool.submit(load, reading, first, min(first + size, n)) for first in islice(todo, workers + 1))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(pool.submit(load, reading, first, min(first + size, n)) for first in islice(todo, 1))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


def load(reading: Reading, start: int, stop: int) -> Batch:
    side = reading.preprocessing.size
    images, unreadable = np.zeros((stop - start, side, side, 3), np.uint8), dict[int, str]()
    for i in range(stop - start):
        try:
            images[i] = prepare(reading.items.read(start + i)[reading.name], reading.preprocessing)
        except CorruptInput as error:
            unreadable[i] = str(error)
    return Batch(start, images, unreadable)
