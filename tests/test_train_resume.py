"""A training that was stopped ends in the same weights; two processes train what one does."""

import json
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from small_training import TRAIN

from retrieval_bench import _fit, run
from retrieval_bench.errors import CorruptInput


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


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


AVERAGED = ["trainer.ema=0.9", "trainer.accumulate=2", "trainer.epochs=3", "augment=crop_flip", "head.dropout=0.2"]
OFTEN, SELDOM = "trainer.checkpoint_minutes=0.0001", "trainer.checkpoint_minutes=60"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "how", "more"),
    [
        (5, "SIGKILL", [OFTEN]),
        (12, "SIGKILL", [OFTEN]),  # at the end of an epoch, before its validation
        (17, "SIGTERM", [SELDOM]),
        (17, "SIGKILL", [SELDOM, "optimizer.backbone_lr=0.02"]),  # back to the end of epoch 1, which is the best
        (17, "SIGKILL", [OFTEN, "loss=cross_batch_memory"]),
        (5, "SIGTERM", [SELDOM, "loss=cross_batch_memory"]),
        (7, "SIGKILL", [OFTEN, *AVERAGED]),
        (15, "SIGTERM", [SELDOM, *AVERAGED]),
        (18, "SIGKILL", [OFTEN, "trainer.validate=false", "trainer.ema=0.9"]),
        (17, "SIGKILL", [OFTEN, "trainer.patience=1", "trainer.epochs=6"]),
    ],
)
def test_a_killed_training_ends_in_the_same_weights(step: int, how: str, more: list[str], place: Path) -> None:
    overrides = [*TRAIN, "stage=[trained]", "head.out=8", *more]
    (place / "program.py").write_text(KILLED)

    def trained(name: str, step: int = -1, how: str = "SIGKILL") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "program.py", str(step), how, *overrides]
        command += [f"paths.runs={name}/runs", f"paths.cache={name}/cache"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)

    whole = trained("whole")
    assert whole.returncode == 0, whole.stderr
    begin = perf_counter()
    killed = trained("killed", step, how)
    assert killed.returncode == (-signal.SIGKILL if how == "SIGKILL" else 128 + signal.SIGTERM), killed.stderr
    assert not list((place / "killed").rglob("weights.safetensors")) and list((place / "killed").rglob("last.ckpt"))
    resumed = trained("killed")
    took = perf_counter() - begin
    assert resumed.returncode == 0, resumed.stderr
    a, b = ((place / name).rglob("cache/trained/*/weights.safetensors") for name in ("killed", "whole"))
    a, b = next(a), next(b)
    assert a.read_bytes() == b.read_bytes()
    told, wanted = (json.loads((file.parent / "outcome.json").read_text()) for file in (a, b))
    assert 0 < told["seconds"] < took, "the time between the two is not trained"
    assert told | {"seconds": 0} == wanted | {"seconds": 0}, "history, best epoch and images, too"


@pytest.mark.slow
def test_two_processes_train_what_one_does(place: Path) -> None:
    overrides = [*TRAIN, "stage=[trained]", "sampler.classes=2", "optimizer=sgd", "trainer.freeze_batch_norm=true"]
    overrides += ["optimizer.backbone_lr=0.01", "optimizer.head_lr=0.01", "optimizer.proxy_lr=0.1"]
    command = [sys.executable, "-m", "retrieval_bench.commands", "run", *overrides]
    files = []
    often = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.checkpoint_minutes=0.0015"]  # about a step
    for name, more in (("one", []), ("two", often)):
        folders = [f"paths.runs={name}/runs", f"paths.cache={name}/cache"]
        done = subprocess.run([*command, *folders, *more], capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
        (file,) = (place / name).rglob("cache/trained/*/weights.safetensors")
        files.append(load_file(file))
    for name, tensor in files[0].items():
        torch.testing.assert_close(files[1][name], tensor, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
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
    good = last.read_bytes()
    kept = torch.load(last, weights_only=True)
    name = next(name for name in kept["state_dict"] if name.startswith("model.head."))
    kept["state_dict"][name] = torch.zeros(3, 3)
    torch.save(kept, last)
    with pytest.raises(CorruptInput, match=rf"last\.ckpt cannot be taken up .*{name} is \[3, 3\].*delete .* and train"):
        run(overrides)
    last.write_bytes(pickle.dumps(print))
    with pytest.raises(CorruptInput, match=r"holds pickled objects.*loading it could run anything.*delete"):
        run(overrides)
    last.write_bytes(good[: len(good) // 2])
    with pytest.raises(CorruptInput, match=r"last\.ckpt cannot be taken up .*delete .* and train anew"):
        run(overrides)
