"""What was measured → rows: `points`, `queries` and `neighbours` of one stage."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval_bench._clusters import cluster_columns
from retrieval_bench._moments import MomentSearch
from retrieval_bench._point_columns import identity, latency, served
from retrieval_bench.measure import IndexResult, PointResult
from retrieval_bench.metric.ann_recall import ann_recall
from retrieval_bench.metric.distance_ratio import distance_ratio
from retrieval_bench.moment_points import Moments, Windows, compared
from retrieval_bench.naming import OWNER
from retrieval_bench.nearest import rescore, tie_tolerance
from retrieval_bench.stats import Interval, bootstrap_columns, halves
from retrieval_bench.truth import exact_neighbours, ignored_counts, judge, relevant_counts, remove_ignored, restrict
from retrieval_bench.types import Embeddings, GroundTruth, Judgement, SearchResult, Similarity

Values = dict[str, NDArray[np.float64]]
# Bytes that the exact lists of one block of queries may take at full depth.
BLOCK_BYTES = 256 * 2**20
_KEY = ("stage", "index", "index_params", "build_seed", "effort", "k")  # of the tables


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage of a run, ready to be judged.

    Attributes:
        truth: relevance and what to ignore, or none. metrics: name → label metric, empty where there are no labels.
        encode_ms: milliseconds until one query is a vector: to encode it, of a video also to decode it and to compute
            its flow, of a moment query all its windows; NaN where nothing is encoded.
        moments: what queries and gallery are windows of, if they are; `truth` and `metrics` judge windows.
        video_hours: length of the gallery's videos; NaN of images.
    """

    name: str
    queries: Embeddings
    gallery: Embeddings
    truth: GroundTruth | None
    similarity: Similarity
    metrics: Mapping[str, partial[Any]]
    cuts: Sequence[int]
    seed: int
    encode_ms: float
    moments: MomentSearch | None = None
    video_hours: float = float("nan")

    @property
    def halved(self) -> NDArray[np.int64]:
        """Id by which each query falls into a half: its own; of a window that of the moment query: [q]."""
        return self.queries.ids if self.moments is None else self.moments.queries.items

    def moments_through(self, found: SearchResult) -> Moments | None:
        """Moments by these lists of all queries; none where queries are no windows."""
        if self.moments is None:
            return None
        windows = Windows(self.moments, self.queries, self.gallery, self.similarity)
        return windows.through(gallery_rows(self.gallery, found.ids), found.scores, self.cuts)


@dataclass(frozen=True, eq=False)
class Judged:
    """A point's metrics by query, and its lists without what is ignored.

    Attributes:
        moments: through these lists. moment_values: metrics, those by exact lists and the loss, by moment query.
    """

    values: Values
    found: SearchResult
    moments: Moments | None = None
    moment_values: Values = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Exact:
    """The exact search of one stage: neighbours [q, k], and the encoder's own label metrics.

    Attributes:
        scores: [q, k] in float64. tolerance: [q, k] within which a score ties with each.
        relevant: [q] R, or none without labels.
    """

    neighbours: SearchResult
    scores: NDArray[np.float64]
    tolerance: NDArray[np.float64]
    values: Values
    relevant: NDArray[np.int64] | None

    def cut(self, k: int) -> SearchResult:
        """The neighbours to depth k."""
        return SearchResult(self.neighbours.ids[:, :k], self.neighbours.scores[:, :k])


def label_values(judgement: Judgement, stage: Stage, k: int) -> Values:
    """Every label metric of the stage at every cut-off up to k: column name → [q]."""
    values: Values = {}
    for name, metric in stage.metrics.items():
        if "k" in inspect.signature(metric.func).parameters:
            values |= {f"{name}@{cut}": metric(judgement, k=cut) for cut in stage.cuts if cut <= k}
        else:
            values[name] = metric(judgement)
    return values


