"""Live objects → record: the only file that knows all components."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pandas as pd

from retrieval_bench.break_even import crossings, measured_sizes
from retrieval_bench.collisions import collision_table, sampled_pairs
from retrieval_bench.data.base import Dataset
from retrieval_bench.environment import environment
from retrieval_bench.errors import TooManyUnreadable
from retrieval_bench.examples import write_examples
from retrieval_bench.experiment import Experiment, data_fingerprint, silent
from retrieval_bench.facts import stage_facts
from retrieval_bench.foresight import Foresight, Say, quiet
from retrieval_bench.goals import goal_of
from retrieval_bench.measure import IndexResult, Plan, forget, measure
from retrieval_bench.naming import encoder_name, training_parts, with_parts
from retrieval_bench.points import Stage, exact_search, most_ignored, stage_rows
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
from retrieval_bench.report.page import write_page
from retrieval_bench.salvage import readable, recorded
from retrieval_bench.stages import Prepared, prepare
from retrieval_bench.wanted import CHOICE, candidates, choice_facts, is_exact, merged, missing, params

_log = logging.getLogger(__name__)

# What of the measuring does not decide numbers, or is kept apart inside the run (build seeds).
_NOT_SCIENCE = ("timeout_s", "memory_limit_gb", "build_seeds", "clients", "client_seconds")
_TABLES = ("queries", "neighbours", "moments", "collisions", "break_even")
_CROSSING = ("target", "index", "index_params")
_KEYS = {"break_even": ["target", "stage", "index", "index_params"]}  # of a table whose rows are no points of the run
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
        names = [stage.stage.name for stage in stages]
        if record is None or damaged or force or missing(experiment, names, record):
            if force:
                _forget(experiment, stages, folder)
            write_yaml(folder / "config.yaml", portable(experiment.config, folder))
            for stage in stages:
                stage.keep_training(folder)
            _write_unreadable(folder / "unreadable.csv", [bad for stage in stages for bad in stage.unreadable])
            foresight.measuring([stage.stage for stage in stages], folder / "results")
            record = _measured(experiment, stages, folder, record, progress)
        _report(experiment, record, progress)
    return record


def _forget(experiment: Experiment, stages: Sequence[Prepared], folder: Path) -> None:
    """Remove what is to be measured again and nothing else; the record first, so that a kill leaves none that lies."""
    (folder / "record.json").unlink(missing_ok=True)
    for stage in stages:
        forget(folder / "results" / stage.stage.name, candidates(experiment), experiment.measure.build_seeds)


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
        **({} if experiment.moment is None else {"moment": experiment.config["moment"]}),
    }


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
        goal, pairs = goal_of(experiment.target, stage, exact, experiment.k), sampled_pairs(stage, exact)
        plan = Plan(experiment.similarity, list(experiment.k), extra, experiment.seed, experiment.measure, goal, pairs)
        plan = replace(plan, moments=stage.moments)
        results = measure(candidates(experiment), stage.queries, stage.gallery, plan, place, progress)
        stage_points, found = stage_rows(stage, exact, results)
        write_examples(experiment, stage, exact, stage_points, found=found, run=folder)
        rows += stage_points
        sizes = _break_even(experiment, stage, plan, place, progress)
        found |= {"collisions": collision_table(stage, results), "break_even": sizes}
        for name in _TABLES:
            tables[name].append(found[name])
        facts[stage.name] = prepared.facts | stage_facts(experiment, stage, exact, extra)
        facts[stage.name] |= _chosen(experiment, stage, results, sizes)
    return _written(experiment, stages, folder, old, (rows, tables, facts))


def _break_even(experiment: Experiment, stage: Stage, plan: Plan, place: Path, progress: Progress) -> pd.DataFrame:
    """Points over smaller galleries, where they are asked for."""
    if not experiment.target.break_even:
        return pd.DataFrame()
    rows = measured_sizes(candidates(experiment), stage, experiment.target, plan, place / "sizes", progress)
    return pd.DataFrame(rows).assign(target=str(experiment.target))


def _chosen(
    experiment: Experiment, stage: Stage, results: Sequence[IndexResult], sizes: pd.DataFrame
) -> dict[str, list[dict[str, Any]]]:
    """What the target led to: the effort of each index, and the gallery size from which it beats exact search."""
    target = str(experiment.target)
    choices = [fact for result in results for fact in choice_facts(target, result)]
    sizes_of = crossings(sizes) if len(sizes) else {}
    even = []
    for name, factory in experiment.search.items() if len(sizes) else ():
        size = sizes_of.get((stage.name, name), inf)  # one that failed at every size beats nothing
        if name != "null" and not is_exact(factory):
            fact = {"target": target, "index": name, "index_params": params(factory)}
            even.append(fact | {"size": None if size == inf else size})
    return {"choices": choices, "break_even": even}


def _written(
    experiment: Experiment,
    stages: Sequence[Prepared],
    folder: Path,
    old: RunRecord | None,
    found: tuple[list[dict[str, Any]], dict[str, list[pd.DataFrame]], dict[str, Any]],
) -> RunRecord:
    """Write every file of the run. What an earlier command measured here, and this one did not, keeps its rows."""
    common = {"run_id": folder.name, "data": experiment.data.name, "encoder": _encoder_name(experiment)}
    config = portable(experiment.config, folder)
    rows = [common | training_parts(config, row["stage"]) | row for row in found[0]]
    mine = {_point(row) for row in rows}
    if old is not None:
        rows += with_parts(old.config, _kept_rows(old, rows))
        config["search"] = old.config["search"] | config["search"]
        _keep_choices(old, found[2])
    for name, parts in found[1].items():
        _add(folder / f"{name}.parquet", parts, _KEYS.get(name, _POINT), mine, old is not None)
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


def _kept_rows(old: RunRecord, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of an earlier command that are not measured anew; a failure goes when its index is tried again."""
    mine, again = {_point(row) for row in rows}, {_point(row)[:3] for row in rows}
    stale = [row["status"] == "failed" and _point(row)[:3] in again for row in old.rows]
    return [row for row, gone in zip(old.rows, stale, strict=True) if not gone and _point(row) not in mine]


