"""Trackers get everything, and whatever they do, a run goes on."""

import csv
import json
import os
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from PIL import Image

from retrieval_bench.track import Story, track

CONF = Path(__file__).parents[1] / "conf" / "logger"
# The trackers' own deprecations, at their import; nothing of ours.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import wandb
    from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger


@pytest.fixture
def story(tmp_path: Path) -> Story:
    figure = tmp_path / "pareto.png"
    Image.new("RGB", (4, 3)).save(figure)
    points = pd.DataFrame(
        {
            "index": ["exact", "hnsw", "lsh"],
            "knob": [None, "ef", None],
            "effort": [None, 32, None],
            "ann_recall": [1.0, 0.97, None],
            "late": [None, 0.5, None],  # a column that is blank in the first row
            "status": ["ok", "ok", "failed"],
            "error": [None, None, "no such library, sorry"],
        }
    )
    return Story("3f2a90c1", {"k": [10], "data": {"name": "glyphs"}}, {"self": "removed by id"}, points, figure)


def factory(name: str, changes: dict[str, Any] | None = None) -> "partial[Any]":
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8")) | (changes or {})
    target = {"csv": CSVLogger, "wandb": WandbLogger}[name]
    assert node.pop("_target_") == f"pytorch_lightning.loggers.{target.__name__}"
    assert node.pop("_partial_") is True
    return partial(target, **node)


def test_csv_holds_every_point_the_config_the_protocol_and_the_figure(story: Story, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert track({"csv": factory("csv")}, story, folder) == []
    kept = folder / "csv" / "version_0"
    with (kept / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["step"], r["index"], r["effort"], r["ann_recall"], r["late"], r["error"]) for r in rows] == [
        ("0", "exact", "", "1.0", "", ""),
        ("1", "hnsw", "32.0", "0.97", "0.5", ""),
        ("2", "lsh", "", "", "", "no such library, sorry"),
    ]
    told = yaml.safe_load((kept / "hparams.yaml").read_text(encoding="utf-8"))
    assert told == {"config": dict(story.config), "protocol": dict(story.protocol), "run_id": "3f2a90c1"}
    assert (kept / "pareto.png").read_bytes() == (story.figure or Path()).read_bytes()


