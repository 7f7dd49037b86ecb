"""Trackers get everything, and whatever they do, a run goes on."""

import csv
import json
import os
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from told_runs import ROWS, factory, told_run

from retrieval_bench._readings import readings
from retrieval_bench._tracker import NumbersTracker
from retrieval_bench._tracker_mlflow import MLflowTracker
from retrieval_bench.track import Story, track

# The trackers' own deprecations, at their import; nothing of ours.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import wandb
    from pytorch_lightning.loggers import Logger, MLFlowLogger, WandbLogger

# (name, step) → value: what every tracker shows.
SHOWN = {
    ("training/step", 0): 0.0,
    ("training/val_hit_rate_at_1", 0): 0.25,
    ("training/step", 1): 12.0,
    ("training/loss", 1): 2.5,
    ("training/val_hit_rate_at_1", 1): 0.5,
    ("encoder/trained/hit_rate_at_10", 0): 0.75,
    ("points/trained/exact/k10/hit_rate_at_10", 0): 0.75,
    ("points/trained/hnsw/k10/hit_rate_at_10", 16): 0.25,
    ("points/trained/hnsw/k10/hit_rate_at_10", 32): 0.6,  # the mean of two build seeds
}


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return told_run(tmp_path)


def test_the_names_and_steps_of_a_run(story: Story) -> None:
    found = {(name, each.step): value for each in readings(story.record) for name, value in each.values.items()}
    assert found == pytest.approx(SHOWN)


def test_csv_holds_everything(story: Story, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    told = track({"csv": factory("csv")}, story, folder)
    assert (told.warnings, told.done) == ([], ["csv"])
    kept = folder / "csv" / "version_0"
    with (kept / "metrics.csv").open(encoding="utf-8") as file:
        cells = [(name, int(row["step"]), row[name]) for row in csv.DictReader(file) for name in row if name != "step"]
    assert {(name, step): float(value) for name, step, value in cells if value} == pytest.approx(SHOWN)
    assert yaml.safe_load((kept / "hparams.yaml").read_text(encoding="utf-8")) == story.settings
    with (kept / "points.csv").open(encoding="utf-8") as file:
        points = list(csv.DictReader(file))
    assert [(row["index"], row["error"]) for row in points][-1] == ("lsh", "no such library | sorry")
    assert len(points) == len(ROWS)
    for name, picture in story.pictures.items():
        assert (kept / f"{name}.png").read_bytes() == picture.read_bytes()


def test_csv_survives_columns_that_appear_after_it_has_written(story: Story, tmp_path: Path) -> None:
    assert track({"csv": factory("csv", flush_logs_every_n_steps=1)}, story, tmp_path / "run").warnings == []
    with (tmp_path / "run/csv/version_0/metrics.csv").open(encoding="utf-8") as file:
        assert sum(1 for _ in csv.DictReader(file)) == len(readings(story.record))


def test_a_second_time_is_a_second_version(story: Story, tmp_path: Path) -> None:
    for _ in range(2):
        assert track({"csv": factory("csv")}, story, tmp_path / "run").warnings == []
    assert sorted(p.name for p in (tmp_path / "run/csv").iterdir()) == ["version_0", "version_1"]


def test_a_save_dir_of_the_users_own_is_kept(story: Story, tmp_path: Path) -> None:
    track({"csv": factory("csv", save_dir=str(tmp_path / "mine"))}, story, tmp_path / "run")
    assert (tmp_path / "mine/csv/version_0/metrics.csv").exists()
    assert not (tmp_path / "run").exists()


def test_tensorboard_holds_everything(story: Story, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    told = track({"tensorboard": factory("tensorboard")}, story, tmp_path / "run")
    assert (told.warnings, told.done) == ([], ["tensorboard"])
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run/tensorboard/version_0"))
    events.Reload()
    tags = events.Tags()
    found = {(name, each.step): each.value for name in tags["scalars"] for each in events.Scalars(name)}
    assert found == pytest.approx(SHOWN)
    assert sorted(tags["images"]) == ["gallery", "pareto"]
    texts = {name.removesuffix("/text_summary") for name in tags["tensors"]}
    assert texts >= {"config", "protocol", "data_fingerprint", "run_id", "name", "weights", "points"}
    [table] = events.Tensors("points/text_summary")
    assert table.tensor_proto.string_val[0].decode().count("no such library \\| sorry |") == 1


def read_mlflow(uri: str, story: Story) -> tuple[Any, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    [experiment] = [each for each in client.search_experiments() if each.name == "study"]
    [run] = client.search_runs([experiment.experiment_id], "tags.run_id = '3f2a90c1'")
    found = {(n, m.step): m.value for n in run.data.metrics for m in client.get_metric_history(run.info.run_id, n)}
    assert found == pytest.approx(SHOWN)
    assert run.info.status == "FINISHED" and run.info.run_name == "3f2a90c1"
    return client, run


def in_a_process(body: str, folder: Path, environment: dict[str, str] | None = None) -> Any:
    """What a piece of code that ends in `answer = …` answers in a process of its own.

    Trackers keep threads and global state, and their warnings are not ours.
    """
    places = [str(Path(__file__).parent), str(Path(__file__).parent / "shared")]
    code = (
        f"import json, sys; from pathlib import Path; sys.path[:0] = {places!r}\n"
        f"import test_track as t; folder = Path({str(folder)!r}); story = t.told_run(folder)\n{body}\n"
        "print('FOUND' + json.dumps(answer))"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "MLFLOW_"))}
    kept |= {"HOME": str(folder), "NETRC": "none"} | (environment or {})
    out = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=kept, timeout=300
    )
    assert out.returncode == 0, out.stderr[-2000:]
    return json.loads(next(line for line in out.stdout.splitlines() if line.startswith("FOUND"))[5:])


