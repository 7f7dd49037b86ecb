"""What an earlier command left in a run's folder, beside what this one measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from retrieval_bench.record import RunRecord, write_parquet
from retrieval_bench.salvage import readable
from retrieval_bench.wanted import CHOICE, merged

POINT = ["stage", "index", "index_params", "effort", "build_seed"]
_CROSSING = ("target", "index", "index_params")


def kept_rows(old: RunRecord, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of an earlier command that are not measured anew; a failure goes when its index is tried again."""
    mine, again = {point(row) for row in rows}, {point(row)[:3] for row in rows}
    stale = [row["status"] == "failed" and point(row)[:3] in again for row in old.rows]
    return [row for row, gone in zip(old.rows, stale, strict=True) if not gone and point(row) not in mine]


def keep_choices(old: RunRecord, stages: Mapping[str, dict[str, Any]]) -> None:
    """Add what earlier targets led to."""
    for stage, facts in stages.items():
        before = old.stages.get(stage, {})
        for name, keys in (("choices", CHOICE), ("break_even", _CROSSING)):
            facts[name] = merged(before.get(name, []), facts[name], keys)


def add(file: Path, parts: Sequence[pd.DataFrame], keys: list[str], mine: set[tuple[Any, ...]], go_on: bool) -> None:
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


def point(row: Mapping[Any, Any]) -> tuple[Any, ...]:
    """What tells the operating points of a run apart, depth k aside: it is the same for all."""
    return tuple(None if pd.isna(row[column]) else row[column] for column in POINT)
