"""A run whose record or tables were damaged: what still lies beside them, so that they can be made anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from retrieval_bench.errors import DamagedRecord
from retrieval_bench.record import RunRecord

_TABLES = ("points", "queries", "neighbours")


def recorded(folder: Path, say: Callable[[str], None]) -> tuple[RunRecord | None, bool]:
    """The record of a run folder, if it has one, and whether it or a table beside it was damaged.

    A damaged record is kept as `record.json.broken`. In its place comes what `config.yaml` and `points.parquet` tell:
    enough for `run` to make it anew from `results/`, and to keep the rows of indexes that the command does not name.
    Where `queries` or `neighbours` cannot be read, no row is kept: an index comes back with all its rows, or not yet.

    Raises:
        CorruptInput: the record is of another schema.
    """
    file = folder / "record.json"
    if not file.exists():
        return None, False
    try:
        record = RunRecord.load(folder)
    except DamagedRecord:
        broken = file.with_name("record.json.broken")
        shutil.copyfile(file, broken)  # the damaged one goes when its successor is whole
        say(f"{file} was damaged: making it anew from {folder / 'results'}; the old one is kept as {broken.name}")
        return _told_by(_remembered(folder), _broken(folder)), True
    broken_tables = _broken(folder)
    if broken_tables:
        names = ", ".join(f"{name}.parquet" for name in broken_tables)
        say(f"damaged or missing in {folder}: {names}; making the tables anew from {folder / 'results'}")
    return _told_by(record, broken_tables), bool(broken_tables)


def _broken(folder: Path) -> list[str]:
    """Tables of a run that are missing or cut off; a footer is the last thing that is written, so it tells."""
    import pyarrow as pa
    from pyarrow.parquet import read_metadata

    broken = []
    for name in _TABLES:
        try:
            read_metadata(folder / f"{name}.parquet")
        except (OSError, pa.ArrowException):
            broken.append(name)
    return broken


def _told_by(record: RunRecord | None, broken: list[str]) -> RunRecord | None:
    """The record without rows that a broken table cannot back: they would never be made anew."""
    return replace(record, rows=[]) if record is not None and {*broken} - {"points"} else record


def _remembered(folder: Path) -> RunRecord | None:
    """Configuration and rows of a run as its other files have them, or none."""
    points = readable(folder / "points.parquet")
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        config = None
    if points is None or not {"stage", "index", "half", "status"} <= {*points} or not isinstance(config, dict):
        return None
    rows = [_row(row) for row in points.astype(object).where(points.notna(), None).to_dict("records")]
    return RunRecord(folder.name, str(config.get("name")), config, {}, "", {}, {}, {}, rows, folder=folder)


def _row(row: dict[Any, Any]) -> dict[str, Any]:
    """As JSON has it: whole numbers are whole, though a column with gaps holds floats."""
    whole = ("effort", "k", "index_bytes", "peak_rss_bytes", "batch_threads")
    return {str(k): int(v) if k in whole and v is not None else v for k, v in row.items()}


def readable(file: Path) -> pd.DataFrame | None:
    """A table of a run, or none if it is missing or damaged; then it is made anew."""
    import pyarrow as pa

    try:
        return pd.read_parquet(file)
    except (OSError, pa.ArrowInvalid):
        return None