@pytest.mark.slow
def test_mlflow_holds_everything_in_a_local_store(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    body = """
told = t.track({"mlflow": t.factory("mlflow", save_dir=str(folder))}, story, folder)
client, run = t.read_mlflow(f"sqlite:///{folder / 'mlflow.db'}", story)
files = sorted(each.path for each in client.list_artifacts(run.info.run_id))
weights = client.list_artifacts(run.info.run_id, "weights-abc")
answer = [told.warnings, told.done, files, len(weights), run.data.params]
"""
    found, done, files, weights, params = in_a_process(body, tmp_path)
    assert (found, done) == ([], ["mlflow"])
    assert files == ["gallery.png", "pareto.png", "points.json", "settings.json", "weights-abc"] and weights == 2
    assert params["config/data/an_odd_key"] == "None" and params["data_fingerprint"] == "f00d"
    table = json.loads(next(tmp_path.rglob("points.json")).read_text(encoding="utf-8"))
    assert len(table["data"]) == len(ROWS) and "error" in table["columns"]


@pytest.mark.slow
def test_mlflow_whose_server_is_away_is_kept_in_a_local_store(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    body = """
import os
told = t.track({"mlflow": t.factory("mlflow", save_dir=str(folder))}, story, folder)
uri = os.environ["MLFLOW_TRACKING_URI"]
t.read_mlflow(f"sqlite:///{folder / 'mlflow.db'}", story)
answer = [told.warnings, told.done, uri, "MLFLOW_HTTP_REQUEST_TIMEOUT" in os.environ]
"""
    away = "http://me:5ecr3tword@127.0.0.1:9"
    [found], done, uri, left = in_a_process(body, tmp_path, {"MLFLOW_TRACKING_URI": away})
    assert found.startswith("mlflow: it is kept in a local store (MlflowException:")
    assert f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db" in found
    assert "type the same command again" in found and "5ecr3tword" not in found
    assert (done, uri, left) == ([], away, False), "it is told again later; the environment is the user's"


def test_a_missing_library_names_its_extra(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("_tracker", "_tracker_mlflow"):
        monkeypatch.setattr(f"retrieval_bench.{module}.find_spec", lambda name: None)
    told = track({name: factory(name) for name in ("mlflow", "tensorboard", "csv")}, story, tmp_path)
    assert told.done == ["csv"]
    for name, found in zip(("mlflow", "tensorboard"), told.warnings, strict=True):
        assert f"{name} is not installed; type: pip install 'retrieval-bench[{name}]'" in found


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
        ("finalize success", "it did not finish", ["construct", "experiment", "config", *["metrics"] * 6]),
    ],
)
def test_a_broken_tracker_is_a_warning_and_the_next_one_is_told(
    story: Story, tmp_path: Path, step: str, words: str, told: list[str]
) -> None:
    seen: list[str] = []
    broken = partial(Fake, breaks_at=step, told=seen)
    found = track({"fake": broken, "csv": factory("csv")}, story, tmp_path / "run")
    assert found.warnings == [f"fake: {words} (RuntimeError: {step} is broken)"]
    assert found.done == (["fake", "csv"] if "finish" in words else ["csv"])
    assert seen == told
    assert (tmp_path / "run/csv/version_0/metrics.csv").exists()


def test_a_healthy_tracker_of_another_kind_is_told_in_order(story: Story, tmp_path: Path) -> None:
    seen: list[str] = []
    assert track({"fake": partial(Fake, breaks_at="", told=seen)}, story, tmp_path).warnings == []
    assert seen == ["construct", "experiment", "config", *["metrics"] * 6, "finalize success"]


def test_ctrl_c_still_ends_the_run(story: Story, tmp_path: Path) -> None:
    def interrupted(save_dir: str) -> Logger:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track({"fake": partial(interrupted)}, story, tmp_path)


class HydrasPartial(partial):  # type: ignore[type-arg]
    """As Hydra makes them: `partial(HydrasPartial(…))` does not show the inner keywords."""

    def __call__(self, *args: Any, **more: Any) -> Any:
        return super().__call__(*args, **more)


class OfflineOnly(WandbLogger):
    """wandb whose server is away: starts only offline."""

    def __init__(self, mode: str, told: list[str], **_: Any) -> None:
        if mode == "online":
            raise TimeoutError("no answer in 30 s")
        told.append(mode)
        raise KeyError("enough seen")


def test_a_tracker_whose_server_is_away_is_kept_offline(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb, "login", lambda prompt, verify: not prompt)
    seen: list[str] = []
    [found] = track({"wandb": HydrasPartial(OfflineOnly, mode="online", told=seen)}, story, tmp_path).warnings
    assert found.startswith("wandb: it is kept offline (TimeoutError: no answer in 30 s); it did not start offline")
    assert seen == ["offline"]


def test_without_a_key_nobody_is_asked_for_one(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "login", lambda prompt, verify: prompt)
    [found] = track({"wandb": partial(OfflineOnly, mode="online", told=[])}, story, tmp_path).warnings
    assert "wandb has no key; type: wandb login, or set WANDB_API_KEY" in found


class DiesHalfway(MLFlowLogger):
    """MLflow whose server goes away while it is told."""

    def __init__(self, tracking_uri: str, told: list[str], **_: Any) -> None:
        self.uri, self.told = tracking_uri, told

    @property
    def experiment(self) -> "DiesHalfway":
        return self

    def log_hyperparams(self, params: Any) -> None:
        self.told.append(self.uri)
        raise ConnectionError(f"no route to {self.uri}")

    def finalize(self, status: str = "success") -> None:
        self.told.append(status)


def test_a_server_that_goes_away_halfway_leaves_everything_in_the_local_store(story: Story, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    seen: list[str] = []
    given = partial(DiesHalfway, tracking_uri="http://a:80", told=seen, save_dir=str(tmp_path), experiment_name="x")
    [found] = track({"mlflow": given}, story, tmp_path).warnings
    assert found.startswith("mlflow: it is kept in a local store (ConnectionError: no route to http://a:80); ")
    assert seen == ["http://a:80", "failed", f"sqlite:///{tmp_path}/mlflow.db", "failed"]


def test_importing_the_module_imports_no_tracker() -> None:
    heavy = ("pytorch_lightning", "wandb", "torch", "mlflow", "tensorboard")
    code = f"import sys, retrieval_bench.track; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def records(file: Path) -> Iterator[Any]:
    """What wandb wrote: its protobuf messages in LevelDB's log format, blocks of 32 KiB; wandb ships no reader."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = file.read_bytes(), 7, b""  # wandb's own header first
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole, at = whole + data[at + 7 : at + 7 + length], at + 7 + length
        if kind in {1, 4}:  # full, or the last part
            record = Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


WANDB = """
told = t.track({{"wandb": t.factory("wandb", **{changes!r})}}, story, folder)
answer = [told.warnings, told.done]
"""
FAST = {"init_timeout": 3, "finish_timeout": 5, "finish_timeout_raises": True, "console": "off", "silent": True}


@pytest.mark.slow
def test_wandb_offline_keeps_everything_and_no_secret(tmp_path: Path) -> None:
    key = "5ecr3t" * 6 + "abcd"
    names = {"WANDB_API_KEY": key, "MLFLOW_TRACKING_PASSWORD": key, "AWS_SECRET_ACCESS_KEY": key}
    assert in_a_process(WANDB.format(changes={"mode": "offline"}), tmp_path, names) == [[], ["wandb"]]
    [run] = (tmp_path / "wandb").glob("offline-run-*")
    [kept] = run.glob("run-*.wandb")
    found, groups, artifacts = {}, set(), set()
    for record in records(kept):
        items = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
        step = items.pop("trainer/global_step", None)
        found |= {(name, step): value for name, value in items.items() if "/" in name}
        groups |= {record.run.run_group} - {""}
        artifacts |= {record.artifact.name, record.request.log_artifact.artifact.name} - {""}
    assert {pair: found[pair] for pair in SHOWN} == pytest.approx(SHOWN)
    assert groups == {"study"} and "weights-abc" in artifacts
    [table] = run.glob("files/media/table/points_*.table.json")
    assert len(json.loads(table.read_text(encoding="utf-8"))["data"]) == len(ROWS)
    assert {file.name.partition("_")[0] for file in run.glob("files/media/images/*.png")} == {"gallery", "pareto"}
    leaks = [file for file in tmp_path.rglob("*") if file.is_file() and key.encode() in file.read_bytes()]
    assert leaks == []


@pytest.mark.slow
def test_wandb_disabled_writes_nothing(tmp_path: Path) -> None:
    assert in_a_process(WANDB.format(changes={"mode": "disabled"}), tmp_path) == [[], ["wandb"]]
    assert not list(tmp_path.rglob("*.wandb"))


@contextmanager
def refusing() -> Iterator[str]:
    """A server of this machine that knows no key: 401 to everything."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(401)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "wandb has no key"),
        ({"WANDB_API_KEY": "short"}, "WANDB_API_KEY invalid"),
        ({"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}, "CommError"),
        ({"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "refusing"}, "Error"),
    ],
)
def test_wandb_online_without_a_good_key_or_network_is_kept_offline(
    tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    with refusing() as server:
        given = {name: server if value == "refusing" else value for name, value in environment.items()}
        [found], done = in_a_process(WANDB.format(changes={"mode": "online", "settings": FAST}), tmp_path, given)
    assert found.startswith("wandb: it is kept offline") and words in found and "a" * 40 not in found
    [run] = (tmp_path / "wandb").glob("offline-run-*")
    assert found.endswith(f"Its files are kept; send them with: wandb sync {run}")
    assert done == ["wandb"]


@pytest.mark.slow
def test_a_run_of_the_command_line_leaves_all_four_with_the_same_names(tmp_path: Path) -> None:
    for library in ("mlflow", "tensorboard"):
        pytest.importorskip(library)
    body = """
import csv
from mlflow import MlflowClient
from retrieval_bench import run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
record = run([
    "data=digits", "data.n_test=60", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none",
    "embed.engine=torch", "search=[exact,hnsw]", "search.hnsw.efforts=[16,32]", "measure.max_queries=10",
    "measure.passes=1", "metric=[hit_rate]", "logger=[csv,wandb,mlflow,tensorboard]", "logger.wandb.mode=offline",
    f"paths.runs={folder}/all", f"paths.cache={folder}/cache", "name=four",
])
place = record.folder
with (place / "csv/version_0/metrics.csv").open() as file:
    names = {"csv": sorted({n for row in csv.DictReader(file) for n in row} - {"step"})}
events = EventAccumulator(str(place / "tensorboard/version_0"))
events.Reload()
names["tensorboard"] = sorted(events.Tags()["scalars"])
client = MlflowClient(f"sqlite:///{folder}/all/mlflow.db")
[group] = [each for each in client.search_experiments() if each.name == "four"]
[found] = client.search_runs([group.experiment_id])
names["mlflow"] = sorted(found.data.metrics)
[kept] = place.glob("wandb/offline-run-*/run-*.wandb")
items = [i for r in t.records(kept) for i in r.history.item]
names["wandb"] = sorted({i.nested_key[0] for i in items if len(i.nested_key) == 1 and "/" in i.nested_key[0]})
files = sorted(each.path for each in client.list_artifacts(found.info.run_id))
answer = [names, json.loads((place / "told.json").read_text()), files]
"""
    names, told, files = in_a_process(body, tmp_path)
    names["wandb"] = [name for name in names["wandb"] if name != "trainer/global_step"]
    assert names["csv"] == names["tensorboard"] == names["mlflow"] == names["wandb"]
    assert "points/random/hnsw/k10/ann_recall" in names["csv"]
    assert sorted(told) == ["csv", "figure", "mlflow", "tensorboard", "wandb"]
    assert files == ["gallery.png", "pareto.png", "points.json", "settings.json"]


@pytest.mark.parametrize("step", ["attempts", "surroundings"])
def test_a_mistake_before_a_tracker_is_reached_is_a_warning(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise TypeError("a list is no mapping")

    with monkeypatch.context() as patched:
        patched.setattr(NumbersTracker, step, fail)
        found = track({"fake": partial(Fake, breaks_at="", told=[]), "csv": factory("csv")}, story, tmp_path / "run")
    assert found.warnings == ["fake: it was not told (TypeError: a list is no mapping)"]
    assert found.done == ["csv"]


def test_a_remedy_that_cannot_be_had_takes_nothing_back(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> str:
        raise RuntimeError("no store")

    monkeypatch.setattr(NumbersTracker, "remedy", fail)
    found = track({"fake": partial(Fake, breaks_at="finalize success", told=[])}, story, tmp_path)
    assert found.done == ["fake"]
    assert found.warnings == [
        "fake: it did not finish (RuntimeError: finalize success is broken);"
        " what mends it is not known (RuntimeError: no store)"
    ]


@pytest.mark.parametrize(
    ("given", "found"),
    [(["a", "b"], {"a": "true", "b": "true"}), ({"a": 1}, {"a": 1}), ("a", {"a": "true"}), (None, {})],
)
def test_tags_of_mlflow_may_be_a_list(story: Story, tmp_path: Path, given: Any, found: dict[str, Any]) -> None:
    wanted = factory("mlflow", tags=given, tracking_uri="http://localhost:1")
    tags = [one.factory.keywords["tags"] for one in MLflowTracker.attempts(wanted, story, tmp_path)]
    assert tags == [{"run_id": "3f2a90c1", "name": "study", **found}] * 2
