"""What is told after the numbers never takes them along when it fails."""

import logging
from pathlib import Path

import pandas as pd
import pytest

from retrieval_bench import run, telling

TINY = ["data=digits", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none", "embed.engine=torch"]
TINY += ["data.n_test=100", "measure.max_queries=20", "measure.passes=1", "logger=[csv]", "search=[exact]"]


def test_a_page_that_cannot_be_drawn_is_a_warning_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))

    def fail(*_: object) -> None:
        raise ValueError("a mistake in the page")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(telling, "write_page", fail)
        record = run(TINY)
    assert "could not be drawn (ValueError: a mistake in the page)" in caplog.text
    assert f"retrieval-bench report {record.folder}" in caplog.text
    assert len(pd.read_parquet(record.folder / "points.parquet")) and (record.folder / "record.json").is_file()
    assert not (record.folder / "report.html").exists()
    assert run(TINY).run_id == record.run_id
    assert (record.folder / "report.html").is_file(), "the same command draws it when it can be drawn"
