"""What an experiment asks for, and what of it a record has: rows to show, points to measure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from retrieval_bench._recipe import build_params
from retrieval_bench.experiment import Experiment
from retrieval_bench.measure import Candidate, IndexResult, result_folder
from retrieval_bench.record import RunRecord

Key = tuple[Any, ...]


def candidates(experiment: Experiment) -> list[Candidate]:
    """The indexes to measure; the floor is part of every measurement."""
    return [Candidate(name, factory) for name, factory in experiment.search.items() if name != "null"]


def params(factory: partial[Any]) -> str:
    """Build parameters as in `index_params`."""
    return json.dumps(build_params(factory), sort_keys=True)


def choice_facts(target: str, result: IndexResult) -> Iterator[dict[str, Any]]:
    """Choices of an index as JSON values."""
    for k, choice in result.choices.items():
        yield {
            "target": target,
            "index": result.build["index"],
            "index_params": json.dumps(result.build["params"], sort_keys=True),
            "k": k,
            "effort": choice.effort,
            "reached": choice.reached,
            "tried": {str(effort): quality for effort, quality in sorted(choice.tried.items())},
        }


def merged(old: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> list[Any]:
    """Facts of earlier commands and of this one, which replaces those of the same keys."""
    return list({tuple(fact.get(key) for key in keys): fact for fact in (*old, *new)}.values())


CHOICE = ("target", "index", "index_params", "k")


def efforts(experiment: Experiment, record: RunRecord, stage: str, name: str, k: int) -> Sequence[int | None] | None:
    """Efforts to measure of an index: those listed, or the one chosen for the target; none where none is chosen yet."""
    listed = experiment.efforts(name)
    if not experiment.target or listed == [None]:
        return listed
    wanted = (str(experiment.target), name, params(experiment.search[name]), k)
    chosen = record.stages.get(stage, {}).get("choices", [])
    return next(([fact["effort"]] for fact in chosen if tuple(fact[key] for key in CHOICE) == wanted), None)


def asked(experiment: Experiment, record: RunRecord) -> pd.DataFrame:
    """The points of a record that this experiment asks for, and the floor; earlier commands may have left others.

    Where efforts are chosen by a target, those of the half on which they were chosen, and of the other half.
    """
    built = {(name, params(factory)) for name, factory in experiment.search.items()}

    def shown(row: Mapping[str, Any]) -> bool:
        if row["index"] == "null":
            return True
        if (row["index"], row["index_params"]) not in built or row["build_seed"] not in experiment.measure.build_seeds:
            return False
        if row["status"] == "failed":
            return True
        known = efforts(experiment, record, row["stage"], row["index"], int(row["k"])) or ()
        return row["effort"] in known and not (experiment.target and row["half"] == "all")

    return pd.DataFrame([row for row in record.rows if shown(row)])


def missing(experiment: Experiment, stages: Sequence[str], old: RunRecord) -> bool:
    """Whether a finished record lacks a wanted operating point, or it failed, or something beside the points."""
    points = old.points
    done = points[(points["half"] == "all") & (points["status"] == "ok")]
    settings = experiment.measure
    if settings.clients is not None:
        told = {"clients": settings.clients, "client_seconds": round(settings.client_seconds, 9)}
        known = set(told) <= set(done.columns)  # a record of an earlier version tells less
        done = done[(done[list(told)] == list(told.values())).all(axis=1)] if known else done.head(0)
    columns = ["stage", "index", "index_params", "effort", "build_seed", "k"]
    have = {tuple(None if pd.isna(v) else v for v in row) for row in done[columns].itertuples(index=False)}
    return any(
        point is None or point not in have
        for stage in stages
        for name in experiment.search
        if name != "null"
        for point in _points(experiment, old, stage, name)
    )


def _points(experiment: Experiment, old: RunRecord, stage: str, name: str) -> Iterator[Key | None]:
    """Wanted points of an index; none for one that cannot be told or taken from the record."""
    factory = experiment.search[name]
    results = old.folder / "results" / stage
    if experiment.target.break_even and not _crossed(experiment, old, stage, name):
        yield None
    for k in experiment.k:
        known = efforts(experiment, old, stage, name, k)
        if known is None:
            yield None
        for effort in known or ():
            for seed in experiment.measure.build_seeds:
                kept = result_folder(results, Candidate(name, factory), seed).exists()  # else its code changed
                yield (stage, name, params(factory), effort, seed, k) if kept else None


def is_exact(factory: partial[Any]) -> bool:
    """Whether an index is an exact one, told by its class."""
    return bool(getattr(factory.func, "exact", False))


def _crossed(experiment: Experiment, old: RunRecord, stage: str, name: str) -> bool:
    wanted = (str(experiment.target), name, params(experiment.search[name]))
    found = old.stages.get(stage, {}).get("break_even", [])
    known = {(fact["target"], fact["index"], fact.get("index_params")) for fact in found}
    return is_exact(experiment.search[name]) or wanted in known