def test_csv_survives_columns_that_appear_after_it_has_written(story: Story, tmp_path: Path) -> None:
    eager = factory("csv", {"flush_logs_every_n_steps": 1})
    assert track({"csv": eager}, story, tmp_path / "run") == []
    with (tmp_path / "run/csv/version_0/metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["index"], row["late"]) for row in rows] == [("exact", ""), ("hnsw", "0.5"), ("lsh", "")]


def test_a_second_time_is_a_second_version(story: Story, tmp_path: Path) -> None:
    for _ in range(2):
        assert track({"csv": factory("csv")}, story, tmp_path / "run") == []
    assert sorted(p.name for p in (tmp_path / "run/csv").iterdir()) == ["version_0", "version_1"]


def test_a_save_dir_of_the_users_own_is_kept(story: Story, tmp_path: Path) -> None:
    track({"csv": factory("csv", {"save_dir": str(tmp_path / "mine")})}, story, tmp_path / "run")
    assert (tmp_path / "mine/csv/version_0/metrics.csv").exists()
    assert not (tmp_path / "run").exists()


class Fake(Logger):
    """A tracker that fails at one step."""

    def __init__(self, save_dir: str, breaks_at: str, told: list[str]) -> None:
        super().__init__()
        self.breaks_at, self.told = breaks_at, told
        self._do("construct")

    def _do(self, step: str) -> None:
        if step == self.breaks_at:
            raise RuntimeError(f"{step} is broken\nand more")
        self.told.append(step)

    @property
    def name(self) -> str:
        return "fake"

    @property
    def version(self) -> str:
        return "0"

    @property
    def experiment(self) -> None:
        self._do("experiment")

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        self._do("config")

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert not any(isinstance(value, str) for value in metrics.values()), "an unknown tracker takes numbers only"
        self._do("metrics")

    def finalize(self, status: str) -> None:
        self._do(f"finalize {status}")


@pytest.mark.parametrize(
    ("step", "words", "told"),
    [
        ("construct", "it did not start", []),
        ("experiment", "it did not start", ["construct"]),
        ("config", "it was not told everything", ["construct", "experiment", "finalize failed"]),
        ("metrics", "it was not told everything", ["construct", "experiment", "config", "finalize failed"]),
        ("finalize success", "it did not finish", ["construct", "experiment", "config", *["metrics"] * 3]),
    ],
)
def test_a_broken_tracker_is_a_warning_and_the_next_one_is_told(
    story: Story, tmp_path: Path, step: str, words: str, told: list[str]
) -> None:
    seen: list[str] = []
    broken = partial(Fake, breaks_at=step, told=seen)
    assert track({"fake": broken, "csv": factory("csv")}, story, tmp_path / "run") == [
        f"fake: {words} (RuntimeError: {step} is broken)"
    ]
    assert seen == told
    assert (tmp_path / "run/csv/version_0/metrics.csv").exists()


def test_a_healthy_tracker_of_another_kind_is_told_in_order(story: Story, tmp_path: Path) -> None:
    seen: list[str] = []
    assert track({"fake": partial(Fake, breaks_at="", told=seen)}, story, tmp_path) == []
    assert seen == ["construct", "experiment", "config", "metrics", "metrics", "metrics", "finalize success"]


def test_ctrl_c_still_ends_the_run(story: Story, tmp_path: Path) -> None:
    def interrupted(save_dir: str) -> Logger:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track({"fake": partial(interrupted)}, story, tmp_path)


class OfflineOnly(Fake):
    """Stands for wandb whose server is away: starts only offline."""

    def __init__(self, save_dir: str, mode: str, told: list[str]) -> None:
        if mode == "online":
            raise TimeoutError("no answer in 30 s")
        super().__init__(save_dir, "", told)


def test_a_tracker_whose_server_is_away_is_kept_offline(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb, "login", lambda prompt, verify: not prompt)
    seen: list[str] = []
    found = track({"wandb": partial(OfflineOnly, mode="online", told=seen)}, story, tmp_path)
    assert found == ["wandb: it is kept offline (TimeoutError: no answer in 30 s)"]
    assert seen[-1] == "finalize success"


def test_without_a_key_nobody_is_asked_for_one(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "login", lambda prompt, verify: prompt)
    found = track({"wandb": partial(OfflineOnly, mode="online", told=[])}, story, tmp_path)
    assert len(found) == 1
    assert "wandb has no key; type: wandb login, or set WANDB_API_KEY" in found[0]


def test_importing_the_module_imports_no_tracker() -> None:
    heavy = ("pytorch_lightning", "wandb", "torch")
    code = f"import sys, retrieval_bench.track; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def in_a_process(folder: Path, changes: dict[str, Any], environment: dict[str, str]) -> list[str]:
    """What `track` warns of with a real wandb in a process of its own: wandb keeps threads and global state."""
    code = f"""
import json, pathlib, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import pandas as pd
import test_track as t
points = pd.DataFrame({{"index": ["exact", "hnsw"], "ann_recall": [1.0, None]}})
story = t.Story("3f2a90c1", {{"k": [10]}}, {{}}, points)
print("FOUND" + json.dumps(t.track({{"wandb": t.factory("wandb", {changes!r})}}, story, pathlib.Path({str(folder)!r}))))
"""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")} | {"HOME": str(folder), "NETRC": "none"}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=kept | environment, timeout=120
    )
    line = next(line for line in out.stdout.splitlines() if line.startswith("FOUND"))
    found: list[str] = json.loads(line.removeprefix("FOUND"))
    return found


@pytest.mark.slow
def test_wandb_offline_keeps_the_run_for_a_later_sync(tmp_path: Path) -> None:
    assert in_a_process(tmp_path, {"mode": "offline"}, {}) == []
    [run] = (tmp_path / "wandb").glob("offline-run-*")
    [kept] = run.glob("run-*.wandb")
    content = kept.read_bytes()
    assert b"ann_recall" in content
    assert b"3f2a90c1" in content
    [table] = run.glob("files/media/table/points_*.table.json")
    assert json.loads(table.read_text(encoding="utf-8"))["data"] == [["exact", 1.0], ["hnsw", None]]


@pytest.mark.slow
def test_wandb_disabled_writes_nothing(tmp_path: Path) -> None:
    assert in_a_process(tmp_path, {"mode": "disabled"}, {}) == []
    assert not list(tmp_path.rglob("*.wandb"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "wandb has no key"),
        ({"WANDB_API_KEY": "short"}, "WANDB_API_KEY invalid"),
        ({"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}, "CommError"),
    ],
)
def test_wandb_online_without_key_or_network_is_kept_offline(
    tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    settings = {"init_timeout": 3, "finish_timeout": 5, "finish_timeout_raises": True, "console": "off", "silent": True}
    [found] = in_a_process(tmp_path, {"mode": "online", "settings": settings}, environment)
    assert words in found
    [run] = (tmp_path / "wandb").glob("offline-run-*")
    assert found.endswith(f"Its files are kept; send them with: wandb sync {run}")
