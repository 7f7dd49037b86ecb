"""Live objects → record: the only file that knows all components."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from retrieval_bench.data.base import Dataset
from retrieval_bench.environment import environment
from retrieval_bench.errors import TooManyUnreadable
from retrieval_bench.experiment import Experiment, data_fingerprint, silent
from retrieval_bench.facts import stage_facts
from retrieval_bench.foresight import Foresight, Say, quiet
from retrieval_bench.measure import Candidate, Plan, forget, measure, result_folder
from retrieval_bench.points import exact_search, most_ignored, stage_rows
from retrieval_bench.record import (
    SCHEMA,
    Progress,
    RunRecord,
    digest,
    make_folder,
    only_one,
    portable,
    write_json,
    write_parquet,
    write_yaml,
    written_whole,
)
from retrieval_bench.report.figure import pareto_figure, save_figure
from retrieval_bench.salvage import readable, recorded
from retrieval_bench.stages import Prepared, prepare

_log = logging.getLogger(__name__)

# What of the measuring does not decide numbers, or is kept apart inside the run (build seeds).
_NOT_SCIENCE = ("timeout_s", "memory_limit_gb", "build_seeds")
_TABLES = ("queries", "neighbours")
_POINT = ["stage", "index", "index_params", "effort", "build_seed"]


def run_experiment(experiment: Experiment, progress: Progress = silent, say: Say = quiet) -> RunRecord:
    """Run what has not been run yet, and write the record.

    Args:
        say: told in a line what a user should know before or beside the work: how long it will take, for instance.

    Raises:
        RetrievalBenchError: anything that the user can mend. Whatever was finished before is kept.
    """
    make_folder(experiment.cache)
    foresight = Foresight(experiment, say)
    if isinstance(experiment.data, Dataset) and not experiment.metrics:
        say("no label metric is measured, ann_recall alone judges; for some type metric=[hit_rate,map_at_r]")
    try:
        stages = prepare(experiment, progress, foresight)
    except TooManyUnreadable as error:
        file = experiment.folder / "unreadable.csv"
        _write_unreadable(file, error.items)
        raise TooManyUnreadable(f"{error}; with their reasons: {file}", error.items) from error
    folder = experiment.folder / run_id(experiment, stages)
    with only_one(folder):
        record, damaged = recorded(folder, say)
        force = bool(experiment.config["force"])
        if record is None or damaged or force or _missing(experiment, stages, record):
            if force:
                _forget(experiment, stages, folder)
            write_yaml(folder / "config.yaml", portable(experiment.config, folder))
            _write_unreadable(folder / "unreadable.csv", [bad for stage in stages for bad in stage.unreadable])
            foresight.measuring([stage.stage for stage in stages], folder / "results")
            record = _measured(experiment, stages, folder, record, progress)
        _report(experiment, record, progress)
    return record


def _forget(experiment: Experiment, stages: Sequence[Prepared], folder: Path) -> None:
    """Remove what is to be measured again and nothing else; the record first, so that a kill leaves none that lies."""
    (folder / "record.json").unlink(missing_ok=True)
    for stage in stages:
        forget(folder / "results" / stage.stage.name, _candidates(experiment), experiment.measure.build_seeds)


def run_id(experiment: Experiment, stages: Sequence[Prepared]) -> str:
    """Digest of what decides numbers, and of nothing else: which indexes are measured is not part of it."""
    measuring = {k: v for k, v in experiment.config["measure"].items() if k not in _NOT_SCIENCE}
    return digest(
        protocol(experiment),
        {stage.stage.name: stage.fingerprint for stage in stages},
        {"measure": measuring, "metric": experiment.config.get("metric"), "seed": experiment.seed, "schema": SCHEMA},
    )


def protocol(experiment: Experiment) -> dict[str, Any]:
    """What has to be equal before two runs' numbers may be compared."""
    return {
        "data": experiment.data.name,
        **experiment.data.protocol,
        "similarity": str(experiment.similarity),
        "k": list(experiment.k),
        "cuts": list(experiment.cuts),
    }


def asked(experiment: Experiment, record: RunRecord) -> pd.DataFrame:
    """The points of a record that this experiment asks for, and the floor; earlier commands may have left others."""
    wanted = {(name, json.dumps(_params(factory), sort_keys=True)) for name, factory in experiment.search.items()}
    efforts = {name: set(experiment.efforts(name)) for name in experiment.search}
    rows = [
        row
        for row in record.rows
        if row["index"] == "null"
        or (
            (row["index"], row["index_params"]) in wanted
            and (row["status"] == "failed" or row["effort"] in efforts[row["index"]])
            and row["build_seed"] in experiment.measure.build_seeds
        )
    ]
    return pd.DataFrame(rows)


def _candidates(experiment: Experiment) -> list[Candidate]:
    return [Candidate(name, factory) for name, factory in experiment.search.items() if name != "null"]


def _params(factory: Any) -> dict[str, Any]:
    return {key: value for key, value in factory.keywords.items() if key != "efforts"}


