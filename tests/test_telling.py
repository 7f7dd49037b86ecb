"""What is told after the numbers never takes them along when it fails."""

import json
import logging
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from told_runs import told_run

from retrieval_bench import run, telling

with warnings.catch_warnings():  # Lightning's own, at its import
    warnings.simplefilter("ignore")
    from pytorch_lightning.loggers import Logger

TINY = ["data=digits", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none", "embed.engine=torch"]
TINY += ["data.n_test=100", "measure.max_queries=20", "measure.passes=1", "logger=[csv]", "search=[exact]"]


@pytest.mark.slow
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


def test_a_logger_that_cannot_be_had_is_a_warning_and_the_others_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    story, told = told_run(tmp_path), list[str]()

    class Kept(Logger):
        """Knows that it was spoken to."""

        name, version, experiment = "kept", 0, None

        def __init__(self, save_dir: str) -> None:
            super().__init__()

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            told.append("settings")

        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            """Nothing."""

    def fail() -> None:
        raise TypeError("no such parameter, says https://me:pw@host")

    monkeypatch.setattr(telling, "_drawn", lambda *_: True)
    monkeypatch.setattr(telling, "_finish_card", lambda *_: None)
    experiment = SimpleNamespace(loggers={"bad": fail, "good": lambda: partial(Kept)}, data=None)
    with caplog.at_level(logging.WARNING):
        telling.tell(experiment, story.record, lambda *_: None)
    assert "bad: it did not start (TypeError: no such parameter, says https://***@host)" in caplog.text
    assert told == ["settings"]
    assert set(json.loads((story.record.folder / "told.json").read_text())) == {"figure", "good"}