def _keep_choices(old: RunRecord, stages: Mapping[str, dict[str, Any]]) -> None:
    """Add what earlier targets led to."""
    for stage, facts in stages.items():
        before = old.stages.get(stage, {})
        for name, keys in (("choices", CHOICE), ("break_even", _CROSSING)):
            facts[name] = merged(before.get(name, []), facts[name], keys)


def _add(file: Path, parts: Sequence[pd.DataFrame], keys: list[str], mine: set[tuple[Any, ...]], go_on: bool) -> None:
    """Write a table. What an earlier command wrote stays, but for rows of points that were measured anew."""
    filled = [part for part in parts if len(part)]
    before = readable(file) if go_on else None
    if before is not None and len(before):
        anew = mine.union(*({_key(row) for row in _distinct(part, keys)} for part in filled))
        gone = [row for row in _distinct(before, keys) if _key(row) in anew]
        stale = pd.DataFrame(gone, columns=keys).astype(before[keys].dtypes.to_dict()).assign(_stale=True)
        marked = before[keys].merge(stale, how="left", on=keys)["_stale"]
        filled.insert(0, before[marked.isna().to_numpy()])
    filled = [part for part in filled if len(part)]
    if filled or file.exists():
        write_parquet(file, pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=keys))


def _distinct(table: pd.DataFrame, keys: list[str]) -> list[dict[Any, Any]]:
    return table[keys].drop_duplicates().to_dict("records")


def _key(row: Mapping[Any, Any]) -> tuple[Any, ...]:
    return tuple(None if pd.isna(value) else value for value in row.values())


def _point(row: Mapping[Any, Any]) -> tuple[Any, ...]:
    """What tells the operating points of a run apart, depth k aside: it is the same for all."""
    return tuple(None if pd.isna(row[column]) else row[column] for column in _POINT)


def _encoder_name(experiment: Experiment) -> str:
    """The model of images; of clips, what is above it, too: `Sequence(tf_efficientnet_lite0)`."""
    return "none" if experiment.config["encoder"] is None else encoder_name(experiment.config["encoder"])


def _write_unreadable(file: Path, items: Sequence[tuple[str, str]]) -> None:
    if not items:
        return
    with written_whole(file) as handle:
        writer = csv.writer(handle)
        writer.writerow(("item", "reason"))
        writer.writerows(items)


def _report(experiment: Experiment, record: RunRecord, progress: Progress) -> None:
    """Figure and trackers: neither may end a run that has its numbers. A tracker is told the same rows only once."""
    figure, page, told = (record.folder / name for name in ("pareto.png", "report.html", "told.json"))
    rows = digest(record.rows)
    before = _told(told)
    if before.get("figure") != rows or not (figure.exists() and page.exists()):
        save_figure(pareto_figure(record.points), figure)
        write_page([record], page)
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
