"""Finished runs on the disk: found, read, and their points as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval_bench.errors import BadConfig, CorruptInput, UnlikeProtocols
from retrieval_bench.naming import with_parts
from retrieval_bench.record import RunRecord, digest
from retrieval_bench.seeds import paired_seeds, t_interval

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
    files = {file.resolve(): file for folder in folders for file in sorted(folder.glob("**/record.json"))}
    for file in files.values():
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
        seed = record.seeds.get("run", record.config.get("seed"))
        science = {key: node if key == "data" else _without(seed, node)  # the data's own seed is not the run's
                   for key, node in record.config.items() if key not in _NOT_OF_A_GROUP}  # fmt: skip
        science |= {"measure": {k: v for k, v in (record.config.get("measure") or {}).items() if k != "build_seeds"}}
        groups.setdefault(digest(record.protocol, record.data_fingerprint, science), []).append(record)
    return [sorted(group, key=lambda record: int(record.seeds.get("run", 0))) for group in groups.values()]


def _without(seed: Any, node: Any) -> Any:
    """A part of a configuration without the run's seed, which it takes from there (`seed: ${seed}`)."""
    if isinstance(node, Mapping):
        return {key: _without(seed, value) for key, value in node.items() if key != "seed" or value != seed}
    return [_without(seed, value) for value in node] if isinstance(node, list) else node


def one_a_seed(group: Sequence[RunRecord]) -> list[RunRecord]:
    """The first run of each seed: a copy of a run, or the same run under another name, is no second sample."""
    return list({str(record.seeds.get("run")): record for record in reversed(group)}.values())[::-1]


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


def seed_differences(
    a: Sequence[RunRecord], b: Sequence[RunRecord], metrics: Sequence[str], seed: int = 0
) -> pd.DataFrame:
    """What changed from an encoder a to an encoder b, by exact search: b − a, paired over training seeds and queries.

    Args:
        a, b: a run a seed, in the same order; the last stage of each counts.
        metrics: such as hit_rate@1. seed: of the bootstrap.

    Returns:
        One row a metric: means a and b, difference with its 95 % interval lo and hi (seeds and queries), p, seeds, n.

    Raises:
        ValueError: not as many runs on both sides. UnlikeProtocols: the queries of two runs differ.
    """
    import pandas as pd

    rows = []
    for metric in metrics:
        pairs = [(_by_query(one, metric), _by_query(other, metric)) for one, other in zip(a, b, strict=True)]
        ids = pairs[0][0].index
        if any(not side.index.equals(ids) for pair in pairs for side in pair):
            raise UnlikeProtocols(f"{metric}: the runs have other queries, so they cannot be paired; run them again")
        before, after = (np.stack([pair[side].to_numpy(np.float64) for pair in pairs]) for side in (0, 1))
        found = paired_seeds(after - before, seed)
        row = {"metric": metric, "seeds": len(pairs), "n": found.n}
        row |= {"a": float(np.nanmean(before)), "b": float(np.nanmean(after)), "difference": found.value}
        rows.append(row | {"lo": found.lo, "hi": found.hi, "p": found.p})
    return pd.DataFrame(rows)


def _by_query(record: RunRecord, metric: str) -> pd.Series:
    """Of a run's last stage: query id → metric by exact search, sorted."""
    import pandas as pd

    table = pd.read_parquet(record.folder / "queries.parquet")
    table = table[(table["stage"] == list(record.stages)[-1]) & (table["pass"] == -1)]
    return table.groupby("query_id")[f"exact_{metric}"].first().sort_index()
