"""What a data set is: items that can be read one by one, and the protocol under which they are searched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.types import Embeddings, GroundTruth, Ragged, Segments

if TYPE_CHECKING:  # data sets of images do without the decoder of videos
    from retrieval_bench.media.clip import Clip

Arrays = Mapping[str, NDArray[np.uint8]]


def item_id(key: str) -> int:
    """A positive int64 derived from an item's source key alone, so that it survives re-ordering and sub-sampling.

    >>> item_id("a.jpg") == item_id("a.jpg") != item_id("b.jpg")
    True
    """
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "little") >> 1


def item_ids(keys: Sequence[str]) -> NDArray[np.int64]:
    """`item_id` of each key: [n]."""
    return np.fromiter((item_id(key) for key in keys), np.int64, len(keys))


class _Late:
    """A string that may be given as a function, which is called when the string is first asked for."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, items: object | None, owner: type) -> str:
        if items is None:
            raise AttributeError(self._name)  # tells `dataclass` that there is no default
        known = vars(items)
        if callable(known[self._name]):
            known[self._name] = known[self._name]()
        return str(known[self._name])

    def __set__(self, items: object, value: str | Callable[[], str]) -> None:
        vars(items)[self._name] = value


class Anew(NamedTuple):
    """An item read past every cache, and the seconds that this took: decoding and resizing, and optical flow."""

    arrays: Arrays
    decode_s: float
    flow_s: float


class VideoItems(ABC):
    """What is known of items that are videos, or windows of some, besides their arrays.

    Attributes:
        drawn: their frames lie in memory: reading decodes nothing.
    """

    drawn: bool = False

    @abstractmethod
    def seconds(self) -> NDArray[np.float64]:
        """How much video each item stands for: [n], whose sum is the length of all; NaN where that cannot be read."""

    @abstractmethod
    def anew(self, row: int, inputs: Collection[str]) -> Anew:
        """Read a row, but from no cache, and only what `inputs` name. Raises as `Items.read`."""

    def truncated(self) -> list[tuple[str, str]]:
        """(key, reason) of the items found to be cut off when they were read; what there is of them counts."""
        return []


@dataclass(frozen=True, eq=False)
class Items:
    """An ordered part of a data set: who its items are, and how to read one.

    Attributes:
        keys: source keys, unique in the data set (a path relative to the root, a character and its variant, …).
        read: row → named arrays (`{"image": uint8 [height, width, 3]}`). Safe to call from several threads.
            Raises CorruptInput for an item that cannot be read; its message is the reason alone, without the key.
        fingerprint: digest of the content of all items, in order; one changed byte changes it. Given as a function
            where it takes time: looking items up needs none.
        labels, groups: int64 [n] or none. label_names: label → name for people.
        video: what else is known of videos; none of images.
    """

    keys: Sequence[str]
    read: Callable[[int], Arrays]
    fingerprint: _Late = _Late()  # a descriptor: the field stays required
    labels: NDArray[np.int64] | None = None
    groups: NDArray[np.int64] | None = None
    label_names: Mapping[int, str] = field(default_factory=dict)
    video: VideoItems | None = None
    ids: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", item_ids(self.keys))

    def __len__(self) -> int:
        return len(self.keys)


class Dataset(ABC):
    """Items with a protocol. Constructors are cheap to fail: a wrong root or table is an error at once.

    Labels are numbers from 0 below 2^31, and one name space over all parts: equal labels are one class, whichever parts
    they stand in, so that parts can be joined.

    Attributes:
        name: the data set's name, as in `conf/data`.
        inputs: names of the arrays that an item yields (`image`, `rgb`, `flow`).
        image_size: side in pixels if all stored images are squares of this size, else none. An encoder whose input size
            is not set takes such images as they are.
        clip: how videos are read, of items and of files that a finished run is asked for; none where items are images.
        left_out: (key, reason) of what lies beside the items and is not one; hidden_files: how many names more were
            not even looked at, for they begin with a dot.
    """

    name: str
    inputs: tuple[str, ...] = ("image",)
    image_size: int | None = None
    clip: Clip | None = None
    left_out: Sequence[tuple[str, str]] = ()
    hidden_files: int = 0

    @abstractmethod
    def train(self) -> Items:
        """Items for fitting encoders and transforms; their classes or sources are disjoint from the test part's."""

    @abstractmethod
    def validation(self) -> Items:
        """Items for choosing between models; disjoint from `train` and from the test part as these are."""

    @abstractmethod
    def queries(self) -> Items:
        """Test items that are searched for. The same object as `gallery()` where each is searched among the others."""

    @abstractmethod
    def gallery(self) -> Items:
        """Test items that are searched."""

    @abstractmethod
    def truth(self) -> GroundTruth | None:
        """What is relevant for each query; none where the data says nothing about relevance."""

    @property
    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """What is stored with every number: split, crop, self rule, group rule, sizes. JSON values only."""


