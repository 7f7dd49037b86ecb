"""Two finished runs beside each other: paired over query ids, corrected for the number of comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retrieval_bench._clusters import cluster_paired
from retrieval_bench._settings import differences, flattened, science, stage_settings
from retrieval_bench.errors import BadConfig, CorruptInput, UnlikeProtocols
from retrieval_bench.naming import OWNER, change, index_labels, is_moment
from retrieval_bench.record import RunRecord
from retrieval_bench.stats import ALPHA, Difference, holm, latency_differences

ENCODER = "(encoder)"  # in the column `index`: exact search, so the encoder's own quality
COLUMNS = (
    *("stage", "index", "effort", "k", "metric", "a", "b", "difference", "lo", "hi"),
    *("p", "p_holm", "detectable", "n", "verdict"),
)
_POINT = ["index", "index_params", "effort", "k"]
NO_EFFORT = -1
_KEYS = {"stage", *_POINT, "build_seed", "pass", "query_id", "ns", OWNER}
COSTS = ("index_bytes", "build_s", "peak_rss_bytes")
_MACHINE = ("cpu", "cores", "system")
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Side:
    """One stage of one run: its record, and its rows of `queries.parquet`."""

    record: RunRecord
    stage: str
    queries: pd.DataFrame

    @cached_property
    def quality(self) -> pd.DataFrame:
        return self.queries[self.queries["pass"] == -1]

    @cached_property
    def indexes(self) -> set[str]:
        return set(self.quality["index"])

    @property
    def moments(self) -> bool:
        """Whether queries are windows."""
        return OWNER in self.quality

    @cached_property
    def owners(self) -> pd.Series[Any]:
        """Query id → what it belongs to: the moment query of a window, else itself."""
        known = self.quality.drop_duplicates("query_id").set_index("query_id", drop=False)
        return known[OWNER].fillna(known["query_id"]) if self.moments else known["query_id"]

    @cached_property
    def points(self) -> dict[tuple[Any, ...], pd.DataFrame]:
        """Rows of each operating point, all build seeds and passes."""
        return {point: rows for point, rows in self.queries.groupby(_POINT)}  # noqa: C416 - dict() would take .keys()


def compare(
    a: str | Path | RunRecord,
    b: str | Path | RunRecord,
    stage_a: str | None = None,
    stage_b: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """What changed from run a to run b: every operating point that both have, and the encoders alone.

    Args:
        a, b: folders of finished runs, or their records; both may be the same.
        stage_a, stage_b: compare this stage of a with this of b; by default every stage with itself.
        seed: of the bootstraps.

    Returns:
        One row a comparison, columns COLUMNS: difference = b − a, a mean over build seeds paired over query ids, with
        its 95 % interval lo and hi (queries and seeds); p_holm, encoder and indexes apart; detectable at 80 %; n; ms.
        `.attrs`: run_a, run_b, comparisons, differs and machine_differs (key → [a's, b's]), not_compared (indexes),
        costs (of each stage and index, COSTS → [a's, b's]).

    Raises:
        UnlikeProtocols: protocol, data or query ids differ; names each difference with both values.
        BadConfig: not a finished run, or no stage in common.
    """
    records = _record(a), _record(b)
    _refuse_unlike(*records)
    differs = differences(*(science(record.config) for record in records))
    rows, costs, alone = list[Row](), list[Row](), set[str]()
    for left, right in _sides(*records, stage_a, stage_b):
        differs |= differences(*(stage_settings(side.record, side.stage) for side in (left, right)))
        found = list(_stage_rows(left, right, seed))
        matched = {row["index"].partition(" (")[0] for row in found}
        alone |= {f"{side.stage}: {index}" for side in (left, right) for index in side.indexes - matched}
        rows += found
        costs += _costs(left, right)
    machine = differences(*({key: r.environment.get(key) for key in _MACHINE} for r in records))
    table = judged(rows, bool(machine))
    table.attrs = {"run_a": records[0].run_id, "run_b": records[1].run_id, "comparisons": len(table)}
    table.attrs |= {"differs": differs, "machine_differs": machine, "not_compared": sorted(alone), "costs": costs}
    return table


def _stage_rows(a: _Side, b: _Side, seed: int) -> Iterator[Row]:
    _refuse_other_queries(a, b)
    yield from _encoder_rows(a, b, seed)
    for key, point_a, point_b in _matches(a, b):
        yield from _point_rows(key, (a.points[point_a], b.points[point_b]), a.owners, seed)


def _record(run: str | Path | RunRecord) -> RunRecord:
    return run if isinstance(run, RunRecord) else RunRecord.load(Path(run))


def _refuse_unlike(a: RunRecord, b: RunRecord) -> None:
    unlike = differences(*({"data_fingerprint": r.data_fingerprint, **flattened(r.protocol)} for r in (a, b)))
    if unlike:
        lines = "; ".join(f"{key}: {left!r} and {right!r}" for key, (left, right) in unlike.items())
        raise UnlikeProtocols(
            f"runs {a.run_id} and {b.run_id} were measured under different protocols: {lines}."
            " Run one of them again with the other's settings"
        )


def _refuse_other_queries(a: _Side, b: _Side) -> None:
    ids_a, ids_b = (np.unique(side.quality["query_id"].to_numpy()) for side in (a, b))
    only_a, only_b = np.setdiff1d(ids_a, ids_b), np.setdiff1d(ids_b, ids_a)
    if len(only_a) or len(only_b):
        raise UnlikeProtocols(
            f"the queries differ: {len(only_a)} of {len(ids_a)} only in {a.record.run_id} {only_a[:3].tolist()},"
            f" {len(only_b)} of {len(ids_b)} only in {b.record.run_id} {only_b[:3].tolist()}."
            " Look into both `unreadable.csv`, or run one of them again"
        )


def _sides(a: RunRecord, b: RunRecord, stage_a: str | None, stage_b: str | None) -> Iterator[tuple[_Side, _Side]]:
    queries_a, queries_b = _queries(a), _queries(b)
    have_a, have_b = ([str(s) for s in table["stage"].unique()] for table in (queries_a, queries_b))
    if stage_a is None and stage_b is None:
        pairs = [(stage, stage) for stage in have_a if stage in have_b]
    else:
        pairs = [(stage_a or str(stage_b), stage_b or str(stage_a))]
    if not pairs or pairs[0][0] not in have_a or pairs[0][1] not in have_b:
        raise BadConfig(
            f"run {a.run_id} has the stages {have_a}, run {b.run_id} has {have_b}; choose one of each:"
            f" compare(a, b, stage_a={have_a[0]!r}, stage_b={have_b[0]!r})"
        )
    for left, right in pairs:
        yield (
            _Side(a, left, queries_a[queries_a["stage"] == left]),
            _Side(b, right, queries_b[queries_b["stage"] == right]),
        )


def _queries(record: RunRecord) -> pd.DataFrame:
    file = record.folder / "queries.parquet"
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        again = f"type the command of that run again: it makes it anew from {record.folder / 'results'}"
        raise CorruptInput(f"{file} cannot be read: {error}; {again}, and measures nothing twice") from error
    return table.assign(effort=table["effort"].astype(float).fillna(NO_EFFORT).astype(int))


def _encoder_rows(a: _Side, b: _Side, seed: int) -> Iterator[Row]:
    """The `exact_` metrics: of neither index nor effort, so once a stage; those of moments once for each depth."""
    stage = a.stage if a.stage == b.stage else f"{a.stage} → {b.stage}"
    depths = sorted(set(a.quality["k"]) & set(b.quality["k"])) if a.moments and b.moments else []
    for k in (None, *depths):
        tables = [side.quality if k is None else side.quality[side.quality["k"] == k] for side in (a, b)]
        first_a, first_b = (table.groupby("query_id").first() for table in tables)
        for column in _metrics(first_a, first_b, "exact_"):
            name = column.removeprefix("exact_")
            if is_moment(name) == (k is not None):
                key = {"stage": stage, "index": ENCODER, "effort": None, "k": k, "metric": name}
                yield from _quality_row(key, (first_a[[column]].T, first_b[[column]].T), a.owners, seed)


def _metrics(a: pd.DataFrame, b: pd.DataFrame, prefix: str) -> list[str]:
    """Metric columns that both have; prefix "" leaves out what is not measured through the index."""
    columns = [str(c) for c in a.columns if c in b.columns and c not in _KEYS]
    if prefix:
        return [c for c in columns if c.startswith(prefix)]
    return [c for c in columns if not c.startswith(("exact_", "ann_loss_"))]


def _matches(a: _Side, b: _Side) -> Iterator[tuple[Row, tuple[Any, ...], tuple[Any, ...]]]:
    """Operating points that both have: same index, effort and k, and build parameters where one name has several."""
    points = [side.quality[_POINT].drop_duplicates() for side in (a, b)]
    stage = a.stage if a.stage == b.stage else f"{a.stage} → {b.stage}"
    for index in [i for i in points[0]["index"].unique() if i in b.indexes]:
        here = [p[p["index"] == index] for p in points]
        params = [set(p["index_params"]) for p in here]
        common = sorted(params[0] & params[1])
        pairs = [(p, p) for p in common] or [
            (p, q) for p in params[0] for q in params[1] if len(params[0] | params[1]) == 2
        ]
        for params_a, params_b in pairs:
            chosen = [p[p["index_params"] == q] for p, q in zip(here, (params_a, params_b), strict=True)]
            both = chosen[0].merge(chosen[1], on=["index", "effort", "k"])
            labels = index_labels((str(index), p) for p, _ in pairs)
            label = change(str(index), params_a, params_b) if params_a != params_b else labels[str(index), params_a]
            for effort, k in both[["effort", "k"]].itertuples(index=False):
                key = {"stage": stage, "index": label, "effort": None if effort == NO_EFFORT else effort, "k": k}
                yield key, (index, params_a, effort, k), (index, params_b, effort, k)


def _costs(a: _Side, b: _Side) -> list[Row]:
    """What each index that both have takes to build and keep: COSTS → [a's, b's], means over build seeds."""
    found: dict[str, Row] = {}
    for key, point_a, point_b in _matches(a, b):
        costs = [_cost(side, point[:2]) for side, point in ((a, point_a), (b, point_b))]
        pairs = {name: [cost[name] for cost in costs] for name in COSTS}
        found.setdefault(key["index"], {"stage": key["stage"], "index": key["index"], **pairs})
    return list(found.values())


def _cost(side: _Side, built: tuple[Any, ...]) -> dict[str, float | None]:
    """Means over build seeds; none where nothing is known."""
    rows = {
        row["build_seed"]: row
        for row in side.record.rows
        if (row["stage"], row["index"], row["index_params"]) == (side.stage, *built) and row["status"] == "ok"
    }
    values = {name: [row[name] for row in rows.values() if row.get(name) is not None] for name in COSTS}
    return {name: float(np.mean(given)) if given else None for name, given in values.items()}


def _point_rows(
    key: Row, tables: tuple[pd.DataFrame, pd.DataFrame], owners: pd.Series[Any], seed: int
) -> Iterator[Row]:
    quality = [t[t["pass"] == -1] for t in tables]
    for column in _metrics(quality[0], quality[1], ""):
        a, b = (t.pivot(index="build_seed", columns="query_id", values=column) for t in quality)
        yield from _quality_row(key | {"metric": column}, (a, b), owners, seed)
    times = [t[t["pass"] >= 0] for t in tables]
    if any(t.empty for t in times):
        return
    wide = [t.pivot(index=["build_seed", "pass"], columns="query_id", values="ns").dropna(axis=1) for t in times]
    timed = wide[0].columns.intersection(wide[1].columns)
    if len(timed) < 2:
        return
    nanoseconds = [w[timed].to_numpy(np.int64) for w in wide]
    for name, (value_a, value_b, found) in latency_differences(nanoseconds[0], nanoseconds[1], seed).items():
        yield key | {"metric": name, "a": value_a, "b": value_b} | _numbers(found)


def _quality_row(
    key: Row, tables: tuple[pd.DataFrame, pd.DataFrame], owners: pd.Series[Any], seed: int
) -> Iterator[Row]:
    """One row from values [seed, query] of a and b, or none where no query has all of them.

    A lone seed stands against each of the other side's; otherwise the first of both, as many as both have, are paired.
    """
    lengths = [len(t) for t in tables]
    both = min(lengths) if min(lengths) > 1 else max(lengths)
    a, b = tables[0].iloc[:both].align(tables[1].iloc[:both], join="inner", axis=1)
    one, two = (t.to_numpy(np.float64) for t in (a, b))
    known = ~(np.isnan(one).any(axis=0) | np.isnan(two).any(axis=0))
    if known.any():
        one, two, owner = one[:, known], two[:, known], owners[a.columns[known]].to_numpy(np.int64)
        found = cluster_paired(two - one, owner, seed)
        yield key | {"a": float(one.mean()), "b": float(two.mean())} | _numbers(found)


def _numbers(found: Difference) -> Row:
    names = ("lo", "hi", "p", "detectable", "n")
    return {"difference": found.value} | {name: getattr(found, name) for name in names}


def judged(rows: list[Row], other_machine: bool) -> pd.DataFrame:
    """The rows as a table, with p_holm and a verdict in words."""
    table = pd.DataFrame(rows, columns=[c for c in COLUMNS if c not in {"p_holm", "verdict"}])
    corrected, p = np.empty(len(table)), table["p"].to_numpy(np.float64)
    encoder = (table["index"] == ENCODER).to_numpy(bool)
    for family in (encoder, ~encoder):  # two questions: many indexes would drown what the few of the encoder say
        corrected[family] = holm(p[family])
    latency = table["metric"].astype(str).str.startswith("latency_").to_numpy(bool)
    gain = table["difference"].to_numpy(np.float64) * np.where(latency, -1, 1)
    verdict = np.where(gain > 0, "b better", "a better").astype(object)
    verdict[~(corrected < ALPHA)] = "no difference found"
    verdict[np.isnan(corrected)] = "too few queries"
    if other_machine:
        verdict[latency] = "not comparable: other machine"
    whole = {name: table[name].astype("Int64") for name in ("effort", "k", "n")}
    return table.assign(p_holm=corrected, verdict=verdict, **whole)[list(COLUMNS)]