def gallery_rows(gallery: Embeddings, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the gallery that hold these ids; -1 stays -1."""
    order = np.argsort(gallery.ids)
    found = order[np.minimum(np.searchsorted(gallery.ids, ids, sorter=order), len(order) - 1)]
    return np.where(ids >= 0, found, -1)


def exact_search(stage: Stage, k: int, extra: int) -> Exact:
    """Exact neighbours to depth k, and the label metrics at the full depth that R asks for.

    Args:
        extra: how many ignored ids may stand in a list.
    """
    relevant = None if stage.truth is None or not stage.metrics else relevant_counts(stage.truth)
    full = full_depth(k, relevant)
    depth = min(full + extra, len(stage.gallery))
    parts = []
    for block, truth in query_blocks(stage, max(1, BLOCK_BYTES // (depth * 40))):
        found = exact_neighbours(block, stage.gallery, depth, stage.similarity, stage.seed)
        values = {} if relevant is None or truth is None else label_values(judge(found, truth, full), stage, full)
        parts.append((remove_ignored(found, truth, k), values))
    ids = np.concatenate([p.ids for p, _ in parts])
    neighbours = SearchResult(ids, np.concatenate([p.scores for p, _ in parts]))
    values = {name: np.concatenate([v[name] for _, v in parts]) for name in parts[0][1]}
    rows_of = gallery_rows(stage.gallery, ids)
    sides = stage.queries.vectors, stage.gallery.vectors
    scores = rescore(*sides, rows_of, stage.similarity)
    tolerance = tie_tolerance(*sides, rows_of, scores, stage.similarity)
    return Exact(neighbours, scores, tolerance, values, relevant)


def full_depth(k: int, relevant: NDArray[np.int64] | None) -> int:
    """The depth at which every label metric is defined: the deepest k, or the largest R."""
    return max(k, 0 if relevant is None else int(relevant.max(initial=0)))


def query_blocks(stage: Stage, rows: int) -> Iterator[tuple[Embeddings, GroundTruth | None]]:
    """The queries of a stage and their truth, so many at a time; where one block holds all, the very same objects."""
    queries = len(stage.queries)
    if rows >= queries:
        yield stage.queries, stage.truth
        return
    for start in range(0, queries, rows):
        block = stage.queries.take(np.arange(start, min(start + rows, queries)))
        yield block, None if stage.truth is None else restrict(stage.truth, block.ids, stage.truth.gallery_ids)


def stage_rows(
    stage: Stage, exact: Exact, results: Sequence[IndexResult]
) -> tuple[list[dict[str, Any]], dict[str, pd.DataFrame]]:
    """Rows of `points`, and the tables `queries`, `neighbours` and `moments`, of every measured point of a stage."""
    floor = {p.k: latency(p, slice(None), stage.seed) for r in results if r.build["index"] == "null" for p in r.points}
    floors = {k: found["latency_p50_ms"].value for k, found in floor.items() if found}
    points: list[dict[str, Any]] = []
    tables: dict[str, list[pd.DataFrame]] = {"queries": [], "neighbours": [], "moments": []}
    right: dict[int, Moments | None] = {}  # by exact lists of each depth
    for result in results:
        if result.build["status"] != "ok":
            points.append(identity(stage, result) | {"half": "all", "status": "failed", "error": result.build["error"]})
        for point in result.points:
            floor, k = result.build["index"] == "null", point.k
            if k not in right and not floor:
                right[k] = stage.moments_through(exact.cut(k))
            judged = _judged(stage, exact, point, floor)
            judged = judged if floor else _with_moments(stage, judged, right[k])
            key = identity(stage, result) | {"effort": point.effort, "k": k}
            points += _rows(stage, key | {"latency_floor_ms": floors.get(k)}, point, judged)
            if not floor:
                for name, found in _tables(stage, point, judged):
                    tables[name].append(found.assign(**{part: key[part] for part in _KEY}))
    return points, {name: _joined(parts) for name, parts in tables.items()}


def _with_moments(stage: Stage, judged: Judged, right: Moments | None) -> Judged:
    moments = stage.moments_through(judged.found)
    if moments is None or right is None:
        return judged
    return replace(judged, moments=moments, moment_values=compared(moments, right))


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _judged(stage: Stage, exact: Exact, point: PointResult, floor: bool) -> Judged:
    """Per-query values of a point, and its lists without what is ignored. The floor's answers mean nothing."""
    found = remove_ignored(point.result, stage.truth, point.k)
    if floor:
        return Judged({}, found)
    rows = gallery_rows(stage.gallery, found.ids)
    scores = rescore(stage.queries.vectors, stage.gallery.vectors, rows, stage.similarity)
    k = point.k
    near, slack = (exact.neighbours.ids[:, :k], exact.scores[:, :k]), exact.tolerance[:, k - 1]
    values: Values = {
        "ann_recall": ann_recall(near[0], found.ids, near[1], scores, slack, k),
        "distance_ratio": distance_ratio(near[1], scores, stage.similarity, slack, k),
    }
    if exact.relevant is not None and stage.truth is not None:
        through = label_values(judge(point.result, stage.truth, k), stage, k)
        for name, column in through.items():
            values[name] = column
            values[f"exact_{name}"] = exact.values[name]
            values[f"ann_loss_{name}"] = exact.values[name] - column
        # These need the whole depth R: a row that is too shallow for one judged query has none, only the exact ones.
        judged = exact.relevant > 0
        for name in [n for n in through if "@" not in n and np.isnan(through[n][judged]).any()]:
            values[name] = values[f"ann_loss_{name}"] = np.full(len(stage.queries), np.nan)
    return Judged(values, found)


def _rows(stage: Stage, key: dict[str, Any], point: PointResult, judged: Judged) -> Iterator[dict[str, Any]]:
    """One row for all queries, one for the half that efforts are tuned on, one for the half they are reported on."""
    tune = halves(stage.halved, stage.seed)
    timed_tune = halves(point.timed_ids, stage.seed)
    everything = np.ones(len(tune), bool), np.ones(len(timed_tune), bool)
    parts = {"all": everything, "tune": (tune, timed_tune), "report": (~tune, ~timed_tune)}
    candidates, empty = point.result.candidates, judged.found.ids[:, 0] < 0
    for half, (mask, timed) in parts.items():
        if not mask.any() or not timed.any():
            continue
        intervals = _intervals(stage, judged, mask)
        intervals |= latency(point, timed, stage.seed)
        n_timed = 0 if point.timing is None else int(timed.sum())
        row = key | {"half": half, "status": "ok", "error": None, "n_timed": n_timed}
        for name, found in intervals.items():
            row |= {name: found.value, f"{name}_lo": found.lo, f"{name}_hi": found.hi}
        batch = None if point.batch_seconds is None else len(stage.queries) / point.batch_seconds
        yield row | {
            "qps_batch": batch,
            "batch_threads": point.batch_threads,
            **served(point, stage.seed),
            "candidate_fraction": None if candidates is None else float(candidates[mask].mean()) / len(stage.gallery),
            "empty_rate": float(empty[mask].mean()),
        }


def _intervals(stage: Stage, judged: Judged, mask: NDArray[np.bool_]) -> dict[str, Interval]:
    """Means of a half's queries; of windows with intervals over moment queries, and means of these."""
    values = {name: v[mask] for name, v in judged.values.items()}
    if stage.moments is None:
        return bootstrap_columns(values, stage.seed)
    asked = np.isin(stage.moments.ids, stage.halved[mask])
    moments = {name: v[asked] for name, v in judged.moment_values.items()}
    return bootstrap_columns(moments, stage.seed) | cluster_columns(values, stage.halved[mask], stage.seed)


def _tables(stage: Stage, point: PointResult, judged: Judged) -> Iterator[tuple[str, pd.DataFrame]]:
    """Of `queries`: pass -1 holds every query's metrics; passes from 0 the times of the queries that were timed.

    Where queries are windows, OWNER names the moment query that each belongs to.
    """
    owner = {} if judged.moments is None else {OWNER: pd.array(stage.halved, "Int64")}
    if judged.moments is not None:
        ids = judged.moments.ids
        yield "moments", judged.moments.table()
        yield (
            "queries",
            pd.DataFrame({"query_id": ids, OWNER: pd.array(ids, "Int64"), **judged.moment_values, "pass": -1}),
        )
    yield "queries", pd.DataFrame({"query_id": stage.queries.ids, **owner, **judged.values, "pass": -1})
    if point.timing is not None:
        passes, timed = point.timing.nanoseconds.shape
        times = {"query_id": np.tile(point.timed_ids, passes), "ns": point.timing.nanoseconds.ravel()}
        yield "queries", pd.DataFrame(times | {"pass": np.repeat(np.arange(passes), timed)})
    found = judged.found
    lists = {"query_id": stage.queries.ids, "ids": list(found.ids), "scores": list(found.scores)}
    yield "neighbours", pd.DataFrame(lists)


def most_ignored(truth: GroundTruth | None) -> int:
    """How many ids a list may hold that must be removed: what has to be asked for on top of k."""
    return 0 if truth is None else int(ignored_counts(truth).max(initial=0))
