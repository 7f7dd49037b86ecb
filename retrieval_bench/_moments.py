"""Moments in a measurement: how they are found, by which windows, and which are right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._lists import places
from retrieval_bench.data.base import MomentDataset
from retrieval_bench.hashing import json_digest
from retrieval_bench.intervals import MomentTruth
from retrieval_bench.moment.base import Finder, GalleryWindows
from retrieval_bench.types import Embeddings, Ragged, Segments, Similarity

Ints = NDArray[np.int64]


def first_rows(segments: Segments) -> Ints:
    """Where each item's rows begin, and where the last ends: [items + 1]. Rows are sorted by item."""
    changes = np.flatnonzero(np.diff(segments.items)) + 1
    return np.concatenate([[0], changes, [len(segments.items)]]).astype(np.int64)


@dataclass(frozen=True, eq=False)
class MomentSearch:
    """What a stage's queries and gallery are windows of.

    Attributes:
        queries: row of the stage's queries → (moment query, start, end). gallery: row of its gallery → (video, …).
        truth: of the moment queries, in the order of their rows; without a true moment that no gallery window meets.
        settings: of `finder`, JSON values.
    """

    finder: Finder
    queries: Segments
    gallery: Segments
    truth: MomentTruth
    settings: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def ids(self) -> Ints:
        """Of the moment queries: [m]."""
        return self.truth.query_ids

    @cached_property
    def first(self) -> Ints:
        """Query rows where the moment queries begin: [m + 1]."""
        return first_rows(self.queries)

    @property
    def fingerprint(self) -> str:
        """Digest of what decides answers besides vectors and lists."""
        sides = [[part.tolist() for part in (s.items, s.starts, s.ends)] for s in (self.queries, self.gallery)]
        return json_digest([dict(self.settings), sides], default=str)

    def over(self, gallery: Embeddings, similarity: Similarity) -> GalleryWindows:
        """The gallery's windows, with their vectors where the finder compares them.

        Raises:
            ValueError: windows of a video do not end in the order in which they start.
        """
        return GalleryWindows(self.gallery, gallery.vectors if self.finder.rerank else None, similarity)


def moment_search(
    data: MomentDataset, finder: Finder, settings: Mapping[str, Any], queries: Embeddings, gallery: Embeddings
) -> MomentSearch:
    """What is searched, of what could be read: `queries` and `gallery` are the windows that have vectors.

    A query without any window is left out. A true moment that no window of the gallery meets cannot be found: its query
    has nothing relevant.

    Raises:
        ValueError: a window, or a query, that the data set does not know; or windows of a video that do not end in the
        order in which they start.
    """
    asked = _kept(data.query_segments(), data.queries().ids, queries.ids)
    held = _kept(data.gallery_segments(), data.gallery().ids, gallery.ids)
    moments = data.moments()
    names = asked.items[first_rows(asked)[:-1]]
    at, known = places(names, moments.queries)
    if not known.all():
        raise ValueError(f"queries without a moment: {names[~known][:5].tolist()}")
    videos, starts, ends = moments.videos[at], moments.starts[at], moments.ends[at]
    bounds = [np.searchsorted(held.items, videos, side) for side in ("left", "right")]
    met = np.array(
        [
            bool(((held.starts[a:b] < end) & (held.ends[a:b] > start)).any())
            for a, b, start, end in zip(*bounds, starts, ends, strict=True)
        ],
        np.bool_,
    )
    offsets = np.concatenate([[0], np.cumsum(met)]).astype(np.int64)
    truth = MomentTruth(names, np.unique(held.items), Ragged(videos[met], offsets), starts[met], ends[met])
    GalleryWindows(held, None, Similarity.COSINE)  # refuses windows that do not end in order, before they are measured
    return MomentSearch(finder, asked, held, truth, settings)


def _kept(segments: Segments, ids: Ints, kept: Ints) -> Segments:
    """Segments of the items `kept`, which stand in the order of `ids`."""
    at, known = places(kept, ids)
    if not known.all():
        raise ValueError(f"windows that the data set does not know: {kept[~known][:5].tolist()}")
    return Segments(segments.items[at], segments.starts[at], segments.ends[at])
