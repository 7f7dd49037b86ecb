"""What the harness and a worker process say to each other: requests, replies, and arrays that stay in their files."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.moment.base import Finder
from retrieval_bench.types import Segments, Similarity


@dataclass(frozen=True)
class ArrayFile:
    """An array inside a file: a worker maps it instead of getting a copy."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # bytes; rows of fvecs files are not contiguous
    offset: int  # bytes

    @classmethod
    def of(cls, array: NDArray[np.generic]) -> ArrayFile | None:
        """Where an array lies, or none if it is not a read-through view of a mapped file."""
        root: NDArray[np.generic] = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        if not (isinstance(root, np.memmap) and isinstance(root.base, mmap.mmap)) or root.filename is None:
            return None
        if root.mode == "c" or min(array.strides) < 0:  # a private copy may differ from its file
            return None
        # A slice of a memmap repeats the offset of the whole map, so the addresses decide.
        offset = int(root.offset) + array.ctypes.data - root.ctypes.data
        return cls(str(root.filename), array.dtype.str, array.shape, array.strides, offset)

    def open(self) -> NDArray[np.generic]:
        """Map the array, read-only."""
        raw = np.memmap(self.path, np.uint8, "r")
        return np.ndarray(self.shape, np.dtype(self.dtype), raw, self.offset, self.strides)


@dataclass(frozen=True, eq=False)
class MomentParts:
    """What it takes to answer moment queries: then these are what is timed, all windows of one at once.

    Attributes:
        vectors: the gallery. order: gallery row of each row of the index.
        queries, gallery: row → (item, start, end). first: query rows where the moment queries begin: [m + 1].
    """

    finder: Finder
    vectors: ArrayFile
    order: NDArray[np.int64]
    queries: Segments
    gallery: Segments
    first: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Start:
    """Construct the backend for a gallery of this dtype; nothing is loaded yet. Reply: None."""

    factory: partial[Any]
    queries: ArrayFile
    similarity: Similarity
    moments: MomentParts | None = None
    dtype: str = "<f4"


@dataclass(frozen=True, eq=False)
class Build:
    """Build over `gallery[order]` and save into the existing, empty folder. Reply: `Built`."""

    gallery: ArrayFile
    order: NDArray[np.int64]
    seed: int
    threads: int
    folder: str
    blocks: Mapping[str, tuple[int, int]] | None = None  # of the vectors' columns


@dataclass(frozen=True)
class Built:
    """Seconds of `Index.build` alone; bytes of the saved folder; peak resident bytes above those after the imports.

    Both are none where the index lives in a server. `functional` as in `Index`.
    """

    seconds: float
    index_bytes: int | None
    peak_rss_bytes: int | None
    functional: bool = False


@dataclass(frozen=True)
class Load:
    """Load what `Build` saved. Reply: None."""

    folder: str


@dataclass(frozen=True)
class Search:
    """Search queries start … stop in one call. Reply: `Found`."""

    start: int
    stop: int
    k: int
    effort: int | None
    threads: int


@dataclass(frozen=True, eq=False)
class Found:
    """Rows and scores as the backend returned them, vectors scored a query (or none), seconds of the call.

    The peak of resident bytes during the call is above those after the imports; the queries themselves do not count.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    candidates: NDArray[np.int64] | None
    seconds: float
    peak_rss_bytes: int


@dataclass(frozen=True, eq=False)
class TimePass:
    """Time single queries in this order until `limit_s` is spent, but 20 of them at least. Reply: int64 ns [≤ rows].

    `rows` are query rows; of a worker that answers moment queries, their numbers.
    """

    rows: NDArray[np.int64]
    k: int
    effort: int | None
    limit_s: float


@dataclass(frozen=True, eq=False)
class Serve:
    """Let so many clients (threads) ask single queries at once, each its next when it has its answer. Reply: `Served`.

    Every client goes round `rows` (as in `TimePass`) from a place of its own, for `seconds`.
    """

    rows: NDArray[np.int64]
    k: int
    effort: int | None
    clients: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Served:
    """Nanoseconds of every answered query, the client of each, seconds from the first question to the last answer."""

    nanoseconds: NDArray[np.int64]
    client: NDArray[np.int64]
    seconds: float


@dataclass(frozen=True, eq=False)
class Collide:
    """Say of pairs, queries [q] and index rows [q, m], whether they are candidates. Reply: `Collided` or none."""

    queries: NDArray[np.int64]
    rows: NDArray[np.int64]
    effort: int | None


@dataclass(frozen=True, eq=False)
class Collided:
    """Of each pair [q, m]: similarity in the family's terms, predicted probability, whether it is a candidate."""

    similarity: NDArray[np.float64]
    predicted: NDArray[np.float64]
    candidate: NDArray[np.bool_]


@dataclass(frozen=True)
class Close:
    """Close the index; nothing is asked afterwards. Reply: None."""


Request = Start | Build | Load | Search | TimePass | Serve | Collide | Close


@dataclass(frozen=True)
class Failure:
    """An exception inside the worker."""

    kind: str  # name of its class
    message: str
    ours: bool  # the message already tells a user what to do
    disk_full: bool
