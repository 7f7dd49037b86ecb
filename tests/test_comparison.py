"""Two small run folders written by hand, whose differences are known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retrieval_bench.comparison import COLUMNS, ENCODER, compare
from retrieval_bench.errors import BadConfig, CorruptInput, UnlikeProtocols
from retrieval_bench.record import RunRecord, write_json, write_parquet
from retrieval_bench.stats import holm, paired

QUERIES = 400
IDS = np.arange(QUERIES) * 7 + 2**60
PROTOCOL = {"data": "glyphs", "split": {"train": 3, "test": 4}, "similarity": "cosine", "k": [10], "cuts": [1, 10]}
POINTS = (("exact", None), ("hnsw", 16), ("hnsw", 64))


def quality(seed: int, rate: float, stage: str = "pretrained", params: str = "{}") -> pd.DataFrame:
    """Rows with pass −1: the index finds everything at effort 64 and three quarters of it at 16."""
    rng = np.random.default_rng(seed)
    exact = (rng.random(QUERIES) < rate).astype(float)
    exact[0] = np.nan  # nothing relevant
    tables = []
    for index, effort in POINTS:
        found = (rng.random(QUERIES) < 0.75) | (effort != 16)
        columns = {"query_id": IDS, "hit_rate@1": exact * found, "exact_hit_rate@1": exact, "ann_recall": found * 1.0}
        columns |= {"ann_loss_hit_rate@1": exact - exact * found, "map_at_r": np.full(QUERIES, np.nan)}
        key = {"stage": stage, "index": index, "index_params": params, "build_seed": 0, "effort": effort, "k": 10}
        tables.append(pd.DataFrame(columns).assign(**key, **{"pass": -1}))
    return pd.concat(tables, ignore_index=True)


def times(scale: float, seed: int = 0, passes: int = 5, queries: int = 50) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(9).uniform(1e5, 2e5, queries)  # hard and easy queries, the same in every run
    tables = []
    for number in range(passes):
        ns = (scale * base * rng.normal(1, 0.01, queries)).astype(np.int64)
        key = {"stage": "pretrained", "index": "hnsw", "index_params": "{}", "build_seed": 0, "effort": 64, "k": 10}
        tables.append(pd.DataFrame({"query_id": IDS[:queries], "ns": ns}).assign(**key, **{"pass": number}))
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, *tables: pd.DataFrame, **changes: Any) -> Path:
        values: dict[str, Any] = {
            "run_id": name,
            "name": "test",
            "config": {"encoder": {"model": name}, "paths": {"runs": name}, "seed": 0},
            "protocol": PROTOCOL,
            "data_fingerprint": "f00",
            "environment": {"cpu": "one", "cores": 2, "system": "Linux"},
            "seeds": {"run": 0},
            "stages": {"pretrained": {"dim": 8}},
            "rows": [],
        }
        folder = tmp_path / name
        write_parquet(folder / "queries.parquet", pd.concat(tables, ignore_index=True))
        write_json(folder / "record.json", RunRecord(**values | changes).to_json())
        return folder

    return write


def test_what_a_training_found_is_no_setting(run) -> None:
    sides = [
        run(name, quality(0, 0.5), stages={"pretrained": {"dim": dim, "training": {"best": dim, "facts": {"a": dim}}}})
        for name, dim in (("a", 8), ("b", 16))
    ]
    assert set(compare(*sides).attrs["differs"]) == {"encoder.model", "stage.dim"}


def test_differences_are_paired_over_query_ids(run) -> None:
    left, right = quality(0, 0.5), quality(1, 0.7)
    shuffled = right.sample(frac=1, random_state=3)
    table = compare(run("a", left), run("b", shuffled))
    assert tuple(table.columns) == COLUMNS
    assert list(zip(table["index"], table["metric"], strict=True)) == [
        (ENCODER, "hit_rate@1"),
        *[(index, metric) for index in ("exact", "hnsw", "hnsw") for metric in ("hit_rate@1", "ann_recall")],
    ]
    for row in table.itertuples():
        index, effort = ("exact", None) if row.index == ENCODER else (row.index, row.effort)
        column = f"exact_{row.metric}" if row.index == ENCODER else row.metric
        one, two = (
            t[(t["index"] == index) & (t["effort"].isna() if pd.isna(effort) else t["effort"] == effort)][
                column
            ].to_numpy()
            for t in (left, right)
        )
        expected = paired(one, two, 0)
        assert (row.a, row.b, row.n) == (np.nanmean(one), np.nanmean(two), (~np.isnan(one + two)).sum())
        assert (row.difference, row.lo, row.hi, row.p) == (expected.value, expected.lo, expected.hi, expected.p)
        assert row.detectable == expected.detectable
        assert row.k is pd.NA or row.k == 10
    assert table["p_holm"][0] == table["p"][0], "one comparison of the encoder"
    assert np.array_equal(table["p_holm"][1:], holm(table["p"][1:]))
    encoder = table.iloc[0]
    assert encoder["verdict"] == "b better"
    assert 0 < encoder["p_holm"] < 0.05
    assert table.attrs["comparisons"] == 7
    assert table.attrs["differs"] == {"encoder.model": ["a", "b"]}  # not the paths
    assert table.attrs["machine_differs"] == {}
    assert table.attrs["not_compared"] == []


def test_a_run_and_itself_do_not_differ(run) -> None:
    folder = run("a", quality(0, 0.5), times(1, queries=299))
    table = compare(folder, RunRecord.load(folder))
    assert len(table) == 11
    assert (table["difference"] == 0).all()
    quiet = table[~table["metric"].str.startswith("latency")]
    assert (quiet["p_holm"] == 1).all()
    assert (table["verdict"] == "no difference found").all()


def test_swapping_the_runs_turns_every_sign(run) -> None:
    a, b = run("a", quality(0, 0.5), times(1)), run("b", quality(1, 0.7), times(1.2, 1))
    there, back = compare(a, b), compare(b, a)
    assert np.array_equal(there["difference"], -back["difference"])
    swapped = {"a better": "b better", "b better": "a better"}
    assert there["verdict"].tolist() == [swapped.get(v, v) for v in back["verdict"]]


def test_slower_is_worse(run) -> None:
    table = compare(run("a", quality(0, 0.5), times(1)), run("b", quality(0, 0.5), times(1.2, 1)))
    latency = table[table["metric"].str.startswith("latency")].set_index("metric")
    assert latency.index.tolist() == [f"latency_{name}_ms" for name in ("p50", "p95", "p99", "mean")]
    verdicts = ["a better", "too few queries", "too few queries", "a better"]  # 50 queries tell no p95
    assert latency["verdict"].tolist() == verdicts
    assert latency["p"].isna().tolist() == latency["lo"].isna().tolist() == [False, True, True, False]
    mean = latency.loc["latency_mean_ms"]
    assert mean["a"] == pytest.approx(times(1)["ns"].mean() / 1e6)
    assert mean["difference"] == pytest.approx((times(1.2, 1)["ns"].mean() - times(1)["ns"].mean()) / 1e6)
    assert mean["lo"] < 0.2 * np.random.default_rng(9).uniform(0.1, 0.2, 50).mean() < mean["hi"]
    assert mean["n"] == 50
    more = [run(name, quality(0, 0.5), times(scale, queries=300)) for name, scale in (("c", 1), ("d", 1.2))]
    latency = (found := compare(*more))[found["metric"].str.startswith("latency")]
    assert (latency["verdict"] == "a better").all()


def test_latencies_of_two_machines_are_not_judged(run) -> None:
    other = {"cpu": "two", "cores": 2, "system": "Linux"}
    table = compare(run("a", quality(0, 0.5), times(1)), run("b", quality(0, 0.5), times(1.2, 1), environment=other))
    latency = table["metric"].str.startswith("latency")
    assert (table["verdict"][latency] == "not comparable: other machine").all()
    assert (table["verdict"][~latency] == "no difference found").all()
    assert table.attrs["machine_differs"] == {"cpu": ["one", "two"]}


def test_build_seeds_are_averaged_a_query(run) -> None:
    second = quality(0, 0.5).assign(build_seed=1)
    second["ann_recall"] = 0.0
    table = compare(run("a", quality(0, 0.5)), run("b", quality(0, 0.5), second))
    row = table[(table["index"] == "exact") & (table["metric"] == "ann_recall")].iloc[0]
    assert (row["a"], row["b"], row["n"]) == (1.0, 0.5, QUERIES)


def test_stages_can_be_chosen(run) -> None:
    a = run("a", quality(0, 0.3, "random"), stages={"random": {"dim": 8}})
    b = run("b", quality(1, 0.7), stages={"pretrained": {"dim": 16}})
    with pytest.raises(BadConfig, match=r"\['random'\].*\['pretrained'\].*stage_a='random', stage_b='pretrained'"):
        compare(a, b)
    with pytest.raises(BadConfig, match="choose one of each"):
        compare(a, b, stage_a="trained", stage_b="pretrained")
    table = compare(a, b, stage_a="random", stage_b="pretrained")
    assert (table["stage"] == "random → pretrained").all()
    assert table.iloc[0]["verdict"] == "b better"
    assert table.attrs["differs"]["stage.dim"] == [8, 16]


def test_one_run_holds_both_stages(run) -> None:
    folder = run("a", quality(0, 0.3, "random"), quality(1, 0.7))
    assert set(compare(folder, folder)["stage"]) == {"random", "pretrained"}
    table = compare(folder, folder, stage_a="random", stage_b="pretrained")
    assert table.iloc[0]["a"] == pytest.approx(np.nanmean(quality(0, 0.3)["exact_hit_rate@1"]))
    assert table.iloc[0]["b"] == pytest.approx(np.nanmean(quality(1, 0.7)["exact_hit_rate@1"]))


def test_indexes_match_by_name_and_by_parameters_where_that_is_unclear(run) -> None:
    other = '{"m": 32}'
    table = compare(run("a", quality(0, 0.5)), run("b", quality(0, 0.5, params=other)))
    assert set(table["index"]) == {ENCODER, *(f"{index} (m=null → 32)" for index in ("exact", "hnsw"))}
    table = compare(run("c", quality(0, 0.5), quality(1, 0.5, params=other)), run("d", quality(0, 0.5, params=other)))
    assert set(table["index"]) == {ENCODER, "exact", "hnsw"}
    assert table[table["metric"] == "ann_recall"]["b"].tolist()[0] == 1.0
    two = run("e", quality(0, 0.5), quality(1, 0.5, params=other))
    assert set(compare(two, two)["index"]) == {ENCODER, "exact", "exact (m=32)", "hnsw", "hnsw (m=32)"}


def test_what_was_measured_is_no_setting_that_differs(run) -> None:
    def stage(precision: str, found: float) -> dict[str, Any]:
        engine = {"engine": "openvino", "precision": precision, "disagreement": found, "graph": precision}
        told = {"encode_ms": found, "tie_bounds": {"hit_rate@1": [0, found]}, "collapse": {"mean_cosine": found}}
        told |= {"choices": [{"index": "hnsw", "tried": {"16": found}}], "break_even": [{"size": found}]}
        return {"pretrained": {"dim": 8, "engine": engine, **told}}

    a, b = (run(name, quality(0, 0.5), stages=stage(p, x)) for name, p, x in (("a", "fp32", 0.1), ("b", "bf16", 0.2)))
    assert set(compare(a, b).attrs["differs"]) == {"encoder.model", "stage.engine.precision"}


def test_costs_stand_side_by_side(run) -> None:
    def row(index: str, seed: int, size: int, seconds: float) -> dict[str, Any]:
        return {"stage": "pretrained", "index": index, "index_params": "{}", "build_seed": seed, "status": "ok",
                "effort": None, "k": 10, "half": "all", "index_bytes": size, "build_s": seconds,
                "peak_rss_bytes": None}  # fmt: skip

    a = run("a", quality(0, 0.5), rows=[row("hnsw", 0, 100, 1.0), row("hnsw", 0, 100, 1.0), row("hnsw", 1, 200, 4.0)])
    b = run("b", quality(0, 0.5), rows=[row("hnsw", 0, 50, 2.0), row("hnsw", 1, 0, 0.0) | {"status": "failed"}])
    same = {"stage": "pretrained", "peak_rss_bytes": [None, None]}
    assert compare(a, b).attrs["costs"] == [
        same | {"index": "exact", "index_bytes": [None, None], "build_s": [None, None]},
        same | {"index": "hnsw", "index_bytes": [150.0, 50.0], "build_s": [2.5, 2.0]},
    ]


def test_an_index_without_a_clear_counterpart_is_named(run) -> None:
    a = run("a", quality(0, 0.5), quality(1, 0.5, params='{"m": 32}'))
    table = compare(a, run("b", quality(1, 0.5, params='{"m": 64}')))
    assert set(table["index"]) == {ENCODER}
    assert table.attrs["not_compared"] == ["pretrained: exact", "pretrained: hnsw"]


def test_an_index_in_one_run_only_is_named(run) -> None:
    right = quality(1, 0.5)
    table = compare(run("a", quality(0, 0.5)), run("b", right[right["index"] == "exact"]))
    assert set(table["index"]) == {ENCODER, "exact"}
    assert table.attrs["not_compared"] == ["pretrained: hnsw"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_fingerprint": "bad"}, "data_fingerprint: 'f00' and 'bad'"),
        ({"protocol": PROTOCOL | {"k": [10, 136]}}, r"k: \[10\] and \[10, 136\]"),
        ({"protocol": PROTOCOL | {"similarity": "dot"}}, "similarity: 'cosine' and 'dot'"),
        ({"protocol": PROTOCOL | {"split": {"train": 3, "test": 5}}}, r"split\.test: 4 and 5"),
        ({"protocol": PROTOCOL | {"crop": "box"}}, "crop: None and 'box'"),
        (
            {"protocol": PROTOCOL | {"crop": "box", "data": "copies"}},
            "data: 'glyphs' and 'copies'; crop: None and 'box'",
        ),
    ],
)
def test_unlike_protocols_are_refused_and_named(run, changes, message: str) -> None:
    with pytest.raises(UnlikeProtocols, match=message):
        compare(run("a", quality(0, 0.5)), run("b", quality(1, 0.5), **changes))


def test_other_queries_are_refused(run) -> None:
    right = quality(1, 0.5)
    with pytest.raises(UnlikeProtocols, match=rf"1 of 400 only in a \[{IDS[3]}\], 0 of 399 only in b"):
        compare(run("a", quality(0, 0.5)), run("b", right[right["query_id"] != IDS[3]]))


def test_folders_without_a_run_are_refused(run, tmp_path: Path) -> None:
    whole = run("a", quality(0, 0.5))
    with pytest.raises(BadConfig, match="holds no finished run"):
        compare(whole, tmp_path / "nowhere")
    (whole / "queries.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(CorruptInput, match=r"queries.parquet cannot be read.*measures nothing twice"):
        compare(whole, whole)


def test_the_result_survives_a_file(run, tmp_path: Path) -> None:
    table = compare(run("a", quality(0, 0.5), times(1)), run("b", quality(1, 0.7), times(2)))
    table.to_parquet(tmp_path / "comparison.parquet")
    again = pd.read_parquet(tmp_path / "comparison.parquet")
    pd.testing.assert_frame_equal(again, table)
    assert json.loads(json.dumps(table.attrs)) == again.attrs == table.attrs
