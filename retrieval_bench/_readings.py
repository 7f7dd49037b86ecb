"""The numbers of a record as trackers take them: curves, under names that all of them accept.

MLflow allows letters, digits and `_ - . /` and a space, the others more: so `hit_rate@10` is `hit_rate_at_10` in all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, cast

import pandas as pd

from retrieval_bench.naming import index_labels
from retrieval_bench.record import RunRecord

# Numbers of a point that are no result of its effort; `encoder/…` and the table have them.
_GIVEN = frozenset(
    {"dim", "n_gallery", "n_queries", "effort", "build_seed", "k", "threads", "build_threads", "encode_ms"}
    | {"clients", "client_seconds", "latency_queries", "passes"}
)
_INTERVAL = ("_lo", "_hi")
_EXACT = "exact_"


@dataclass(frozen=True)
class Reading:
    """Numbers that belong to one step."""

    step: int
    values: dict[str, float]


def readings(record: RunRecord) -> list[Reading]:
    """Training curves, what the encoder reaches without an index, and every operating point; see `track`."""
    return [*_training(record), Reading(0, encoder_values(record)), *_points(record.points)]


def encoder_values(record: RunRecord) -> dict[str, float]:
    """The encoder's own quality, by exact search: `encoder/<stage>/<metric>`. One number each, to compare runs by."""
    points, found = record.points, {}
    for column in [c for c in points.columns if str(c).startswith(_EXACT) and not str(c).endswith(_INTERVAL)]:
        for stage, group in points[_whole(points)].groupby("stage", sort=False):
            known = pd.to_numeric(group[column], errors="coerce").dropna()
            if len(known):
                metric = name_of(str(column).removeprefix(_EXACT))
                found[f"encoder/{name_of(str(stage))}/{metric}"] = float(known.iloc[-1])
    return found


def name_of(text: str) -> str:
    """A name, or a part of one, that every tracker accepts.

    >>> name_of("hit_rate@10"), name_of("hnsw (m=16)"), name_of("ivf")
    ('hit_rate_at_10', 'hnsw_m_16', 'ivf')
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text.replace("@", "_at_")).strip("_")


def _training(record: RunRecord) -> Iterator[Reading]:
    for facts in record.stages.values():
        for row in (facts.get("training") or {}).get("history") or ():
            values = {f"training/{name_of(key)}": v for key, v in _numbers(row).items() if key != "epoch"}
            if values and row.get("epoch") is not None:
                yield Reading(int(row["epoch"]), values)


def _points(points: pd.DataFrame) -> Iterator[Reading]:
    """By index and depth, each curve in the order of its efforts; build seeds are averaged."""
    if not len(points):
        return
    measured = points[_whole(points) & (points["status"] == "ok") & (points["index"] != "null")]
    labels = index_labels(dict.fromkeys(zip(measured["index"], measured["index_params"], strict=True)))
    columns = [c for c in measured.columns if c not in _GIVEN and not str(c).startswith(_EXACT)]
    columns = [c for c in columns if not str(c).endswith(_INTERVAL) and not pd.api.types.is_bool_dtype(measured[c])]
    keys = ["stage", "index", "index_params", "k", "effort"]
    for key, group in measured.sort_values("effort", kind="stable").groupby(keys, sort=False, dropna=False):
        stage, index, params, k, effort = cast("tuple[Any, ...]", key)
        numbers = group[columns].apply(pd.to_numeric, errors="coerce").mean()
        place = f"points/{name_of(str(stage))}/{name_of(labels[index, params])}"
        place += "" if pd.isna(k) else f"/k{int(k)}"
        values = {f"{place}/{name_of(name)}": value for name, value in _numbers(numbers.to_dict()).items()}
        if values:
            yield Reading(0 if pd.isna(effort) else int(effort), values)


def _whole(points: pd.DataFrame) -> pd.Series[bool]:
    """Rows over all queries, not over a half of them."""
    return points["half"] == "all"


def _numbers(row: Mapping[Any, Any]) -> dict[str, float]:
    """The finite numbers of a row."""
    found = {str(k): v for k, v in row.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {key: float(value) for key, value in found.items() if isfinite(value)}