def _missing(experiment: Experiment, stages: Sequence[Prepared], old: RunRecord) -> list[tuple[Any, ...]]:
    """Wanted operating points that a finished record lacks, or in which they failed."""
    points = old.points
    done = points[(points["half"] == "all") & (points["status"] == "ok")]
    columns = ["stage", "index", "index_params", "effort", "build_seed", "k"]
    have = {tuple(None if pd.isna(v) else v for v in row) for row in done[columns].itertuples(index=False)}
    results = old.folder / "results"
    return [
        point
        for stage in stages
        for name, factory in experiment.search.items()
        if name != "null"  # the floor is part of every measurement
        for effort in experiment.efforts(name)
        for seed in experiment.measure.build_seeds
        for k in experiment.k
        if (point := (stage.stage.name, name, json.dumps(_params(factory), sort_keys=True), effort, seed, k))
        not in have
        or not result_folder(results / stage.stage.name, Candidate(name, factory), seed).exists()  # its code changed
    ]


def _measured(
    experiment: Experiment, stages: Sequence[Prepared], folder: Path, old: RunRecord | None, progress: Progress
) -> RunRecord:
    rows: list[dict[str, Any]] = []
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in _TABLES}
    facts: dict[str, Any] = {}
    deepest = max(experiment.k)
    for prepared in stages:
        stage = prepared.stage
        extra = most_ignored(stage.truth)
        progress(f"{stage.name}: exact truth", 0, 1)
        exact = exact_search(stage, deepest, extra)
        progress(f"{stage.name}: exact truth", 1, 1)
        place = folder / "results" / stage.name
        plan = Plan(experiment.similarity, list(experiment.k), extra, experiment.seed, experiment.measure)
        results = measure(_candidates(experiment), stage.queries, stage.gallery, plan, place, progress)
        stage_points, queries, neighbours = stage_rows(stage, exact, results)
        rows += stage_points
        tables["queries"].append(queries)
        tables["neighbours"].append(neighbours)
        facts[stage.name] = prepared.facts | stage_facts(experiment, stage, exact, extra)
    return _written(experiment, stages, folder, old, (rows, tables, facts))


def _written(
    experiment: Experiment,
    stages: Sequence[Prepared],
    folder: Path,
    old: RunRecord | None,
    found: tuple[list[dict[str, Any]], dict[str, list[pd.DataFrame]], dict[str, Any]],
) -> RunRecord:
    """Write every file of the run. What an earlier command measured here, and this one did not, keeps its rows."""
    common = {"run_id": folder.name, "data": experiment.data.name, "encoder": _encoder_name(experiment)}
    rows = [common | row for row in found[0]]
    mine = {_point(row) for row in rows}
    config = portable(experiment.config, folder)
    if old is not None:
        again = {_point(row)[:3] for row in rows}
        stale = [row["status"] == "failed" and _point(row)[:3] in again for row in old.rows]
        rows += [row for row, gone in zip(old.rows, stale, strict=True) if not gone and _point(row) not in mine]
        config["search"] = old.config["search"] | config["search"]
    for name, parts in found[1].items():
        file = folder / f"{name}.parquet"
        before = readable(file) if old is not None else None
        before = pd.DataFrame(columns=_POINT) if before is None else before
        kept = before[[_point(row) not in mine for row in before[_POINT].to_dict("records")]]
        filled = [part for part in (kept, *parts) if len(part)]
        write_parquet(file, pd.concat(filled, ignore_index=True) if filled else before)
    record = RunRecord(
        run_id=folder.name,
        name=str(experiment.config["name"]),
        config=config,
        protocol=protocol(experiment),
        data_fingerprint=data_fingerprint(experiment.data),
        environment=environment(),
        seeds={"run": experiment.seed, "build": list(experiment.measure.build_seeds)},
        stages=found[2],
        rows=rows,
        folder=folder,
    )
    write_parquet(folder / "points.parquet", record.points)
    write_yaml(folder / "config.yaml", config)
    write_json(folder / "record.json", record.to_json())
    return RunRecord.load(folder)  # what a later command will read, to the last digit


def _point(row: Mapping[Any, Any]) -> tuple[Any, ...]:
    """What tells the operating points of a run apart, depth k aside: it is the same for all."""
    return tuple(None if pd.isna(row[column]) else row[column] for column in _POINT)


def _encoder_name(experiment: Experiment) -> str:
    node = experiment.config["encoder"]
    return "none" if node is None else str(node.get("model", node["_target_"].rpartition(".")[2]))


def _write_unreadable(file: Path, items: Sequence[tuple[str, str]]) -> None:
    if not items:
        return
    with written_whole(file) as handle:
        writer = csv.writer(handle)
        writer.writerow(("item", "reason"))
        writer.writerows(items)


def _report(experiment: Experiment, record: RunRecord, progress: Progress) -> None:
    """Figure and trackers: neither may end a run that has its numbers. A tracker is told the same rows only once."""
    figure, told = record.folder / "pareto.png", record.folder / "told.json"
    rows = digest(record.rows)
    before = _told(told)
    if before.get("figure") != rows or not figure.exists():
        save_figure(pareto_figure(record.points), figure)
    factories = {name: make() for name, make in experiment.loggers.items() if before.get(name) != rows}
    if factories:
        from retrieval_bench.track import Story, track

        progress("tell the trackers", 0, 1)
        story = Story(record.run_id, record.config, record.protocol, record.points, figure)
        for warning in track(factories, story, record.folder):
            _log.warning(warning)
        progress("tell the trackers", 1, 1)
    now = before | dict.fromkeys(("figure", *factories), rows)
    if now != before:
        write_json(told, now)


def _told(file: Path) -> dict[str, Any]:
    """Who was told which rows; nobody, where the file is missing or damaged."""
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return before if isinstance(before, dict) else {}
