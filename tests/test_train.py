"""Whole trainings on small data: what they leave, that they are exact, and that they go on where they were killed."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from retrieval_bench import _fit, run
from retrieval_bench.cli import experiment
from retrieval_bench.errors import BadConfig, CorruptInput, RetrievalBenchError
from retrieval_bench.record import RunRecord

TRAIN = [
    *("data=digits", "data.n_test=100", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none"),
    *("embed.engine=torch", "measure.max_queries=20", "measure.passes=1", "logger=[]", "search=[exact]"),
    *("head=mlp", "head.out=16", "sampler.classes=3", "sampler.per_class=4", "sampler.batches=12", "trainer.epochs=2"),
    *(
        "optimizer.backbone_lr=0.002",
        "optimizer.proxy_lr=0.005",
        "stage=[random,trained]",
        "metric=[hit_rate,map_at_r]",
    ),
    *("trainer.freeze_batch_norm=false", "augment=none"),
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """One training that several tests look at."""
    folder = tmp_path_factory.mktemp("trained")
    return run([*TRAIN, f"paths.runs={folder / 'runs'}", f"paths.cache={folder / 'cache'}"])


def quality(record: RunRecord, stage: str, name: str = "exact_map_at_r") -> float:
    rows = record.points
    return float(rows[(rows["stage"] == stage) & (rows["index"] == "exact") & (rows["half"] == "all")][name].iloc[0])


def test_training_helps_other_classes_and_leaves_its_files(done: RunRecord) -> None:
    kept = done.folder / "trained"
    assert {file.name for file in kept.iterdir()} == {
        "weights.safetensors", "model_card.md", "history.csv", "outcome.json",
    }  # fmt: skip
    history = pd.read_csv(kept / "history.csv")
    assert history["epoch"].tolist() == [0, 1, 2] and history["step"].tolist() == [0, 12, 24]
    assert history["loss"].iloc[2] < history["loss"].iloc[1] and np.isnan(history["loss"].iloc[0])
    assert ((history["val_map_at_r_lo"] <= history["val_map_at_r"]) & (history["val_map_at_r"] <= 1)).all()
    facts = done.stages["trained"]["training"]
    best = 1 + int(np.argmax(history["val_map_at_r"].iloc[1:]))
    assert history["val_map_at_r"].max() > history["val_map_at_r"].iloc[0] + 0.05, "digits 3 and 4, never trained on"
    assert facts["best"] == best and facts["facts"]["n_classes"] == 3 and facts["images"] == 2 * 12 * 12
    card = (kept / "model_card.md").read_text()
    assert "proxy_anchor" in card.lower().replace("proxyanchor", "proxy_anchor") and f"Weights of epoch {best}" in card
    assert done.stages["trained"]["encoder"]["dim"] == 16
    with safe_open(kept / "weights.safetensors", "pt") as file:
        about = json.loads(file.metadata()["retrieval_bench"])
        assert any(name.startswith("head.") for name in file.keys())  # noqa: SIM118  (no mapping)
    assert about["protocol"]["data"] == "digits" and about["training"]["trainer"]["epochs"] == 2


def test_a_second_run_trains_nothing(done: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("retrieval_bench.train.fit", never)
    folders = [f"paths.runs={done.folder.parents[1]}", f"paths.cache={done.folder.parents[2] / 'cache'}"]
    assert run([*TRAIN, *folders]) == done
    assert run([*TRAIN, *folders, "trainer.checkpoint_minutes=1"]) == done, "how often is no matter of numbers"


def test_its_weights_are_taken_back(done: RunRecord, place: Path) -> None:
    weights = done.folder / "trained" / "weights.safetensors"
    again = run([*TRAIN, "stage=[pretrained]", f"encoder.weights={weights}"])
    for name in ("exact_map_at_r", "exact_hit_rate@1"):
        assert quality(again, "pretrained", name) == quality(done, "trained", name)
    with pytest.raises(CorruptInput, match=r"another architecture: layers\.3\.weight is \[16, 512\], not \[8"):
        run([*TRAIN, "stage=[pretrained]", f"encoder.weights={weights}", "head.out=8"])


def test_the_seed_decides(done: RunRecord, place: Path) -> None:
    same, other = run(TRAIN), run([*TRAIN, "seed=1"])
    mine = (done.folder / "trained" / "weights.safetensors").read_bytes()
    assert (same.folder / "trained" / "weights.safetensors").read_bytes() == mine
    assert (other.folder / "trained" / "weights.safetensors").read_bytes() != mine


def test_without_validation_the_last_epoch_is_taken(place: Path) -> None:
    record = run([*TRAIN, "trainer.validate=false", "stage=[trained]"])
    training = record.stages["trained"]["training"]
    assert training["best"] == 2 and training["facts"]["n_classes"] == 5, "validation classes are trained on, too"
    assert not any(name.startswith("val_") for name in training["history"][0])


def test_frozen_parts_stay_and_the_average_is_another(place: Path) -> None:
    record = run([*TRAIN, "trainer.frozen=[conv1,layer1]", "trainer.ema=0.9", "stage=[trained]"])
    trained = load_file(record.folder / "trained" / "weights.safetensors")
    fresh = experiment([*TRAIN, "stage=[trained]"]).encoders["trained"]().exported()
    same = {name.split(".")[0] for name, tensor in fresh.items() if torch.equal(tensor, trained[name])}
    moved = {name.split(".")[0] for name, tensor in fresh.items() if not torch.equal(tensor, trained[name])}
    assert {"conv1", "layer1"} <= same and {"layer2", "layer3"} <= moved
    with pytest.raises(BadConfig, match=r"trainer\.frozen: the encoder has no part 'blocks'; its parts are .*conv1"):
        run([*TRAIN, "trainer.frozen=[blocks]", "stage=[trained]"])


@pytest.mark.parametrize("frozen", [True, False])
def test_running_statistics_move_only_where_they_may(frozen: bool, place: Path) -> None:
    record = run([*TRAIN, f"trainer.freeze_batch_norm={frozen}", "stage=[trained]", "trainer.epochs=1"])
    trained = load_file(record.folder / "trained" / "weights.safetensors")
    fresh = experiment([*TRAIN, "stage=[trained]"]).encoders["trained"]().exported()
    same = {name: torch.equal(fresh[name], trained[name]) for name in fresh if "bn" in name}
    assert {same[name] for name in same if name.endswith(("running_mean", "running_var"))} == {frozen}
    assert not any(same[name] for name in same if name.endswith("bias")), "scales and shifts are trained in both cases"


def test_a_loss_that_is_no_number_names_its_items(place: Path) -> None:
    with pytest.raises(RetrievalBenchError, match=r"the loss is (nan|inf).*diverged\.csv.*lower optimizer"):
        run([*TRAIN, "optimizer.backbone_lr=1e30", "optimizer.head_lr=1e30", "stage=[trained]"])
    (file,) = (place / "cache").rglob("diverged.csv")
    items = pd.read_csv(file)["item"].tolist()
    assert len(items) == 12 and set(items) <= set(experiment(TRAIN).data.train().keys)


def test_fewer_classes_than_a_batch_holds(place: Path) -> None:
    with pytest.raises(BadConfig, match=r"classes"):
        run([*TRAIN, "sampler.classes=4", "stage=[trained]"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("trainer.epochs=0", "trainer.epochs=0: a whole number from 1"),
        ("trainer.ema=1.0", "trainer.ema=1.0: a decay above 0"),
        ("trainer.precision=half", "trainer.precision=half: type one of"),
        ("loss=proxy_ankor", "did you mean proxy_anchor"),
        ("trainer.epoch=3", "did you mean epochs"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(wrong: str, message: str, place: Path) -> None:
    with pytest.raises(BadConfig, match=message):
        run([*TRAIN, wrong])


KILLED = """
import os, signal, sys
from retrieval_bench import _fit, run
class Killing(_fit._Told):
    def on_train_batch_end(self, trainer, *rest):
        super().on_train_batch_end(trainer, *rest)
        if trainer.global_step == int(sys.argv[1]):
            os.kill(os.getpid(), getattr(signal, sys.argv[2]))
