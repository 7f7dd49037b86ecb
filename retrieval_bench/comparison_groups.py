"""Two groups of runs, each over several seeds: paired over query ids within a seed, Student's interval across."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr

from retrieval_bench.comparison import COLUMNS, compare, judged
from retrieval_bench.errors import BadConfig, UnlikeProtocols
from retrieval_bench.record import RunRecord
from retrieval_bench.runs import found_runs, seed_groups
from retrieval_bench.seeds import t_interval
from retrieval_bench.stats import reach

_KEY = ["stage", "index", "effort", "k", "metric"]
Row = dict[str, Any]


def compare_any(a: Path, b: Path, stage_a: str | None = None, stage_b: str | None = None) -> pd.DataFrame:
    """Compare two runs, or two folders with several runs that differ in their seed alone; as `compare` returns it.

    Raises:
        UnlikeProtocols: the runs of a seed differ in protocol, data or query ids; the seeds are not those of the other.
        BadConfig: a folder holds no run, or runs that differ in more than their seed.
    """
    left, right = _runs(a), _runs(b)
    if len(left) == len(right) == 1:
        return compare(next(iter(left.values())), next(iter(right.values())), stage_a, stage_b)
    return compare_groups(left, right, stage_a, stage_b)


def compare_groups(
    a: Mapping[int, RunRecord],
    b: Mapping[int, RunRecord],
    stage_a: str | None = None,
    stage_b: str | None = None,
) -> pd.DataFrame:
    """What changed from group a to group b, seed by seed.

    Args:
        a, b: seed → run. Seeds that only one side has are left out and named in `.attrs["not_compared"]`.

    Returns:
        As `compare`. Within a seed, b − a is the mean over the queries that both runs have; value, interval and p are
        Student's over these differences, which are independent where queries are not. n is the number of seeds.

    Raises:
        UnlikeProtocols: fewer than two seeds in common, or the runs of one differ in protocol, data or query ids.
    """
    seeds = sorted(set(a) & set(b))
    if len(seeds) < 2:
        raise UnlikeProtocols(
            f"the groups have the seeds {sorted(a)} and {sorted(b)}: two in common are needed, so that runs of one seed"
            " can be paired; type retrieval-bench compare with one run of each, or run the missing seeds"
        )
    tables = [compare(a[seed], b[seed], stage_a, stage_b) for seed in seeds]
    points = _by_point(tables)
    rows = [_over(key, group) for key, group in points if len(group) == len(seeds)]
    some = {f"{key['index']} ({key['stage']}), not of every seed" for key, group in points if len(group) < len(seeds)}
    found = judged(rows, any(table.attrs["machine_differs"] for table in tables))[list(COLUMNS)]
    found.attrs = dict(tables[0].attrs) | {"comparisons": len(found), "seeds": seeds, **_told(tables)}
    found.attrs["run_a"], found.attrs["run_b"] = (f"{len(seeds)} seeds of {side[seeds[0]].run_id}" for side in (a, b))
    alone = [f"seed {seed}" for seed in sorted(set(a) ^ set(b))]
    found.attrs["not_compared"] = sorted(
        {*alone, *some, *(name for table in tables for name in table.attrs["not_compared"])}
    )
    return found


def _told(tables: list[pd.DataFrame]) -> dict[str, Any]:
    """What the comparisons of all seeds say beside their rows: any difference between runs, and mean costs."""
    differs: dict[str, Any] = {}
    machines: dict[str, Any] = {}
    for table in reversed(tables):
        differs |= table.attrs["differs"]
        machines |= table.attrs["machine_differs"]
    costs: dict[tuple[str, str], list[Row]] = {}
    for row in (row for table in tables for row in table.attrs["costs"]):
        costs.setdefault((row["stage"], row["index"]), []).append(row)
    return {
        "differs": differs,
        "machine_differs": machines,
        "costs": [_mean_costs(rows) for rows in costs.values()],
    }


def _mean_costs(rows: list[Row]) -> Row:
    pairs = {name: [row[name] for row in rows] for name, value in rows[0].items() if isinstance(value, list)}
    means = {name: np.mean(np.asarray(values, np.float64), axis=0).tolist() for name, values in pairs.items()}
    return rows[0] | means


def _by_point(tables: list[pd.DataFrame]) -> list[tuple[Row, pd.DataFrame]]:
    every = pd.concat([table.astype({"effort": float, "k": float}) for table in tables], ignore_index=True)
    return [
        (dict(zip(_KEY, names, strict=True)), group) for names, group in every.groupby(_KEY, dropna=False, sort=False)
    ]


def _over(key: Row, group: pd.DataFrame) -> Row:
    """One row of a comparison from one of each seed."""
    differences = group["difference"].to_numpy(np.float64)
    found, n = t_interval(differences), len(differences)
    error = float(differences.std(ddof=1) / np.sqrt(n))
    p = float(2 * stdtr(n - 1, -abs(found.value) / error)) if error > 0 else float(found.value == 0)
    if group["p"].isna().any() or not np.isfinite(differences).all():  # a seed cannot be judged, so the group cannot
        p = float("nan")
    whole = {name: None if pd.isna(key[name]) else int(key[name]) for name in ("effort", "k")}
    numbers = {"difference": found.value, "lo": found.lo, "hi": found.hi, "p": p, "n": n}
    means = {side: float(group[side].mean()) for side in ("a", "b")}
    return key | whole | means | numbers | {"detectable": reach(n - 1) * error}


def _runs(folder: Path) -> dict[int, RunRecord]:
    """The runs of a group by their seed; one run where the folder is one."""
    if (folder / "record.json").exists():
        records = [RunRecord.load(folder)]
    else:
        records, _ = found_runs([folder]) if folder.is_dir() else ([RunRecord.load(folder)], [])
    groups = seed_groups(records)
    runs = {int(record.seeds.get("run", 0)): record for record in records}
    if len(groups) > 1 or len(runs) < len(records):
        told = "; ".join(", ".join(str(record.folder) for record in group) for group in groups)
        raise BadConfig(
            f"the runs below {folder} differ in more than their seed: {told}. Name one run, or keep each group in a"
            " folder of its own: run them with name=GROUP"
        )
    return runs
