"""Two runs over moments beside each other: windows of one query are one pair, moments are compared at every depth."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from retrieval_bench._clusters import cluster_columns, cluster_paired
from retrieval_bench.comparison import ENCODER, compare
from retrieval_bench.naming import OWNER
from retrieval_bench.record import RunRecord, write_json, write_parquet
from retrieval_bench.report.comparison import render_comparison
from retrieval_bench.seeds import paired_seeds
from retrieval_bench.stats import paired_p

QUERIES, WINDOWS = 30, 12  # windows of a query
ASKED = np.arange(QUERIES) * 11 + 2**60
IDS = np.arange(QUERIES * WINDOWS) * 7 + 2**61
OWNERS = np.repeat(ASKED, WINDOWS)


def written(folder: Path, seed: int) -> Path:
    """A run in which windows of one query are all found or all not, and moments better found at depth 20."""
    rng = np.random.default_rng(seed)
    found = (rng.random(QUERIES) < 0.6).astype(float)
    tables = []
    for k, better in ((10, 0.0), (20, 1.0)):
        key = {"stage": "random", "index": "exact", "index_params": "{}", "build_seed": 0, "effort": None, "k": k}
        windows = {"query_id": IDS, OWNER: pd.array(OWNERS, "Int64"), "ann_recall": 1.0}
        windows |= {"hit_rate@1": np.repeat(found, WINDOWS), "exact_hit_rate@1": np.repeat(found, WINDOWS)}
        moments = {"query_id": ASKED, OWNER: pd.array(ASKED, "Int64")}
        moments |= {f"{name}video_hit_rate@1": np.maximum(found, better) for name in ("", "exact_")}
        times = {"query_id": ASKED[:5], "ns": np.arange(5) + 1000}
        tables += [pd.DataFrame(part).assign(**key, **{"pass": -1}) for part in (windows, moments)]
        tables.append(pd.DataFrame(times).assign(**key, **{"pass": 0}))
    values: dict[str, Any] = {"run_id": folder.name, "name": "test", "config": {}, "protocol": {"k": [10, 20]}}
    values |= {"data_fingerprint": "f", "environment": {}, "seeds": {}, "stages": {"random": {}}, "rows": []}
    write_parquet(folder / "queries.parquet", pd.concat(tables, ignore_index=True))
    write_json(folder / "record.json", RunRecord(**values).to_json())
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("runs")
    return compare(written(folder / "a", 1), written(folder / "b", 2))


def test_windows_of_a_query_are_one_pair(table: pd.DataFrame) -> None:
    one, two = ((np.random.default_rng(seed).random(QUERIES) < 0.6).astype(float) for seed in (1, 2))
    rows = table[table["metric"] == "hit_rate@1"]
    assert len(rows) == 3 and rows["n"].tolist() == [QUERIES] * 3, "of the encoder once, of the index at each depth"
    assert rows["p"].to_numpy() == pytest.approx(paired_p(two - one)), "as if each query had one window"
    assert rows["difference"].to_numpy() == pytest.approx((two - one).mean())
    bounds = cluster_columns({"x": np.repeat(two - one, WINDOWS)}, OWNERS, 0)["x"]
    assert rows[["lo", "hi"]].to_numpy() == pytest.approx(np.array([[bounds.lo, bounds.hi]] * 3))


def test_moments_by_exact_lists_are_compared_at_every_depth(table: pd.DataFrame) -> None:
    rows = table[(table["index"] == ENCODER) & (table["metric"] == "video_hit_rate@1")]
    assert rows["k"].tolist() == [10, 20] and rows["n"].tolist() == [QUERIES] * 2
    assert rows["a"].iloc[0] < 1 and rows["a"].iloc[1] == rows["b"].iloc[1] == 1
    assert table[(table["index"] == ENCODER) & (table["metric"] == "hit_rate@1")]["k"].isna().all()
    console = Console(width=120)
    with console.capture() as captured:
        console.print(render_comparison(table))
    told = captured.get()
    for words in (
        "the encoder alone, with exact search\n",
        "exact search, k = 10",
        "exact search, k = 20",
        "m, k = 20",
    ):
        assert words in told


def test_values_of_owners_of_unlike_size() -> None:
    rng = np.random.default_rng(3)
    owner = np.repeat(np.arange(20), rng.integers(1, 9, 20))
    values = rng.normal(0.1, 1, 20)[owner] + rng.normal(0, 0.1, len(owner))
    values[5] = np.nan
    known = ~np.isnan(values)
    found = cluster_paired(values[None], owner, 0)
    assert found.value == pytest.approx(np.nanmean(values)) and found.n == 20
    assert found.p == pytest.approx(paired_p(np.bincount(owner[known], values[known])))
    interval = cluster_columns({"x": values}, owner, 0)["x"]
    assert (found.lo, found.hi) == (interval.lo, interval.hi)
    two = cluster_paired(np.stack([values, values + 0.5]), owner, 0)
    assert two.value == pytest.approx(found.value + 0.25) and two.hi - two.lo > found.hi - found.lo
    alone = rng.normal(size=(2, 30))
    assert cluster_paired(alone, np.arange(30), 4) == paired_seeds(alone, 4), "one value each: nothing belongs together"


def test_a_true_hypothesis_is_rejected_as_often_as_it_may_be() -> None:
    """200 experiments of 40 queries of 1 to 20 windows that agree: at most 5 % rejected; by windows it is half."""
    rng = np.random.default_rng(5)
    owner = np.repeat(np.arange(40), rng.integers(1, 21, 40))
    drawn = rng.normal(size=(200, 40))[:, owner]
    rejected = np.mean([cluster_paired(values[None], owner, 0).p < 0.05 for values in drawn])
    plain = np.mean([paired_p(values) < 0.05 for values in drawn])
    assert rejected <= 0.05 and plain > 0.4
