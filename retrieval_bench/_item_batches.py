"""From items to batches of prepared images, or frames: read and resized in threads, a few batches ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data.base import Items
from retrieval_bench.encoder.base import Device, EngineName, Precision, Preprocessing, prepare
from retrieval_bench.errors import BadConfig, CorruptInput, TooManyUnreadable
from retrieval_bench.machine import cores

FRAMES = 8  # of a clip, as a first guess at the room that is needed


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
    """Some items in a row.

    Attributes:
        start: the first item's row. count: items.
        images: uint8 [n, size, size, c]: an image of each readable item, or all frames of its clip.
        frames: how many images each item has: 0 where it is unreadable.
        unreadable: position in the batch -> reason.
    """

    start: int
    images: NDArray[np.uint8]
    frames: list[int]
    unreadable: dict[int, str]

    @property
    def count(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class Reading:
    """Which items are read, and what is made of them.

    Attributes:
        items: what to read.
        name: which of an item's arrays, for instance `image`.
        preprocessing: what is made of it.
        settings: size of a batch, threads, limit of unreadable items.
        clips: the array has frames.
    """

    items: Items
    name: str
    preprocessing: Preprocessing
    settings: Embed
    clips: bool = False

    @property
    def per_batch(self) -> int:
        """Items in a batch; of clips, which have some FRAMES or more, fewer."""
        return max(1, self.settings.batch_size // FRAMES) if self.clips else self.settings.batch_size


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
    n, size, workers = len(reading.items), reading.per_batch, reading.settings.workers or cores()
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
    images, frames, unreadable = list[NDArray[np.uint8]](), [0] * (stop - start), dict[int, str]()
    for i in range(stop - start):
        try:
            found = read_one(reading, start + i)
        except CorruptInput as error:
            unreadable[i] = str(error)
        else:
            images += found
            frames[i] = len(found)
    how = reading.preprocessing
    empty = np.empty((0, how.size, how.size, how.channels), np.uint8)
    return Batch(start, np.stack(images) if images else empty, frames, unreadable)


def read_one(reading: Reading, row: int) -> list[NDArray[np.uint8]]:
    """The prepared image of an item, or the frames of its clip, each [size, size, c]. Raises as `raw`."""
    return [prepare(image, reading.preprocessing) for image in raw(reading, row)]


def raw(reading: Reading, row: int) -> NDArray[np.uint8]:
    """The image of an item [1, height, width, c], or the frames of its clip [t, height, width, c].

    Raises:
        CorruptInput: it cannot be read. BadConfig: other channels than the encoder takes.
    """
    array = reading.items.read(row)[reading.name]
    if array.shape[-1] != reading.preprocessing.channels:
        raise BadConfig(
            f"the data gives {reading.name} of {array.shape[-1]} channels, the encoder takes"
            f" {reading.preprocessing.channels}; type encoder.….channels={array.shape[-1]}, or other pairs of flow"
        )
    return array if reading.clips else array[None]
