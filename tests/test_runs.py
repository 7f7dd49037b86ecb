"""Points of many runs as one table: what tells a sweep apart, whichever version wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrieval_bench import load_runs, run
from retrieval_bench.errors import UnlikeProtocols
from retrieval_bench.naming import loss_name, training_parts
from retrieval_bench.record import RunRecord, write_json
from retrieval_bench.runs import over_seeds, seed_differences
from retrieval_bench.seeds import paired_seeds

POINT = {"index": "exact", "index_params": "{}", "build_seed": 0, "effort": None, "k": 10, "half": "all"}
TRAIN = [
    *("data=digits", "data.n_test=60", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none"),
    *("embed.engine=torch", "measure.max_queries=10", "measure.passes=1", "logger=[]", "stage=[random,trained]"),
    *("head=linear", "head.out=16", "loss=smooth_ap", "sampler.classes=3", "sampler.per_class=4", "sampler.batches=2"),
    *("trainer.epochs=1", "augment=none", "metric=[hit_rate]"),
]


def plain(table: pd.DataFrame, *columns: str) -> list[list[object]]:
    return table.astype(object).where(table.notna(), None)[list(columns)].to_numpy().tolist()


def test_load_runs_tells_trainings_apart_and_older_runs_by_their_configuration(tmp_path: Path) -> None:
    rows = [POINT | {"stage": stage, "status": "ok", "encoder": "net"} for stage in ("random", "trained")]
    inner = {"_target_": "pytorch_metric_learning.losses.TripletMarginLoss"}
    old = {"loss": {"_target_": "retrieval_bench.loss.pml.PairLoss", "loss": inner}, "head": {"_target_": "x.MLP"}}
    new = [rows[0] | {"loss": None, "head": None}, rows[1] | {"loss": "SmoothAP", "head": "Linear"}]
    for name, written, config in (("new", new, {}), ("old", rows, old), ("vectors", rows[:1], {})):
        record = RunRecord(
            name, "adhoc", config, {}, "f", {}, {}, {"random": {}}, [row | {"run_id": name} for row in written]
        )
        write_json(tmp_path / name / "record.json", record.to_json())
    assert plain(load_runs(tmp_path), "run_id", "stage", "loss", "head") == [
        ["new", "random", None, None],
        ["new", "trained", "SmoothAP", "Linear"],
        ["old", "random", None, None],
        ["old", "trained", "TripletMarginLoss", "MLP"],
        ["vectors", "random", None, None],
    ]


@pytest.mark.slow
def test_every_row_of_a_run_has_them_and_rows_that_lack_them_are_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    wanted = {("random", None, None), ("trained", "SmoothAP", "Linear")}

    def told(table: pd.DataFrame) -> set[tuple[object, ...]]:
        return {tuple(row) for row in plain(table, "stage", "loss", "head")}

    record = run([*TRAIN, "search=[exact]"])
    assert told(record.points) == told(pd.read_parquet(record.folder / "points.parquet")) == wanted
    file = record.folder / "record.json"
    value = json.loads(file.read_text())
    value["rows"] = [{key: v for key, v in row.items() if key not in {"loss", "head"}} for row in value["rows"]]
    file.write_text(json.dumps(value))
    assert run([*TRAIN, "search=[exact]"]).folder == record.folder, "a finished run stays as an older version wrote it"
    assert told(load_runs(tmp_path)) == wanted
    more = run([*TRAIN, "search=[ivf]", "search.ivf.nlist=2", "search.ivf.efforts=[1]"])
    assert set(more.points["index"]) == {"null", "exact", "ivf"} and more.folder == record.folder
    assert told(more.points) == wanted


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ({"_target_": "retrieval_bench.loss.smooth_ap.SmoothAP", "temperature": 0.01}, "SmoothAP"),
        ({"_target_": "my_pkg.Loss", "loss": {"_target_": "my_pkg.Other"}}, "Loss(Other)"),
        ({"_target_": "my_pkg.Loss", "loss": "mean"}, "Loss"),
        (None, None),
        ({}, None),
    ],
)
def test_names_of_losses(node: object, name: str | None) -> None:
    assert loss_name(node) == name


def test_only_the_trained_stage_has_parts() -> None:
    config = {"loss": {"_target_": "a.B"}, "head": None}
    assert training_parts(config, "trained") == {"loss": "B", "head": None}
    for stage in ("random", "pretrained", "given"):
        assert training_parts(config, stage) == {"loss": None, "head": None}


def test_over_seeds_is_a_row_a_point_with_the_interval_of_its_seeds() -> None:
    rows = [
        {"stage": "trained", "index": index, "effort": effort, "k": 10, "half": half, "hit_rate@1": value + 0.1 * seed}
        for seed in (0, 1, 2)
        for index, effort, half, value in (
            ("exact", np.nan, "all", 0.3), ("hnsw", 16.0, "all", 0.2), ("hnsw", 16.0, "tune", 0.9),
            ("null", np.nan, "all", 0.9),
        )
    ]  # fmt: skip
    found = over_seeds(pd.DataFrame(rows), ["hit_rate@1"])
    assert found["index"].tolist() == ["exact", "hnsw"] and found["seeds"].tolist() == [3, 3]
    np.testing.assert_allclose(found["hit_rate@1"], [0.4, 0.3])
    half = 4.302652730 * 0.1 / np.sqrt(3)  # Student's t of two degrees of freedom at 97.5 %
    np.testing.assert_allclose(found["hit_rate@1_hi"] - found["hit_rate@1"], half)
    np.testing.assert_allclose(found["hit_rate@1"] - found["hit_rate@1_lo"], half)


def judged(folder: Path, values: list[float], stages: tuple[str, ...], first: int = 0) -> RunRecord:
    """A run whose last stage has these values, one a query, and other stages zeros; rows of times stand between."""
    rows = [
        {"stage": stage, "index": index, "pass": number, "query_id": first + query, "ns": 7}
        | {"exact_hit_rate@1": value if stage == stages[-1] and number < 0 else 0.0}
        for stage in stages
        for index in ("null", "exact")
        for number in (-1, 0)
        for query, value in reversed(list(enumerate(values)))
    ]
    folder.mkdir()
    pd.DataFrame(rows).to_parquet(folder / "queries.parquet")
    return RunRecord(folder.name, "adhoc", {}, {}, "f", {}, {}, {stage: {} for stage in stages}, [], folder=folder)


def test_two_encoders_are_paired_over_seeds_and_queries(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    before, after = (rng.random((3, 20)).round(2) for _ in range(2))
    a = [judged(tmp_path / f"a{i}", row.tolist(), ("pretrained",)) for i, row in enumerate(before)]
    b = [judged(tmp_path / f"b{i}", row.tolist(), ("pretrained", "trained")) for i, row in enumerate(after)]
    (row,) = seed_differences(a, b, ["hit_rate@1"], seed=4).to_dict("records")
    found = paired_seeds(after - before, 4)
    assert (row["metric"], row["seeds"], row["n"]) == ("hit_rate@1", 3, 20)
    assert [row["a"], row["b"]] == pytest.approx([before.mean(), after.mean()])
    assert [row["difference"], row["lo"], row["hi"], row["p"]] == [found.value, found.lo, found.hi, found.p]
    with pytest.raises(ValueError, match="shorter"):
        seed_differences(a, b[:2], ["hit_rate@1"])


def test_runs_of_other_queries_are_not_paired(tmp_path: Path) -> None:
    a, b = (judged(tmp_path / str(first), [0.0, 1.0], ("trained",), first) for first in (0, 1))
    with pytest.raises(UnlikeProtocols, match="other queries"):
        seed_differences([a], [b], ["hit_rate@1"])
