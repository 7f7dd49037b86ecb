"""Groups of runs over seeds against each other: paired within a seed, Student's interval across."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrieval_bench.cli import composed
from retrieval_bench.commands import main
from retrieval_bench.comparison_groups import _over, compare_any
from retrieval_bench.errors import BadConfig, UnlikeProtocols
from retrieval_bench.runs import found_runs, one_a_seed, seed_groups

IDS = np.arange(40)


def write(folder: Path, seed: int, rate: float, **changes: object) -> Path:
    """A run whose exact search finds the first `rate` of its queries."""
    found = (np.arange(40) < rate * 40).astype(float)
    key = {"stage": "trained", "index": "exact", "index_params": "{}", "build_seed": 0, "effort": None, "k": 10}
    table = pd.DataFrame({"query_id": IDS, "hit_rate@1": found, "exact_hit_rate@1": found, "ann_recall": 1.0})
    record = {
        "run_id": f"{folder.name}{seed}", "name": "test", "config": {"loss": folder.name, "seed": seed, "search": {}},
        "protocol": {"k": [10]}, "data_fingerprint": "f", "environment": {}, "seeds": {"run": seed},
        "stages": {"trained": {}}, "rows": [], "schema": 1,
    }  # fmt: skip
    place = folder / str(seed)
    place.mkdir(parents=True)
    table.assign(**key, **{"pass": -1}).to_parquet(place / "queries.parquet")
    (place / "record.json").write_text(json.dumps(record | changes))
    return place


def test_the_interval_is_students_over_the_differences_of_the_seeds(tmp_path: Path) -> None:
    for seed, (low, high) in enumerate([(0.5, 0.6), (0.4, 0.6), (0.6, 0.9)]):
        write(tmp_path / "a", seed, low)
        write(tmp_path / "b", seed, high)
    found = compare_any(tmp_path / "a", tmp_path / "b")
    row = found[(found["index"] == "(encoder)") & (found["metric"] == "hit_rate@1")].iloc[0]
    half = 4.302652730 * 0.1 / np.sqrt(3)  # differences 0.1, 0.2 and 0.3; t of two degrees of freedom
    np.testing.assert_allclose([row["difference"], row["lo"], row["hi"]], [0.2, 0.2 - half, 0.2 + half])
    np.testing.assert_allclose(row["p"], 0.0741799, rtol=1e-5)  # of t = 2 √3, two degrees of freedom
    assert row["n"] == 3 and found.attrs["seeds"] == [0, 1, 2]
    assert found.attrs["differs"]["loss"] == ["a", "b"]


@pytest.mark.parametrize("other", ["one", "two"])
def test_the_command_shows_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str], other: str) -> None:
    for seed in (0, 1):
        write(tmp_path / "a", seed, 0.5, environment={"cpu": "one"})
        write(tmp_path / "b", seed, 0.75, environment={"cpu": other if seed else "one"})
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "b = 2 seeds of b0 against a = 2 seeds of a0" in told and "hit_rate@1" in told
    assert ("unlike machines: cpu: one → two" in told) == (other == "two")


def test_seeds_that_one_side_lacks_are_named_and_one_in_common_is_too_few(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        write(tmp_path / "a", seed, 0.5)
    write(tmp_path / "b", 0, 0.75)
    with pytest.raises(UnlikeProtocols, match=r"\[0, 1, 2\] and \[0\]: two in common are needed"):
        compare_any(tmp_path / "a", tmp_path / "b")
    write(tmp_path / "b", 1, 0.75)
    assert "seed 2" in compare_any(tmp_path / "a", tmp_path / "b").attrs["not_compared"]


def test_other_queries_and_other_settings_are_refused(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path / "a", seed, 0.5)
        file = write(tmp_path / "b", seed, 0.5) / "queries.parquet"
        table = pd.read_parquet(file)
        table.assign(query_id=table["query_id"] + 1).to_parquet(file)
    with pytest.raises(UnlikeProtocols, match="the queries differ: 1 of 40 only in a0"):
        compare_any(tmp_path / "a", tmp_path / "b")
    write(tmp_path / "a", 2, 0.5, config={"loss": "another", "seed": 2})
    with pytest.raises(BadConfig, match=r"differ in more than their seed.*name=GROUP"):
        compare_any(tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_runs_of_a_real_configuration_are_one_group_whatever_takes_its_seed_from_theirs(tmp_path: Path) -> None:
    for name, more in (("a", []), ("b", ["miner=semi_hard"])):
        for seed in (0, 1, 2):
            overrides = ["data=digits", "encoder=efficientnet_lite0", "loss=triplet", f"seed={seed}", *more]
            write(tmp_path / name, seed, 0.5 + 0.1 * seed, config=composed(overrides))
    assert compare_any(tmp_path / "a", tmp_path / "b").attrs["seeds"] == [0, 1, 2]
    records, _ = found_runs([tmp_path, (tmp_path / "a").absolute()])
    assert [len(group) for group in seed_groups(records)] == [3, 3]
    assert len(one_a_seed([*seed_groups(records)[0], records[0]])) == 3, "a copy is no other seed"


def test_what_one_seed_cannot_judge_the_group_cannot(tmp_path: Path) -> None:
    tables = pd.DataFrame({"difference": [1.0, 1.01], "p": [0.01, np.nan], "a": 1.0, "b": 2.0})
    key = {"stage": "trained", "index": "exact", "effort": None, "k": 10, "metric": "latency_p99_ms"}
    assert np.isnan(_over(key, tables)["p"])
    assert _over(key, tables.assign(p=0.01))["p"] == pytest.approx(0.0031672, rel=1e-4)
