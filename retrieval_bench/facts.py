"""Counts and checks of a stage that belong beside its numbers in the record."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._moments import MomentSearch
from retrieval_bench.collapse import collapse_facts
from retrieval_bench.data.base import MomentDataset, VectorDataset
from retrieval_bench.errors import CorruptInput
from retrieval_bench.experiment import Experiment
from retrieval_bench.metric.ann_recall import ann_recall
from retrieval_bench.nearest import rescore
from retrieval_bench.points import (
    BLOCK_BYTES,
    Exact,
    Stage,
    Values,
    full_depth,
    gallery_rows,
    label_values,
    query_blocks,
)
from retrieval_bench.stats import bootstrap_mean
from retrieval_bench.truth import TIE_BYTES, tie_bounds, tie_depth

BY_CLASS = "hit_rate@1"
MOST_CLASSES = 30  # that are told one by one


def stage_facts(experiment: Experiment, stage: Stage, exact: Exact, extra: int) -> dict[str, Any]:
    """Counts and checks of a stage that belong beside its numbers."""
    facts: dict[str, Any] = {"n_queries": len(stage.queries), "n_gallery": len(stage.gallery), "dim": stage.gallery.dim}
    near = exact.neighbours.ids
    facts["collapse"] = collapse_facts(stage.gallery.vectors, stage.gallery.ids, near, stage.seed)
    if exact.relevant is not None and stage.truth is not None:
        lost = stage.queries.ids[exact.relevant == 0]
        labels = stage.truth.query_labels
        classes = [] if labels is None else np.unique(labels[exact.relevant == 0]).tolist()
        names = _names(experiment, classes)
        facts["nothing_relevant"] = {
            "count": len(lost), "query_ids": lost.tolist(), "labels": classes, "classes": names,
        }  # fmt: skip
        facts["tie_bounds"] = _bounds(stage, exact, exact.relevant)
        facts["by_class"] = _by_class(experiment, stage, exact)
    if stage.moments is not None:
        facts["moments"] = _moments(experiment, stage.moments)
    like = experiment.data.protocol.get("stored_similarity") in (None, str(stage.similarity))
    like = like and not experiment.transforms
    if like and isinstance(experiment.data, VectorDataset) and (stored := experiment.data.neighbours()) is not None:
        facts["stored_neighbours"] = _agreement(stage, exact, stored)
    return facts


def _by_class(experiment: Experiment, stage: Stage, exact: Exact) -> dict[str, Any] | None:
    """hit_rate@1 of the queries of each class with its interval; none for more classes than can be read."""
    values, labels = exact.values.get(BY_CLASS), None if stage.truth is None else stage.truth.query_labels
    classes = [] if labels is None else np.unique(labels).tolist()
    if values is None or not 2 <= len(classes) <= MOST_CLASSES:
        return None
    found: dict[str, Any] = {"metric": BY_CLASS, "classes": _names(experiment, classes), "n_queries": []}
    found |= {"value": [], "lo": [], "hi": []}
    for label in classes:
        mine = values[labels == label]
        interval = bootstrap_mean(mine, stage.seed)
        found["n_queries"].append(int(np.isfinite(mine).sum()))
        for name, value in (("value", interval.value), ("lo", interval.lo), ("hi", interval.hi)):
            found[name].append(None if np.isnan(value) else float(value))
    return found


def _moments(experiment: Experiment, search: MomentSearch) -> dict[str, Any]:
    """How many moment queries, and which of them could not be asked or answered: nothing of them could be read."""
    lengths = np.diff(search.truth.videos.offsets)
    facts: dict[str, Any] = {"count": len(search), "nothing_relevant": search.ids[lengths == 0].tolist()}
    if isinstance(experiment.data, MomentDataset):
        known = experiment.data.moments()
        gone = ~np.isin(known.queries, search.ids)
        facts["unreadable"] = [name for name, lost in zip(known.names, gone, strict=True) if lost]
    return facts


def _names(experiment: Experiment, classes: list[int]) -> list[str]:
    """The classes' names for people; their numbers where they have none."""
    names = {} if isinstance(experiment.data, VectorDataset) else experiment.data.queries().label_names
    return [str(names.get(label, label)) for label in classes]


def _bounds(stage: Stage, exact: Exact, relevant: NDArray[np.int64]) -> dict[str, list[float]]:
    """Label metric → [pessimistic, optimistic] mean of the exact search, where equal scores leave the order open.

    At full depth, so that r_precision and map_at_r are among them; in blocks of queries, so that it takes no more
    memory than the exact search.
    """
    full = full_depth(exact.neighbours.k, relevant)
    depth = tie_depth(full, len(stage.gallery)) + full
    parts: list[tuple[Values, Values]] = []
    for queries, truth in query_blocks(stage, max(1, BLOCK_BYTES // (depth * TIE_BYTES))):
        if truth is not None:
            best, worst = tie_bounds(queries, stage.gallery, truth, stage.similarity, full)
            parts.append((label_values(worst, stage, full), label_values(best, stage, full)))
    means: dict[str, list[float]] = {
        name: [float(np.nanmean(np.concatenate([p[i][name] for p in parts]))) for i in (0, 1)]
        for name, values in exact.values.items()
        if not np.isnan(values).all()
    }
    return {name: [low, high] for name, (low, high) in means.items() if high - low > 1e-12}


def _agreement(stage: Stage, exact: Exact, stored: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, float]:
    """ann_recall between our exact search and the neighbours that came with the data, the smaller of both ways.

    Raises:
        CorruptInput: the stored lists are no neighbours: an id twice in a row, or not the nearest.
    """
    k = min(stored.shape[1], exact.neighbours.k)
    lists = np.sort(stored[:, :k], axis=1)
    twice = ((lists[:, 1:] == lists[:, :-1]) & (lists[:, 1:] >= 0)).any(axis=1)
    if twice.any():
        raise CorruptInput(
            f"the stored neighbours repeat an id in the lists of queries {np.flatnonzero(twice)[:5].tolist()}"
        )
    rows = gallery_rows(stage.gallery, stored[:, :k])
    scores = rescore(stage.queries.vectors, stage.gallery.vectors, rows, stage.similarity)
    ours = exact.neighbours.ids[:, :k], exact.scores[:, :k]
    slack = exact.tolerance[:, k - 1]
    recall = ann_recall(stored[:, :k], ours[0], scores, ours[1], slack, k)
    back = ann_recall(ours[0], stored[:, :k], ours[1], scores, slack, k)
    return {"k": k, "ann_recall": min(float(np.nanmean(recall)), float(np.nanmean(back)))}
