"""What moment search works on: windows of the gallery, windows of a query, and the hits between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.intervals import RankedMoments
from retrieval_bench.types import Segments, Similarity

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class QueryWindows:
    """The windows of one query in time order.

    Args:
        starts, ends: [w] seconds from the query's beginning. vectors: [w, dim], for the re-rank only.

    Raises:
        ValueError: there is no window, the arrays differ in length, or a window has no length.
    """

    def __init__(self, starts: Floats, ends: Floats, vectors: NDArray[np.generic] | None = None) -> None:
        if not len(starts) or len(starts) != len(ends) or (vectors is not None and len(vectors) != len(starts)):
            raise ValueError("a query needs one window at least, and one start, end and vector for each")
        if not (ends > starts).all() or (np.diff(starts) < 0).any():
            raise ValueError("windows of a query must have a length and stand in time order")
        self.starts, self.ends, self.vectors = starts, ends, vectors
        self.centres = (starts + ends) / 2
        self.middle = float(starts[0] + ends[-1]) / 2
        self.duration = float(ends[-1] - starts[0])

    @classmethod
    def of(cls, segments: Segments, rows: slice, vectors: NDArray[np.generic] | None) -> QueryWindows:
        """The query that has these rows of `segments`; `vectors` are its own."""
        return cls(segments.starts[rows], segments.ends[rows], vectors)

    def __len__(self) -> int:
        return len(self.starts)


class GalleryWindows:
    """The windows of all videos, prepared once for all queries.

    Args:
        segments: row → (video, start, end), the rows that an index answers with.
        vectors: [n, dim] of the same rows in any numeric dtype (often a memory map), or none: no re-rank then.
        similarity: how vectors are compared.

    Attributes:
        ids: [v] video ids. of: [n] place in `ids` of each row's video. centres: [n] seconds.
        first: [v + 1] rows where the videos begin. begins, finishes: [v] seconds, of a video's first and last window.

    Raises:
        ValueError: rows and vectors differ in number, or a video's windows do not end in the order in which they start.
    """

    def __init__(self, segments: Segments, vectors: NDArray[np.generic] | None, similarity: Similarity) -> None:
        if vectors is not None and len(vectors) != len(segments.items):
            raise ValueError(f"{len(segments.items)} segments but {len(vectors)} vectors")
        self.segments, self.vectors, self.similarity = segments, vectors, similarity
        self.ids, self.of = np.unique(segments.items, return_inverse=True)
        self.first = np.searchsorted(self.of, np.arange(len(self.ids) + 1))
        if ((np.diff(segments.ends) < 0) & (np.diff(self.of) == 0)).any():
            raise ValueError("windows of a video must end in the order in which they start")
        self.begins, self.finishes = segments.starts[self.first[:-1]], segments.ends[self.first[1:] - 1]
        self.centres = (segments.starts + segments.ends) / 2
        # All videos on one axis, one behind the other, so that one binary search finds a time in a video.
        lengths = self.finishes - self.begins
        self._shift = np.cumsum(lengths) - lengths - self.begins
        self._axis = self.centres + self._shift[self.of]

    def nearest(self, videos: Ints, seconds: Floats) -> Ints:
        """The row of a video whose window has its centre nearest to a time; the earlier of two. Shapes broadcast."""
        time = np.clip(seconds, self.begins[videos], self.finishes[videos]) + self._shift[videos]
        after = np.clip(np.searchsorted(self._axis, time), self.first[videos], self.first[videos + 1] - 1)
        before = np.maximum(after - 1, self.first[videos])
        return np.asarray(np.where(time - self._axis[before] <= self._axis[after] - time, before, after))

    def similarities(self, query: NDArray[np.generic], rows: Ints) -> Floats:
        """Similarity of query window i with row rows[j, i]: [w, dim], [m, w] → [m, w]; cosine normalises here.

        Raises:
            ValueError: this gallery was made without vectors.
        """
        if self.vectors is None:
            raise ValueError("the gallery was made without vectors: nothing can be compared")
        found = np.asarray(self.vectors[rows.ravel()], np.float32).reshape(*rows.shape, -1)
        asked = np.asarray(query, np.float32)
        if self.similarity is Similarity.EUCLIDEAN:
            found -= asked
            return np.asarray(-np.sqrt(np.einsum("mwd,mwd->mw", found, found)), np.float64)
        scores = np.einsum("mwd,wd->mw", found, asked)
        if self.similarity is Similarity.COSINE:
            squares = np.einsum("mwd,mwd->mw", found, found) * np.einsum("wd,wd->w", asked, asked)
            scores /= np.sqrt(squares)
        return np.asarray(scores, np.float64)


@dataclass(frozen=True, eq=False)
class Hits:
    """Answers of the index to all windows of one query, one entry a hit, window by window.

    Attributes:
        window: [h] the query window. row: [h] the segment. weight: [h] > 0, how much it counts.
        floors: [w] the lowest score in each window's list.
    """

    window: Ints
    row: Ints
    weight: Floats
    floors: Floats


class Lines(NamedTuple):
    """Where a query may lie: query second q is second middle + speed · (q − the query's middle) of the video.

    Attributes:
        video: [m] places in `GalleryWindows.ids`. middle: [m] seconds. speed: [m]. votes: [m], best first.
    """

    video: Ints
    middle: Floats
    speed: Floats
    votes: Floats

    def at(self, query: QueryWindows, seconds: Floats) -> Floats:
        """Seconds of the video at these seconds of the query [t]: [m, t]."""
        return np.asarray(self.middle[:, None] + self.speed[:, None] * (seconds - query.middle))


class Finder(Protocol):
    """How moments are found: what the index answered to all windows of one query → ranked moments."""

    @property
    def window(self) -> float:
        """Seconds of a window, of the gallery and of a query."""

    @property
    def stride(self) -> float:
        """Seconds from one window to the next."""

    @property
    def moments(self) -> int:
        """Moments answered at most."""

    @property
    def rerank(self) -> bool:
        """Moments are scored by the vectors themselves: query and gallery windows need theirs."""

    def __call__(
        self, rows: Ints, scores: NDArray[np.float32], query: QueryWindows, gallery: GalleryWindows
    ) -> RankedMoments:
        """Rows of gallery windows and scores [w, k], -1 where there is none → moments, best first."""
