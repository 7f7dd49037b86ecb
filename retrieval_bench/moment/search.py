"""Moment search: what an index answers to the windows of a query → ranked (video, start, end, score)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig
from retrieval_bench.intervals import RankedMoments
from retrieval_bench.moment.base import GalleryWindows, Hits, Lines, QueryWindows
from retrieval_bench.moment.candidates import candidates
from retrieval_bench.moment.fitting import Pairs, fit, support
from retrieval_bench.moment.hits import weighted
from retrieval_bench.moment.merging import merged
from retrieval_bench.moment.reranking import aligned
from retrieval_bench.moment.suppression import suppressed
from retrieval_bench.moment.trimming import trimmed
from retrieval_bench.moment.voting import peaks, speeds, vote


@dataclass(frozen=True)
class Moments:
    """How moments are found: hits → candidate videos → voting → line → re-rank → suppression.

    Args:
        window, stride: seconds, of the gallery's windows and of a query's.
        candidates: videos that may vote. moments: peaks that are looked at, and moments answered at most.
        fastest: a clip may have been made slower or faster by so much (1 = not at all).
        rerank: score by the vectors themselves, mean over the query's windows; else by votes a window.
        suppress: of two moments with an IoU of so much or more the better stays; none = both stay.

    Raises:
        BadConfig: a value is out of its range.
    """

    window: float = 2.0
    stride: float = 1.0
    candidates: int = 20
    moments: int = 20
    fastest: float = 1.25
    rerank: bool = True
    suppress: float | None = 0.5

    def __post_init__(self) -> None:
        for name, least in (("window", 0.0), ("stride", 0.0), ("candidates", 0), ("moments", 0)):
            if not least < getattr(self, name) < np.inf:
                raise BadConfig(f"moment.{name}={getattr(self, name)}: more than 0 is needed")
        if not 1 <= self.fastest <= 4:
            raise BadConfig(f"moment.fastest={self.fastest}: 1 … 4 is needed, e.g. 1.25, or 1 for clips of equal speed")
        if self.suppress is not None and not 0 < self.suppress <= 1:
            raise BadConfig(f"moment.suppress={self.suppress}: above 0 and at most 1 is needed, or null for none")

    @property
    def tolerance(self) -> float:
        """Seconds that a hit may lie off its line: half a window (less overlap says little) and half a stride."""
        return (self.window + self.stride) / 2

    def __call__(
        self, rows: NDArray[np.int64], scores: NDArray[np.float32], query: QueryWindows, gallery: GalleryWindows
    ) -> RankedMoments:
        """Ranked moments of one query; of a query of one window as `merged`, with its scores.

        Args:
            rows: [w, k] segment rows (of the gallery) that the index gave for each window, -1 where it had none.
            scores: [w, k], larger is closer.

        Raises:
            ValueError: there is not one list for each window, or `rerank` without vectors.
        """
        if len(rows) != len(query):
            raise ValueError(f"{len(rows)} lists for {len(query)} query windows; give one each")
        hits = weighted(rows, scores)
        if len(query) == 1:
            return merged(hits, scores[rows >= 0], gallery).take(slice(self.moments))
        if not len(hits.row):
            return RankedMoments(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.float32))
        lines, supports = self._lines(hits, query, gallery)
        return self._ranked(lines, supports, hits.floors, query, gallery)

    def _lines(self, hits: Hits, query: QueryWindows, gallery: GalleryWindows) -> tuple[Lines, NDArray[np.float64]]:
        """The best lines, and the support of each query window for each: [m, w]."""
        videos = gallery.of[hits.row]
        wanted = np.zeros(len(gallery.ids), np.bool_)
        wanted[candidates(hits, videos, self.candidates)[0]] = True
        kept = wanted[videos]
        videos, window, weights = videos[kept], hits.window[kept], hits.weight[kept]
        times = query.centres[window] - query.middle, gallery.centres[hits.row[kept]]
        tried = speeds(self.fastest, query.duration, self.stride)
        cells = vote(videos, times, weights, tried, self.stride)
        coarse = peaks(cells, query.duration / 2, self.moments)
        pairs = Pairs.of(coarse, videos, window, weights, times)
        lines = fit(coarse, pairs, self.tolerance, self.fastest)
        return lines, support(lines, pairs, self.tolerance, len(query))

    def _ranked(
        self,
        lines: Lines,
        supports: NDArray[np.float64],
        floors: NDArray[np.float64],
        query: QueryWindows,
        gallery: GalleryWindows,
    ) -> RankedMoments:
        supported, scores = supports > 0, supports.mean(axis=1)
        if self.rerank:
            exact, also = aligned(lines, query, gallery, floors, self.tolerance)
            supported, scores = supported | also, exact.mean(axis=1)
        starts, ends = trimmed(lines, supported, query, gallery)
        there = np.flatnonzero(ends > starts)
        found = RankedMoments(
            gallery.ids[lines.video[there]], starts[there], ends[there], scores[there].astype(np.float32)
        )
        if self.suppress is None:
            return found.take(np.lexsort((found.ends, found.starts, found.videos, -found.scores)))
        scores = found.scores.astype(np.float64)
        return found.take(suppressed(found.videos, found.starts, found.ends, scores, self.suppress))