class Video(NamedTuple):
    """Name and length of a long video."""

    name: str
    seconds: float


@dataclass(frozen=True, eq=False)
class TrueMoments:
    """Which moment each query shows: part of a video, from start to end.

    Attributes:
        queries: int64 [m] ids of the queries, rising, unique; names: [m] for people.
        videos: int64 [m] id of the video. starts, ends: float64 [m] seconds in it.
    """

    queries: NDArray[np.int64]
    names: Sequence[str]
    videos: NDArray[np.int64]
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not (np.diff(self.queries) > 0).all():
            raise ValueError("ids of queries must rise")
        if not {len(self.names), len(self.videos), len(self.starts), len(self.ends)} <= {len(self.queries)}:
            raise ValueError("one name, video, start and end for each query")
        if not (self.ends > self.starts).all():
            raise ValueError("every moment must end after it starts")

    def __len__(self) -> int:
        return len(self.queries)


class MomentDataset(Dataset):
    """Long videos in which moments are found. Items are windows: of videos, of query clips.

    Attributes:
        window, stride: seconds, of the windows on both sides.
        rate: frames a second at which windows are read.
        least_overlap: share of a gallery window that must lie in the true moment for it to be relevant.
    """

    window: float
    stride: float
    rate: float
    least_overlap: float = 0.5

    @abstractmethod
    def gallery_segments(self) -> Segments:
        """Row of `gallery()` → (id of the video, start, end), in seconds of the video."""

    @abstractmethod
    def query_segments(self) -> Segments:
        """Row of `queries()` → (id of the query, start, end), in seconds of the query itself."""

    @abstractmethod
    def videos(self) -> Mapping[int, Video]:
        """Id → name and length of every video of the gallery."""

    @abstractmethod
    def moments(self) -> TrueMoments:
        """What each query shows. Every query has one moment."""

    def truth(self) -> GroundTruth:
        """For every window of a query, the gallery windows that lie in its moment by `least_overlap` or more."""
        gallery, segments, moments = self.gallery(), self.gallery_segments(), self.moments()
        shared = np.minimum(segments.ends, moments.ends[:, None]) - np.maximum(segments.starts, moments.starts[:, None])
        inside = (segments.items == moments.videos[:, None]) & (
            shared >= self.least_overlap * (segments.ends - segments.starts) - 1e-9
        )  # [queries, gallery windows]: small, for moments are few
        lists = [gallery.ids[row] for row in inside]
        rows = np.searchsorted(moments.queries, self.query_segments().items)
        lengths = np.array([len(lists[row]) for row in rows], np.int64)
        values = np.concatenate([lists[row] for row in rows]) if len(rows) else np.empty(0, np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return GroundTruth(self.queries().ids, gallery.ids, relevant=Ragged(values, offsets))


class VectorDataset(ABC):
    """A data set that enters at the embeddings (`encoder: none`)."""

    name: str

    @abstractmethod
    def train(self) -> Embeddings:
        """Vectors for fitting transforms; the gallery's where the data has no other."""

    @abstractmethod
    def queries(self) -> Embeddings:
        """Vectors that are searched for."""

    @abstractmethod
    def gallery(self) -> Embeddings:
        """Vectors that are searched."""

    @abstractmethod
    def truth(self) -> GroundTruth | None:
        """Relevance by labels, where the data has them."""

    @abstractmethod
    def neighbours(self) -> NDArray[np.int64] | None:
        """Gallery ids [q, m] of the exact neighbours that came with the data, nearest first; a check on our own."""

    @property
    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """As in `Dataset`."""
