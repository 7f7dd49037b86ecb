"""From which gallery size an index beats exact search: the same measurement over smaller and smaller galleries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retrieval_bench.choose import Goal, Target
from retrieval_bench.goals import goal_of
from retrieval_bench.measure import Candidate, IndexResult, Plan, measure
from retrieval_bench.points import Stage, exact_search, most_ignored, stage_rows
from retrieval_bench.record import Progress
from retrieval_bench.truth import permutation, restrict

SMALLEST = 250  # a gallery below this needs no index
EXACT = "retrieval_bench.search.exact.Exact"  # what is to be beaten, if it is there; a database's FLAT else


def sizes(n: int) -> list[int]:
    """Gallery sizes from n downwards, halved each time, rising.

    >>> sizes(3000), sizes(100)
    ([375, 750, 1500, 3000], [100])
    """
    found = [n]
    while found[-1] // 2 >= SMALLEST:
        found.append(found[-1] // 2)
    return found[::-1]


def smaller(stage: Stage, size: int) -> Stage:
    """The stage over a seeded sample of its gallery, without label metrics; a larger sample contains a smaller one."""
    if size == len(stage.gallery):
        return replace(stage, metrics={})
    rows = np.sort(permutation(stage.gallery.ids, stage.seed)[:size])
    gallery = stage.gallery.take(rows)
    truth = None if stage.truth is None else restrict(stage.truth, stage.queries.ids, gallery.ids)
    hours = stage.video_hours * size / len(stage.gallery)
    return replace(stage, gallery=gallery, truth=truth, metrics={}, video_hours=hours)


def measured_sizes(  # noqa: PLR0917
    candidates: Sequence[Candidate], stage: Stage, target: Target, plan: Plan, folder: Path, progress: Progress
) -> list[dict[str, Any]]:
    """Rows of `points` for every size, at the smallest depth, with the effort that meets the target at that size.

    Their column `met` tells whether the target is met; where no effort does, it is the best that was tried.
    `folder` keeps what is finished, a folder a size: a killed run goes on where it stopped.
    """
    k = min(plan.depths)
    settings = replace(plan.settings, build_seeds=plan.settings.build_seeds[:1], clients=None)
    rows: list[dict[str, Any]] = []
    for size in sizes(len(stage.gallery)):
        if size < k:
            continue
        part = smaller(stage, size)
        extra = most_ignored(part.truth)
        exact = exact_search(part, k, extra)
        goal = goal_of(Target(ann_recall=target.ann_recall), part, exact, [k])
        here = replace(plan, depths=[k], extra=extra, goal=goal, settings=settings, pairs=None)
        told = _of_size(progress, size)
        results = measure(candidates, part.queries, part.gallery, here, folder / f"n{size}", told)
        met = {result.build["index"]: _met(result, goal, k) for result in results}
        rows += [row | {"met": met[row["index"]]} for row in stage_rows(part, exact, results)[0]]
    return rows


def _met(result: IndexResult, goal: Goal | None, k: int) -> bool:
    """The chosen effort meets the target, or an index without a knob does."""
    if (choice := result.choices.get(k)) is not None:
        return choice.reached
    if goal is None or result.build["exact"] or result.build["index"] == "null":
        return True
    return all(goal.quality(point.result, k) >= goal.needed for point in result.points)


def _of_size(progress: Progress, size: int) -> Progress:
    return lambda task, done, total: progress(f"{size:,} vectors: {task}", done, total)


def crossings(points: pd.DataFrame) -> dict[tuple[str, str], float]:
    """(stage, index) → gallery size from which it answers faster than exact search at every larger size.

    Between two measured sizes both latencies are taken as powers of the size. 0: faster at the smallest size too;
    infinite: not faster at the largest. Where an index does not meet the target (column `met`), it is not faster.

    Args:
        points: rows of `measured_sizes`, one depth and target; those of the reporting half count.
    """
    found: dict[tuple[str, str], float] = {}
    report = points[points["half"] == "report"]
    if "met" in report.columns:
        report = report.assign(latency_p50_ms=report["latency_p50_ms"].where(report["met"].astype(bool), np.inf))
    for stage, of_stage in report.groupby("stage", sort=False):
        p50 = of_stage.pivot_table(index="n_gallery", columns="index", values="latency_p50_ms").sort_index()
        exact = _exact_column(of_stage)
        for index in [c for c in p50.columns if exact is not None and c not in {exact, "null"}]:
            both = p50[[exact, index]].dropna()
            if len(both):
                found[str(stage), str(index)] = _crossing(both.index.to_numpy(float), both.to_numpy(float))
    return found


def _exact_column(rows: pd.DataFrame) -> str | None:
    exact = rows[rows["exact"].fillna(False).astype(bool)]
    own = exact[exact["backend"] == EXACT] if "backend" in exact.columns else exact.head(0)
    names = (exact if own.empty else own)["index"]
    return None if names.empty else str(names.iloc[0])


def _crossing(n: np.ndarray[Any, Any], ms: np.ndarray[Any, Any]) -> float:
    """Where the second column falls below the first and stays there: sizes [m], milliseconds [m, 2]."""
    ahead = np.log(ms[:, 1] / ms[:, 0])  # negative: the index is faster
    if ahead[-1] >= 0:
        return float("inf")
    slower = np.flatnonzero(ahead >= 0)
    if not len(slower):
        return 0.0
    i = int(slower[-1])
    share = ahead[i] / (ahead[i] - ahead[i + 1]) if np.isfinite(ahead[i]) else 1.0  # no line leads there
    return float(np.exp(np.log(n[i]) + share * (np.log(n[i + 1]) - np.log(n[i]))))
