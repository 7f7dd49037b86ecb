"""Whole runs with a target, clients and smaller galleries: what is chosen, shown, kept, and not done twice."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrieval_bench import run
from retrieval_bench.cli import experiment
from retrieval_bench.errors import BadConfig
from retrieval_bench.record import RunRecord
from retrieval_bench.report.remarks import run_facts
from retrieval_bench.wanted import asked

IVF = ["search.ivf.efforts=[1,4,16]", "search.ivf.nlist=40"]
TARGET = "target.ann_recall=0.9"


@pytest.fixture
def vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """1,000 vectors in loose clusters and 60 queries of their own, as overrides."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    x = rng.standard_normal((50, 16))[rng.integers(0, 50, 1060)] + 0.8 * rng.standard_normal((1060, 16))
    np.save("gallery.npy", x[:1000].astype(np.float32))
    np.save("queries.npy", x[1000:].astype(np.float32))
    paths = ["data=vectors", "data.gallery=gallery.npy", "data.queries=queries.npy", "paths.cache=cache", "logger=[]"]
    return [*paths, "k=[5]", "measure.max_queries=20", "measure.passes=2", "measure.batch_threads=1"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the indexes whose workers were started."""
    from retrieval_bench import _job

    names: list[str] = []
    original = _job.Job.spawn
    monkeypatch.setattr(_job.Job, "spawn", lambda self, limits: (names.append(self.name), original(self, limits))[1])
    return names


def choices(record: RunRecord) -> list[dict]:
    return record.stages["given"]["choices"]


@pytest.mark.slow
def test_a_target_chooses_and_reports_on_the_other_half(vectors: list[str], started: list[str]) -> None:
    command = [*vectors, "search=[exact,ivf]", *IVF, TARGET]
    record = run(command)
    (choice,) = choices(record)
    assert choice["reached"] and choice["target"] == "ann_recall ≥ 0.9" and choice["index"] == "ivf"
    tried = {int(effort): quality for effort, quality in choice["tried"].items()}
    assert tried[choice["effort"]] >= 0.9 > tried[max(e for e in tried if e < choice["effort"])]
    points = record.points
    ivf = points[points["index"] == "ivf"].set_index("half")
    assert set(ivf["effort"]) == {choice["effort"]}, "dominated efforts are not timed"
    assert ivf.loc["tune", "ann_recall"] == pytest.approx(tried[choice["effort"]], abs=1e-12)
    shown = asked(experiment(command), record)
    assert set(shown[shown["index"] == "ivf"]["half"]) == {"tune", "report"}

    started.clear()
    assert run(command) == record and not started, "a finished choice is not made again"
    more = run([*vectors, "search=[exact,ivf,hnsw]", *IVF, TARGET])
    assert started == ["hnsw"] and {c["index"] for c in choices(more)} == {"ivf", "hnsw"}
    looser = run([*vectors, "search=[ivf]", *IVF, "target.ann_recall=0.5"])
    assert {(c["index"], c["target"][-3:]) for c in choices(looser)} == {
        ("ivf", "0.9"),
        ("hnsw", "0.9"),
        ("ivf", "0.5"),
    }


def test_a_target_out_of_reach_is_told(vectors: list[str]) -> None:
    record = run([*vectors, "search=[ivf]", "search.ivf.nlist=1000", "search.ivf.efforts=[1]", "target.ann_recall=1.0"])
    (choice,) = choices(record)
    if not choice["reached"]:  # k-means may make fewer lists matter: then 1.0 is reached
        assert any("does not reach ann_recall ≥ 1" in remark for remark in run_facts(record).remarks)
    else:
        assert choice["tried"][str(choice["effort"])] == 1.0


@pytest.mark.slow
def test_break_even_is_measured_over_smaller_galleries(vectors: list[str], started: list[str]) -> None:
    command = [*vectors, "search=[exact,ivf]", *IVF, TARGET, "target.break_even=true"]
    record = run(command)
    table = pd.read_parquet(record.folder / "break_even.parquet")
    assert sorted(set(table["n_gallery"])) == [250, 500, 1000]
    of_ivf = table[(table["index"] == "ivf") & (table["half"] == "tune")]
    assert (of_ivf["ann_recall"] >= 0.9).all() and of_ivf["met"].all(), "the target is met at every size"
    (even,) = record.stages["given"]["break_even"]
    assert even["index"] == "ivf" and (even["size"] is None or even["size"] >= 0)
    assert any("Faster than exact search" in remark for remark in run_facts(record).remarks)
    started.clear()
    assert run(command) == record and not started
    run([*vectors, "search=[exact,ivf,hnsw]", *IVF, TARGET, "target.break_even=true"])
    again = pd.read_parquet(record.folder / "break_even.parquet")
    assert len(again[again["index"] == "ivf"]) == len(table[table["index"] == "ivf"]), "rows are replaced, not doubled"
    assert set(started) == {"hnsw"}


def test_break_even_needs_exact_search(vectors: list[str]) -> None:
    with pytest.raises(BadConfig, match=r"compares with exact search; type 'search=\[exact,ivf\]'"):
        experiment([*vectors, "search=[ivf]", TARGET, "target.break_even=true"])


@pytest.mark.parametrize("given", ["uri=http://root:s3cret@host:19530", "token_env=root:s3cret"])
def test_a_secret_in_a_configuration_is_refused_and_not_repeated(vectors: list[str], given: str) -> None:
    with pytest.raises(BadConfig, match=r"type export MILVUS_TOKEN=user:password") as caught:
        experiment([*vectors, "search=[milvus]", f"search.milvus.{given}"])
    assert "s3cret" not in str(caught.value) and given.partition("=")[0] in str(caught.value)
    experiment([*vectors, "search=[milvus]", "search.milvus.uri=http://host:19530", "search.milvus.token_env=TOKEN"])


@pytest.mark.slow
def test_clients_are_added_to_a_finished_run(vectors: list[str], started: list[str]) -> None:
    plain = run([*vectors, "search=[exact]"])
    assert "qps_clients" not in plain.points.columns
    record = run([*vectors, "search=[exact]", "measure.clients=2", "measure.client_seconds=0.2"])
    assert record.folder == plain.folder
    row = record.points[(record.points["index"] == "exact") & (record.points["half"] == "all")].iloc[0]
    assert row["clients"] == 2 and row["qps_clients_lo"] < row["qps_clients"] < row["qps_clients_hi"]
    assert 0 < row["clients_p50_ms"] <= row["clients_p99_ms"]
    old = plain.points[(plain.points["index"] == "exact") & (plain.points["half"] == "all")].iloc[0]
    assert row["latency_p50_ms"] == old["latency_p50_ms"], "what was timed before is kept"
    started.clear()
    assert run([*vectors, "search=[exact]", "measure.clients=2", "measure.client_seconds=0.2"]) == record
    assert not started
    longer = run([*vectors, "search=[exact]", "measure.clients=2", "measure.client_seconds=0.3"])
    assert started, "rounds of another length are other rounds"
    now = longer.points[(longer.points["index"] == "exact") & (longer.points["half"] == "all")].iloc[0]
    assert (row["client_seconds"], now["client_seconds"]) == (0.2, 0.3)
    assert now["qps_clients"] != row["qps_clients"] and now["latency_p50_ms"] == row["latency_p50_ms"]
    wider = run([*vectors, "search=[exact,ivf]", *IVF])
    kept = wider.points[(wider.points["index"] == "exact") & (wider.points["half"] == "all")].iloc[0]
    assert kept["qps_clients"] == now["qps_clients"], "a command without clients leaves what they measured"
