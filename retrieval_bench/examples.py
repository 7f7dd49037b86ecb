"""Queries to look at: the best, the worst, and those that an index loses, with pictures, kept beside the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval_bench._thumbnails import Thumbnails
from retrieval_bench.data.base import Dataset, Items, MomentDataset
from retrieval_bench.experiment import Experiment
from retrieval_bench.moment_examples import moment_examples
from retrieval_bench.points import Exact, Stage
from retrieval_bench.record import write_json
from retrieval_bench.truth import judge_ids

FOLDER = "examples"  # in a run's folder: a file a stage
SCHEMA = 1
SHOWN = 8  # neighbours of a query
EACH = 3  # queries of a kind
LEAST_RECALL = 0.5  # ann_recall of the index that is shown beside exact search, if one has it
JUDGES = ("map_at_r", "r_precision", "average_precision")  # what queries are ordered by, the first that there is
POINT = ("index", "index_params", "build_seed", "effort", "k")

Rows = Sequence[Mapping[str, Any]]


def write_examples(
    experiment: Experiment, stage: Stage, exact: Exact, rows: Rows, *, found: Mapping[str, pd.DataFrame], run: Path
) -> None:
    """Keep some queries of a stage with their neighbours and small pictures in the run's folder.

    Nothing is written where items have no pictures or nothing is known of relevance.

    Args:
        rows: of `points`. found: tables `neighbours` and `moments` of this stage.
    """
    data, file = experiment.data, run / FOLDER / f"{stage.name}.json"
    if not isinstance(data, Dataset) or stage.truth is None:
        return
    beside = shown_beside(rows)
    if isinstance(data, MomentDataset):
        points = {"exact": _exact_row(rows), "index": beside}
        lists = {name: of_point(found["moments"], row) for name, row in points.items() if row is not None}
        told = moment_examples(data, stage, lists)
    elif exact.relevant is None:
        return
    else:
        told = _examples(data, stage, exact, beside, found["neighbours"])
    if told:
        write_json(file, {"schema": SCHEMA, "stage": stage.name, "index": point_name(beside)} | told)


def shown_beside(rows: Rows) -> Mapping[str, Any] | None:
    """The operating point that is shown beside exact search: the fastest that finds half of the neighbours or more.

    Where none does, the fastest of all; none where nothing but exact search worked.
    """
    able = [row for row in rows if row["status"] == "ok" and row["half"] == "all" and row["index"] != "null"]
    able = [row for row in able if not row.get("exact") and not row.get("functional")]

    def place(row: Mapping[str, Any]) -> tuple[bool, float]:
        recall, cost = (row.get(name) for name in ("ann_recall", "latency_p50_ms"))
        return not (recall is not None and recall >= LEAST_RECALL), inf if cost is None or np.isnan(cost) else cost

    return min(able, key=place, default=None)


def point_name(row: Mapping[str, Any] | None) -> str | None:
    """An operating point in words."""
    if row is None:
        return None
    effort = row.get("effort")
    return str(row["index"]) + (f" {row['knob']} {effort:g}" if effort is not None and row.get("knob") else "")


def _exact_row(rows: Rows) -> Mapping[str, Any] | None:
    return next((row for row in rows if row["status"] == "ok" and row["half"] == "all" and row.get("exact")), None)


def of_point(table: pd.DataFrame, row: Mapping[str, Any]) -> pd.DataFrame:
    """The lines of a table that are of this operating point."""
    mask = np.ones(len(table), np.bool_)
    for column in POINT:
        value = row[column]
        mask &= (table[column].isna() if value is None else table[column] == value).to_numpy()
    return table[mask]


@dataclass(frozen=True, eq=False)
class _Lists:
    """Lists of all queries [q, SHOWN at most], and which answers are right."""

    ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]


def _examples(
    data: Dataset, stage: Stage, exact: Exact, beside: Mapping[str, Any] | None, neighbours: pd.DataFrame
) -> dict[str, Any]:
    name = next((n for n in JUDGES if n in exact.values), next(iter(exact.values)))
    lists = {"exact": _lists(stage, exact.neighbours.ids, exact.scores)}
    if beside is not None:
        own = of_point(neighbours, beside)
        lists["index"] = _lists(stage, np.stack(own["ids"].to_list()), np.stack(own["scores"].to_list()))
    pictures = Thumbnails(data)
    sides: dict[str, Items] = {"query": data.queries(), "gallery": data.gallery()}
    labels = stage.truth.query_labels if stage.truth is not None else None
    queries = []
    for kind, row in _chosen(exact.values[name], lists, labels):
        told: dict[str, Any] = {"kind": kind, "value": float(exact.values[name][row])}
        told["item"] = pictures.told(sides["query"], int(stage.queries.ids[row]))
        told["lists"] = {
            which: [
                pictures.told(sides["gallery"], int(item)) | {"score": float(score), "right": bool(hit)}
                for item, score, hit in zip(found.ids[row], found.scores[row], found.hits[row], strict=True)
                if item >= 0
            ]
            for which, found in lists.items()
        }
        queries.append(told)
    return {"metric": name, "queries": queries, "strips": "image" not in data.inputs, "pictures": pictures.kept}


def _lists(stage: Stage, ids: NDArray[np.int64], scores: NDArray[Any]) -> _Lists:
    if stage.truth is None:
        raise ValueError("nothing is known of relevance")
    ids, near = ids[:, :SHOWN], np.asarray(scores[:, :SHOWN], np.float64)
    return _Lists(ids, near, judge_ids(ids, stage.truth).hits)


def _chosen(
    values: NDArray[np.float64], lists: Mapping[str, _Lists], labels: NDArray[np.int64] | None
) -> list[tuple[str, int]]:
    """(kind, row of the query): of every kind some, each of another class while there are others."""
    known = np.flatnonzero(np.isfinite(values))
    right = lists["exact"].hits.sum(axis=1)
    orders = {"best": known[np.argsort(-values[known], kind="stable")]}
    orders["worst"] = known[np.lexsort((right[known], values[known]))]
    if "index" in lists:
        lost = right - lists["index"].hits.sum(axis=1)
        orders["lost"] = known[np.argsort(-lost[known], kind="stable")]
        orders["lost"] = orders["lost"][lost[orders["lost"]] > 0]
    chosen: list[tuple[str, int]] = []
    taken: set[int] = set()
    for kind, order in orders.items():
        free = [int(row) for row in order if int(row) not in taken]
        if labels is not None:
            firsts = list({int(labels[row]): row for row in reversed(free[: 50 * EACH])}.values())
            free = sorted(firsts, key=free.index) + [row for row in free if row not in set(firsts)]
        taken.update(free[:EACH])
        chosen += [(kind, row) for row in free[:EACH]]
    return chosen