_fit._Told = Killing
run(sys.argv[3:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["proxy_anchor", "cross_batch_memory"])
@pytest.mark.parametrize(("step", "how"), [(5, "SIGKILL"), (12, "SIGKILL"), (17, "SIGKILL"), (17, "SIGTERM")])
def test_a_killed_training_ends_in_the_same_weights(loss: str, step: int, how: str, place: Path) -> None:
    overrides = [*TRAIN, f"loss={loss}", "stage=[trained]", "trainer.checkpoint_minutes=0.0001", "head.out=8"]
    (place / "program.py").write_text(KILLED)

    def trained(*more: str, step: int = -1, how: str = "SIGKILL") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "program.py", str(step), how, *overrides, *more]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)

    whole = trained("paths.runs=whole", "paths.cache=cache_whole")
    assert whole.returncode == 0, whole.stderr
    killed = trained(step=step, how=how)
    assert killed.returncode == (-signal.SIGKILL if how == "SIGKILL" else 128 + signal.SIGTERM), killed.stderr
    assert not list((place / "cache").rglob("weights.safetensors")) and list((place / "cache").rglob("last.ckpt"))
    resumed = trained()
    assert resumed.returncode == 0, resumed.stderr
    (a,), (b,) = (list((place / name).rglob("trained/*/weights.safetensors")) for name in ("cache", "cache_whole"))
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.slow
def test_two_processes_train_what_one_does(place: Path) -> None:
    overrides = [*TRAIN, "stage=[trained]", "sampler.classes=2", "optimizer=sgd", "trainer.freeze_batch_norm=true"]
    overrides += ["optimizer.backbone_lr=0.01", "optimizer.head_lr=0.01", "optimizer.proxy_lr=0.1"]
    command = [sys.executable, "-m", "retrieval_bench.commands", "run", *overrides]
    files = []
    for name, more in (("one", []), ("two", ["trainer.devices=2", "trainer.strategy=ddp"])):
        folders = [f"paths.runs={name}/runs", f"paths.cache={name}/cache"]
        done = subprocess.run([*command, *folders, *more], capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
        (file,) = (place / name).rglob("cache/trained/*/weights.safetensors")
        files.append(load_file(file))
    for name, tensor in files[0].items():
        torch.testing.assert_close(files[1][name], tensor, rtol=1e-4, atol=1e-6, msg=name)


def test_a_damaged_or_foreign_checkpoint_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = [*TRAIN, "stage=[trained]", "trainer.checkpoint_minutes=0.0001"]

    def stop(self: object, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_fit._Told, "on_train_batch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            run(overrides)
    (last,) = (place / "cache").rglob("last.ckpt")
    kept = torch.load(last, weights_only=True)
    kept["state_dict"]["model.head.layer.weight"] = torch.zeros(3, 3)
    torch.save(kept, last)
    with pytest.raises(CorruptInput, match=r"last\.ckpt cannot be taken up .*delete .* and train anew"):
        run(overrides)
