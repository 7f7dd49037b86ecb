"""What was measured → rows: `points`, `queries` and `neighbours` of one stage."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval_bench.measure import IndexResult, PointResult
from retrieval_bench.metric.ann_recall import ann_recall
from retrieval_bench.metric.distance_ratio import distance_ratio
from retrieval_bench.nearest import rescore, tie_tolerance
from retrieval_bench.seeds import seed_interval
from retrieval_bench.stats import Interval, bootstrap_columns, halves, latency_intervals
from retrieval_bench.truth import exact_neighbours, ignored_counts, judge, relevant_counts, remove_ignored, restrict
from retrieval_bench.types import Embeddings, GroundTruth, Judgement, SearchResult, Similarity

Values = dict[str, NDArray[np.float64]]
# Bytes that the exact lists of one block of queries may take at full depth.
BLOCK_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage of a run, ready to be judged.

    Attributes:
        truth: relevance and what to ignore, or none. metrics: name → label metric, empty where there are no labels.
        encode_ms: milliseconds to encode one query; NaN where nothing is encoded.
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
) -> tuple[list[dict[str, Any]], pd.DataFrame, pd.DataFrame]:
    """Rows of `points`, and the tables `queries` and `neighbours`, of every measured point of a stage."""
    floor = {p.k: _latency(p, slice(None), stage.seed) for r in results if r.build["index"] == "null" for p in r.points}
    floors = {k: found["latency_p50_ms"].value for k, found in floor.items() if found}
    points: list[dict[str, Any]] = []
    queries: list[pd.DataFrame] = []
    neighbours: list[pd.DataFrame] = []
    for result in results:
        if result.build["status"] != "ok":
            points.append(
                _identity(stage, result) | {"half": "all", "status": "failed", "error": result.build["error"]}
            )
        for point in result.points:
            values, found = _judged(stage, exact, point, result.build["index"] == "null")
            key = _identity(stage, result) | {"effort": point.effort, "k": point.k}
            points += _rows(stage, key | {"latency_floor_ms": floors.get(point.k)}, point, values, found.ids[:, 0] < 0)
            if result.build["index"] != "null":
                queries += _query_tables(key, stage, point, values)
                neighbours.append(_neighbour_table(key, stage, found))
    return points, _joined(queries), _joined(neighbours)


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _identity(stage: Stage, result: IndexResult) -> dict[str, Any]:
    build = result.build
    return {
        "stage": stage.name,
        "dim": stage.gallery.dim,
        "n_gallery": len(stage.gallery),
        "n_queries": len(stage.queries),
        "similarity": str(stage.similarity),
        "index": build["index"],
        "backend": build["target"],
        "family": build["family"],
        "exact": build["exact"],
        "index_params": json.dumps(build["params"], sort_keys=True),
        "knob": build["knob"],
        "effort": None,
        "build_seed": build["build_seed"],
        "k": None,
        "threads": 1,  # of the latencies
        "build_threads": build["threads"],
        "encode_ms": stage.encode_ms,
        "build_s": build["build_s"],
        "index_bytes": build["index_bytes"],
        "peak_rss_bytes": build["peak_rss_bytes"],
        "functional": bool(build["functional"]),  # its latency is not to be ranked
    }


def _judged(stage: Stage, exact: Exact, point: PointResult, floor: bool) -> tuple[Values, SearchResult]:
    """Per-query values of a point, and its lists without what is ignored. The floor's answers mean nothing."""
    found = remove_ignored(point.result, stage.truth, point.k)
    if floor:
        return {}, found
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
    return values, found


def _rows(
    stage: Stage, key: dict[str, Any], point: PointResult, values: Values, empty: NDArray[np.bool_]
) -> Iterator[dict[str, Any]]:
    """One row for all queries, one for the half that efforts are tuned on, one for the half they are reported on."""
    tune = halves(stage.queries.ids, stage.seed)
    timed_tune = halves(point.timed_ids, stage.seed)
    everything = np.ones(len(tune), bool), np.ones(len(timed_tune), bool)
    parts = {"all": everything, "tune": (tune, timed_tune), "report": (~tune, ~timed_tune)}
    candidates = point.result.candidates
    for half, (mask, timed) in parts.items():
        if not mask.any() or not timed.any():
            continue
        intervals = bootstrap_columns({name: v[mask] for name, v in values.items()}, stage.seed)
        intervals |= _latency(point, timed, stage.seed)
        n_timed = 0 if point.timing is None else int(timed.sum())
        row = key | {"half": half, "status": "ok", "error": None, "n_timed": n_timed}
        for name, found in intervals.items():
            row |= {name: found.value, f"{name}_lo": found.lo, f"{name}_hi": found.hi}
        batch = None if point.batch_seconds is None else len(stage.queries) / point.batch_seconds
        yield row | {
            "qps_batch": batch,
            "batch_threads": point.batch_threads,
            **_served(point, stage.seed),
            "candidate_fraction": None if candidates is None else float(candidates[mask].mean()) / len(stage.gallery),
            "empty_rate": float(empty[mask].mean()),
        }


def _latency(point: PointResult, queries: NDArray[np.bool_] | slice, seed: int) -> dict[str, Interval]:
    return {} if point.timing is None else latency_intervals(point.timing.nanoseconds[:, queries], seed)


def _served(point: PointResult, seed: int) -> dict[str, Any]:
    """Queries a second of all clients together, and each query's milliseconds: means over rounds, with t-intervals."""
    if point.clients is None or not point.rounds:
        return {}
    columns: dict[str, list[float]] = {
        "qps_clients": [len(served.nanoseconds) / served.seconds for served in point.rounds]
    }
    for name, share in (("clients_p50_ms", 0.5), ("clients_p99_ms", 0.99)):
        columns[name] = [float(np.quantile(served.nanoseconds, share)) / 1e6 for served in point.rounds]
    seconds = round(point.clients.seconds * len(point.rounds), 9)
    row: dict[str, Any] = {"clients": point.clients.count, "client_seconds": seconds}
    for name, values in columns.items():
        found = seed_interval(values, seed)
        row |= {name: found.value, f"{name}_lo": found.lo, f"{name}_hi": found.hi}
    return row


def _query_tables(key: dict[str, Any], stage: Stage, point: PointResult, values: Values) -> Iterator[pd.DataFrame]:
    """Pass -1 holds every query's metrics; passes from 0 the times of the queries that were timed."""
    names = ("stage", "index", "index_params", "build_seed", "effort", "k")
    same = {name: key[name] for name in names}
    yield pd.DataFrame({"query_id": stage.queries.ids, **values}).assign(**same, **{"pass": -1})
    if point.timing is not None:
        passes, timed = point.timing.nanoseconds.shape
        yield pd.DataFrame(
            {
                "query_id": np.tile(point.timed_ids, passes),
                "ns": point.timing.nanoseconds.ravel(),
                "pass": np.repeat(np.arange(passes), timed),
            }
        ).assign(**same)


def _neighbour_table(key: dict[str, Any], stage: Stage, found: SearchResult) -> pd.DataFrame:
    same = {name: key[name] for name in ("stage", "index", "index_params", "build_seed", "effort", "k")}
    lists = {"query_id": stage.queries.ids, "ids": list(found.ids), "scores": list(found.scores)}
    return pd.DataFrame(lists).assign(**same)


def most_ignored(truth: GroundTruth | None) -> int:
    """How many ids a list may hold that must be removed: what has to be asked for on top of k."""
    return 0 if truth is None else int(ignored_counts(truth).max(initial=0))
