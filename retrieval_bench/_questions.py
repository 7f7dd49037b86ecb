"""Moment queries in a worker: all windows of one through the index, then voting and re-rank."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._messages import MomentParts
from retrieval_bench.intervals import RankedMoments
from retrieval_bench.moment.base import Finder, GalleryWindows, QueryWindows
from retrieval_bench.search.base import Index
from retrieval_bench.types import Similarity


class Question(NamedTuple):
    """One moment query: its windows, whose vectors are prepared as the index gets them."""

    vectors: NDArray[np.float32]
    windows: QueryWindows


@dataclass(frozen=True, eq=False)
class Questions:
    """Asks an index for moments. Everything that all queries share is made before any is timed.

    Attributes:
        rows: gallery row of each row of the index; the last, -1, stands for no answer.
    """

    finder: Finder
    gallery: GalleryWindows
    rows: NDArray[np.int64]
    parts: MomentParts

    @classmethod
    def of(cls, parts: MomentParts, similarity: Similarity) -> Questions:
        """The gallery's vectors stay in their file, which is mapped."""
        vectors = parts.vectors.open() if parts.finder.rerank else None
        gallery = GalleryWindows(parts.gallery, vectors, similarity)
        return cls(parts.finder, gallery, np.append(parts.order, -1), parts)

    def part(self, number: int) -> slice:
        """Query rows of a moment query."""
        return slice(*self.parts.first[number : number + 2])

    def question(self, number: int, vectors: NDArray[np.float32]) -> Question:
        """A moment query of these prepared windows [w, dim]."""
        return Question(vectors, QueryWindows.of(self.parts.queries, self.part(number), vectors))

    def asking(self, index: Index) -> Any:
        """(question, k, effort) → its moments: what is timed."""
        return partial(self._answer, index.search)

    def _answer(self, search: Any, question: Question, k: int, effort: int | None) -> RankedMoments:
        rows, scores = search(question.vectors, k, effort)
        return self.finder(self.rows[rows], scores, question.windows, self.gallery)
