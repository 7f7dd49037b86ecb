"""A damaged record is made anew from what lies beside it."""

import json
from pathlib import Path

import pandas as pd
import pytest

from retrieval_bench import _job, run
from retrieval_bench.cli import experiment
from retrieval_bench.errors import DamagedRecord
from retrieval_bench.pipeline import run_experiment
from retrieval_bench.record import RunRecord

SMALL = [
    *("data=digits", "data.n_test=60", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none"),
    *("embed.engine=torch", "measure.max_queries=10", "measure.passes=2", "measure.batch_threads=1", "logger=[]"),
]
BOTH = [*SMALL, "search=[exact,hnsw]", "search.hnsw.efforts=[16]"]


def no_worker(self: object, limits: object) -> None:
    raise AssertionError("a worker was started")


@pytest.mark.slow
def test_a_cut_off_record_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    whole = run(BOTH)
    monkeypatch.setattr(_job.Job, "spawn", no_worker)
    file = whole.folder / "record.json"
    text = file.read_text()
    for cut in (0, len(text) // 2, len(text) - 2):
        file.write_text(text[:cut])
        said: list[str] = []
        assert run_experiment(experiment(BOTH), say=said.append) == whole, "times too: they lie in results/"
        assert len(said) == 1 and said[0].endswith("kept as record.json.broken")
        assert (whole.folder / "record.json.broken").read_text() == text[:cut]
        assert file.read_text() == text
    for part in ({"rows": None}, {"rows": [{}]}, {"config": None}, {"stages": []}, {"protocol": 3}):
        file.write_text(json.dumps(json.loads(text) | part))
        with pytest.raises(DamagedRecord, match=f"{next(iter(part))} not as a run writes"):
            RunRecord.load(whole.folder)
    named = json.loads(text)
    for part in (
        {"stages": {"../../evil": {}}},
        {"rows": [named["rows"][0] | {"index": "/evil"}]},
        {"rows": [named["rows"][0] | {"stage": "a..b"}]},
        {"rows": [named["rows"][0] | {"index": ["evil"]}]},
    ):
        file.write_text(json.dumps(named | part))
        with pytest.raises(DamagedRecord, match="is damaged"):
            RunRecord.load(whole.folder)
    assert run(BOTH) == whole
    file.write_text("[1, 2]")
    smaller = run([*SMALL, "search=[exact]"])
    both = (pd.DataFrame(r.rows).sort_values(["index", "half"]).reset_index(drop=True) for r in (smaller, whole))
    pd.testing.assert_frame_equal(*both, check_like=True)
    assert smaller.config == whole.config
    file.write_text("")
    (whole.folder / "points.parquet").write_bytes(b"nothing")
    assert {row["index"] for row in run([*SMALL, "search=[exact]"]).rows} == {"null", "exact"}
    assert {row["index"] for row in run(BOTH).rows} == {"null", "exact", "hnsw"}
    assert RunRecord.load(whole.folder).rows == whole.rows


@pytest.mark.slow
def test_damaged_tables_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    whole = run(BOTH)
    files = [whole.folder / f"{name}.parquet" for name in ("points", "queries", "neighbours")]
    tables = [pd.read_parquet(file) for file in files]
    monkeypatch.setattr(_job.Job, "spawn", no_worker)
    said: list[str] = []
    for file, table in zip(files, tables, strict=True):
        for content in (None, b"", file.read_bytes()[:-9]):
            file.unlink()
            if content is not None:
                file.write_bytes(content)
            said.clear()
            assert run_experiment(experiment(BOTH), say=said.append) == whole
            assert [line.partition(";")[0] for line in said] == [f"damaged or missing in {whole.folder}: {file.name}"]
            pd.testing.assert_frame_equal(pd.read_parquet(file), table)
    said.clear()
    run_experiment(experiment(BOTH), say=said.append)
    assert said == [], "whole tables are not worth a word"
    files[1].unlink()
    assert {row["index"] for row in run([*SMALL, "search=[exact]"]).rows} == {"null", "exact"}, "half an index is none"
    assert run(BOTH).rows == whole.rows
    assert set(pd.read_parquet(files[1])["index"]) == set(tables[1]["index"])
