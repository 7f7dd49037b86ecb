"""A target made answerable for one stage: how good lists are on the half of the queries that efforts are chosen on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._moments import MomentSearch
from retrieval_bench.choose import Goal, Target
from retrieval_bench.errors import BadConfig
from retrieval_bench.metric.ann_recall import ann_recall
from retrieval_bench.nearest import rescore
from retrieval_bench.points import Exact, Stage, gallery_rows, label_values
from retrieval_bench.stats import halves
from retrieval_bench.truth import judge, remove_ignored, restrict
from retrieval_bench.types import SearchResult


def tuning_queries(stage: Stage) -> NDArray[np.int64]:
    """Query rows on which efforts are chosen; all of them where the halves leave none."""
    tune = np.flatnonzero(halves(stage.halved, stage.seed))
    return tune if len(tune) else np.arange(len(stage.queries))


def goal_of(target: Target, stage: Stage, exact: Exact, depths: Sequence[int]) -> Goal | None:
    """What lists of this stage are judged by while efforts are chosen, k in `depths`; none without a target.

    Raises:
        BadConfig: the target's metric is not measured, or not at one of these depths.
    """
    if not target:
        return None
    tune, n = tuning_queries(stage), len(stage.gallery)
    if target.metric is None:
        return Goal(lambda found, k: _recall(stage, exact, found, k, tune), target.ann_recall or 0.0, n)
    moments = stage.moments_through(exact.cut(max(depths)))
    if moments is not None and target.metric in moments.values:
        return _goal_of_moments(target, stage, exact, depths)
    if target.metric not in exact.values:
        known = ", ".join([*exact.values, *(moments.values if moments else ())]) or "none: the data has no labels"
        raise BadConfig(f"target.metric={target.metric} is not measured; measured are {known}")
    _check_depths(target, depths, lambda k: _loss(target, stage, exact, (exact.neighbours, k), tune))

    def quality(found: SearchResult, k: int) -> float:
        lost = _loss(target, stage, exact, (found, k), tune)
        return float("nan") if lost is None else -lost

    return Goal(quality, -float(target.loss or 0.0), n)


def _goal_of_moments(target: Target, stage: Stage, exact: Exact, depths: Sequence[int]) -> Goal:
    """As a label metric, over the moment queries whose windows are those of the tuning half."""
    name = str(target.metric)

    def values(found: SearchResult) -> NDArray[np.float64]:
        moments = stage.moments_through(found)
        return np.empty(0) if moments is None else moments.values[name][tune]

    tune = np.ones(0, np.bool_) if stage.moments is None else _tuning_moments(stage.moments, stage)
    right = {k: values(exact.cut(k)) for k in depths}
    if any(np.isnan(column).all() for column in right.values()):
        raise BadConfig(
            f"target.metric={name}: no query of the tuning half has it; type target.ann_recall=0.95 instead"
        )

    def quality(found: SearchResult, k: int) -> float:
        return -float(np.nanmean(right[k] - values(remove_ignored(found, stage.truth, k))))

    return Goal(quality, -float(target.loss or 0.0), len(stage.gallery))


def _tuning_moments(search: MomentSearch, stage: Stage) -> NDArray[np.bool_]:
    return np.isin(search.ids, stage.halved[tuning_queries(stage)])


def _check_depths(target: Target, depths: Sequence[int], loss: Callable[[int], float | None]) -> None:
    """Before anything is built: exact lists lose nothing, or are too short to tell."""
    short = [k for k in depths if loss(k) is None]
    if short:
        deep = [k for k in depths if k not in short]
        remedy = f"type k={deep}" if deep else "type a larger k=[…]"
        raise BadConfig(f"target.metric={target.metric} needs longer lists than k={short[-1]}; {remedy}")


def _part(found: SearchResult, rows: NDArray[np.int64]) -> SearchResult:
    return SearchResult(found.ids[rows], found.scores[rows])


def _recall(stage: Stage, exact: Exact, found: SearchResult, k: int, tune: NDArray[np.int64]) -> float:
    """Mean ann_recall@k of the tuning queries."""
    queries = stage.queries.take(tune)
    truth = None if stage.truth is None else restrict(stage.truth, queries.ids, stage.gallery.ids)
    kept = remove_ignored(_part(found, tune), truth, k)
    rows = gallery_rows(stage.gallery, kept.ids)
    scores = rescore(queries.vectors, stage.gallery.vectors, rows, stage.similarity)
    slack = exact.tolerance[tune, k - 1]
    near = exact.neighbours.ids[tune, :k], exact.scores[tune, :k]
    return float(np.nanmean(ann_recall(near[0], kept.ids, near[1], scores, slack, k)))


def _loss(
    target: Target, stage: Stage, exact: Exact, found: tuple[SearchResult, int], tune: NDArray[np.int64]
) -> float | None:
    """Mean ANN loss of the target's metric over the tuning queries with something relevant; none at too small a k."""
    result, k = found
    name = str(target.metric)
    queries = stage.queries.ids[tune]
    if stage.truth is None:
        raise BadConfig(f"target.metric={name}: the data has no labels; type target.ann_recall=0.95 instead")
    judgement = judge(_part(result, tune), restrict(stage.truth, queries, stage.gallery.ids), k)
    only = replace(stage, metrics={n: m for n, m in stage.metrics.items() if n == name.partition("@")[0]})
    through = label_values(judgement, only, k).get(name)
    lost = None if through is None else exact.values[name][tune] - through
    judged = judgement.relevant > 0
    return None if lost is None or np.isnan(lost[judged]).any() else float(lost[judged].mean())
