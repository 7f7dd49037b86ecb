"""Finished runs on the disk: found, read, and their points as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.naming import with_parts
from retrieval_bench.record import RunRecord, digest
from retrieval_bench.seeds import t_interval

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("stage", "index", "effort", "k")
_NOT_OF_A_GROUP = ("seed", "search", "name", "paths", "force", "strict", "allow", "logger", "measure")


def found_runs(folders: Sequence[Path]) -> tuple[list[RunRecord], list[str]]:
    """Finished runs in or below these folders, each once, in order; and why others cannot be read.

    Raises:
        BadConfig: there is none.
    """
    records, skipped = [], []
    files = dict.fromkeys(file for folder in folders for file in sorted(folder.glob("**/record.json")))
    for file in files:
        try:
            records.append(RunRecord.load(file.parent))
        except CorruptInput as error:
            skipped.append(str(error))
    if not records:
        below = ", ".join(map(str, folders))
        raise BadConfig(f"no finished run below {below}{'; skipped: ' + '; '.join(skipped) if skipped else ''}")
    return records, skipped


def load_runs(folder: str | Path) -> pd.DataFrame:
    """The points of every finished run below a folder, one row each, with its folder in `run`.

    `encoder`, `dim`, `loss` and `head` tell a sweep over them apart; the last two are none for stages that were not
    trained.

    Raises:
        BadConfig: there is none. Runs that cannot be read are listed in `.attrs["skipped"]`.
    """
    import pandas as pd

    records, skipped = found_runs([Path(folder)])
    tables = [
        pd.DataFrame(with_parts(record.config, record.rows)).assign(run=str(record.folder), name=record.name)
        for record in records
    ]
    table = pd.concat(tables, ignore_index=True)
    table.attrs["skipped"] = skipped
    return table


def seed_groups(records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Runs that differ in their `seed` alone, together and by rising seed; groups in the order of their first runs.

    Which indexes were measured does not tell runs apart: a sweep that was cut short has measured fewer with one seed.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        science = {key: node for key, node in record.config.items() if key not in _NOT_OF_A_GROUP}
        science |= {"measure": {k: v for k, v in (record.config.get("measure") or {}).items() if k != "build_seeds"}}
        groups.setdefault(digest(record.protocol, record.data_fingerprint, science), []).append(record)
    return [sorted(group, key=lambda record: int(record.seeds.get("run", 0))) for group in groups.values()]


def over_seeds(points: pd.DataFrame, metrics: Sequence[str], keys: Sequence[str] = KEYS) -> pd.DataFrame:
    """One row a stage, index, effort and depth: how many training seeds, and mean and 95 % t-interval of each metric.

    Args:
        points: of runs that differ in `seed` alone, one row a run and point.
        keys: columns that tell points apart, where others do.
    """
    import pandas as pd

    if "half" in points:
        points = points[(points["half"] == "all") & (points["index"] != "null")]
    rows = []
    for names, group in points.groupby(list(keys), dropna=False, sort=False):
        row: dict[str, Any] = dict(zip(keys, names, strict=True)) | {"seeds": len(group)}
        for metric in metrics:
            found = t_interval(group[metric].to_numpy())
            row |= {metric: found.value, f"{metric}_lo": found.lo, f"{metric}_hi": found.hi}
        rows.append(row)
    return pd.DataFrame(rows)
