"""Moments found through lists of windows, and every moment metric of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval_bench._moments import MomentSearch
from retrieval_bench.intervals import MomentResult
from retrieval_bench.moment.base import QueryWindows
from retrieval_bench.moment_truth import judge_moments, moment_values
from retrieval_bench.types import Embeddings, Similarity

Values = dict[str, NDArray[np.float64]]
# What a reader looks at first; the other columns follow.
HEADLINE = ("moment_hit_rate_iou0.5@1", "moment_hit_rate_iou0.7@1", "moment_average_precision", "video_hit_rate@1")


@dataclass(frozen=True, eq=False)
class Moments:
    """Answers to all moment queries [m], and what they are worth.

    Attributes:
        values: metric → [m]; NaN for queries without a true moment (of that length).
    """

    ids: NDArray[np.int64]
    result: MomentResult
    values: Values

    def table(self) -> pd.DataFrame:
        """One line a query: its answers as lists, best first, without those that it lacks."""
        found, result = (self.result.videos >= 0).sum(axis=1).tolist(), self.result
        columns = {
            name: [row[:n] for row, n in zip(getattr(result, name), found, strict=True)]
            for name in ("videos", "starts", "ends", "scores")
        }
        return pd.DataFrame({"query_id": self.ids, **columns})


@dataclass(frozen=True, eq=False)
class Windows:
    """The two sides of a stage, whose rows are windows."""

    search: MomentSearch
    queries: Embeddings
    gallery: Embeddings
    similarity: Similarity

    def through(self, rows: NDArray[np.int64], scores: NDArray[np.float32], cuts: Sequence[int]) -> Moments:
        """Moments by the lists of all query windows.

        Args:
            rows: [q, k] gallery rows, -1 where there is no answer. scores: [q, k]. cuts: cut-offs of the metrics.
        """
        search, finder = self.search, self.search.finder
        gallery = search.over(self.gallery, self.similarity)
        found = []
        for begin, end in zip(search.first[:-1].tolist(), search.first[1:].tolist(), strict=True):
            part = slice(begin, end)
            query = QueryWindows.of(search.queries, part, self.queries.vectors[part] if finder.rerank else None)
            found.append(finder(rows[part], scores[part], query, gallery))
        result = MomentResult.of(found, finder.moments)
        values = moment_values(judge_moments(result, search.truth), cuts)
        first = {name: values[name] for name in HEADLINE if name in values}
        return Moments(search.ids, result, first | values)


def compared(through: Moments, exact: Moments) -> Values:
    """Metrics through an index, by exact lists of the same depth, and what the index lost."""
    values: Values = {}
    for name, column in through.values.items():
        values |= {name: column, f"exact_{name}": exact.values[name], f"ann_loss_{name}": exact.values[name] - column}
    return values


def costs(search: MomentSearch | None, gallery: Embeddings) -> dict[str, Any]:
    """Columns of every row: how many moment queries, and bytes of the vectors that the re-rank keeps beside any index.

    Blank where nothing is asked for moments or nothing is re-ranked.
    """
    if search is None:
        return {}
    kept = len(gallery) * gallery.dim * gallery.vectors.dtype.itemsize
    return {"n_moments": len(search), "rerank_bytes": kept if search.finder.rerank else None}
