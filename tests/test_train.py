"""Whole trainings on small data: what they leave, that they are exact, and that they go on where they were killed."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from small_training import TRAIN

from retrieval_bench import _fit, run
from retrieval_bench._headed import restored
from retrieval_bench._learner import Batch, Learner
from retrieval_bench._material import need_pairs, parts_of
from retrieval_bench.cli import CONF, experiment
from retrieval_bench.commands import main
from retrieval_bench.data.base import Dataset, Items
from retrieval_bench.errors import BadConfig, CorruptInput, RetrievalBenchError
from retrieval_bench.record import RunRecord
from retrieval_bench.train import Trainer

pytestmark = pytest.mark.xdist_group("train")  # what they look at is made once


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


@pytest.mark.slow
def test_its_weights_are_taken_back_with_all_that_decides_vectors(place: Path) -> None:
    first = run([*TRAIN, "stage=[trained]", "encoder.mean=[0.2,0.3,0.4]", "encoder.input_size=40", "pool=gem"])
    weights = first.folder / "trained" / "weights.safetensors"
    again = run([*TRAIN, "stage=[pretrained]", f"encoder.weights={weights}", "pool=gem"])
    for name in ("exact_map_at_r", "exact_hit_rate@1"):
        assert quality(again, "pretrained", name) == quality(first, "trained", name)
    with pytest.raises(BadConfig, match=r"trained with the pooling GeM, not Average; type pool=gem"):
        run([*TRAIN, "stage=[pretrained]", f"encoder.weights={weights}"])
    again = run([*TRAIN, "stage=[trained]", f"encoder.weights={weights}", "pool=gem", "head.out=8"])
    assert again.stages["trained"]["encoder"]["dim"] == 8, "a new head where the user asks for one"


def test_a_head_or_backbone_that_does_not_fit_is_told(done: RunRecord, place: Path) -> None:
    weights = f"encoder.weights={done.folder / 'trained' / 'weights.safetensors'}"
    with pytest.raises(BadConfig, match=r"type head=mlp head\.hidden=512 head\.out=16 head\.dropout=0\.0"):
        run([*TRAIN, "stage=[pretrained]", weights, "head.out=8"])
    with pytest.raises(CorruptInput, match=r"another architecture: .* is missing"):
        run([*TRAIN, "stage=[pretrained]", weights, "encoder.model=test_efficientnet"])


@pytest.mark.slow
def test_another_run_starts_from_its_embeddings_or_its_weights(done: RunRecord, place: Path) -> None:
    for cache in (done.folder.parents[2] / "cache", place / "empty"):
        again = run([f"from={done.folder}", "search=[hnsw]", f"paths.cache={cache}", f"paths.runs={place / 'runs'}"])
        assert again.stages["trained"]["training"] == done.stages["trained"]["training"]
        rows = again.points[(again.points["stage"] == "trained") & (again.points["index"] == "hnsw")]
        rows = rows[rows["half"] == "all"]
        assert (rows["exact_map_at_r"] == quality(done, "trained")).all()
    assert not (place / "empty" / "trained").exists(), "nothing is trained again"


def test_a_trained_run_answers_questions(
    done: RunRecord, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = experiment(TRAIN).data
    Image.fromarray(data.gallery().read(7)["image"]).save(place / "seven.png")
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["query", str(done.folder), "seven.png", "--stage", "trained", "-k", "3"]) == 0
    assert data.gallery().keys[7] in capsys.readouterr().out


@pytest.mark.slow
def test_what_decides_numbers_decides_where_a_training_is_kept(place: Path) -> None:
    overrides = [*TRAIN, "stage=[trained]", "trainer.epochs=1", "trainer.validate=false", "sampler.batches=1"]
    for more in ([], ["encoder.input_size=40"], ["encoder.std=[0.2,0.2,0.2]"], ["loss=supcon"], ["similarity=dot"]):
        run([*overrides, *more])
    assert len(list((place / "cache" / "trained").glob("*/weights.safetensors"))) == 5


@pytest.mark.slow
def test_the_seed_decides(done: RunRecord, place: Path) -> None:
    same, other = run(TRAIN), run([*TRAIN, "seed=1"])
    mine = (done.folder / "trained" / "weights.safetensors").read_bytes()
    assert (same.folder / "trained" / "weights.safetensors").read_bytes() == mine
    assert (other.folder / "trained" / "weights.safetensors").read_bytes() != mine


@pytest.mark.slow
def test_without_validation_the_last_epoch_is_taken(place: Path) -> None:
    record = run([*TRAIN, "trainer.validate=false", "stage=[trained]"])
    training = record.stages["trained"]["training"]
    assert training["best"] == 2 and training["facts"]["n_classes"] == 5, "validation classes are trained on, too"
    assert not any(name.startswith("val_") for name in training["history"][0])


@pytest.mark.slow
def test_frozen_parts_stay(place: Path) -> None:
    record = run([*TRAIN, "trainer.frozen=[conv1,layer1,layer2.0.bn1]", "stage=[trained]"])
    trained = load_file(record.folder / "trained" / "weights.safetensors")
    fresh = experiment([*TRAIN, "stage=[trained]"]).encoders["trained"]().exported()
    moved = {name for name, tensor in fresh.items() if not torch.equal(tensor, trained[name])}
    assert not [name for name in moved if name.startswith(("conv1.", "layer1.", "layer2.0.bn1."))]
    assert {name.split(".")[0] for name in moved} >= {"layer2", "layer3", "bn1"}
    with pytest.raises(BadConfig, match=r"trainer\.frozen: the encoder has no part 'blocks'; its parts are .*conv1"):
        run([*TRAIN, "trainer.frozen=[blocks]", "stage=[trained]"])


@pytest.mark.slow
@pytest.mark.parametrize("validate", [True, False])
def test_the_moving_average_is_what_is_validated_and_kept(
    validate: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    raw: list[dict[str, torch.Tensor]] = []

    class Watched(Learner):
        def validation_step(self, batch: Batch, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            seen.append((batch[0]["image"], self._seen[-1][1].clone()))

        def on_train_epoch_end(self) -> None:
            super().on_train_epoch_end()
            raw.append({name: tensor.clone() for name, tensor in self.model.state_dict().items()})

    monkeypatch.setattr(_fit, "Learner", Watched)
    overrides = [*TRAIN, "trainer.ema=0.9", "stage=[trained]", f"trainer.validate={validate}"]
    record = run(overrides)
    made = experiment(overrides)
    model = restored(made.encoders["trained"](), made.head(), record.folder / "trained").eval()
    best = record.stages["trained"]["training"]["best"]
    assert any(not torch.equal(tensor, model.state_dict()[name]) for name, tensor in raw[best - 1].items())
    how = model.preprocessing(made.data.image_size)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in (how.mean, how.std))
    each = len(seen) // 3 if validate else 0
    for images, vectors in seen[best * each : (best + 1) * each]:
        with torch.no_grad():
            torch.testing.assert_close(model({"image": (images.float() - mean) / std}), vectors, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [True, False])
def test_running_statistics_move_only_where_they_may(frozen: bool, place: Path) -> None:
    record = run([*TRAIN, f"trainer.freeze_batch_norm={frozen}", "stage=[trained]", "trainer.epochs=1"])
    trained = load_file(record.folder / "trained" / "weights.safetensors")
    fresh = experiment([*TRAIN, "stage=[trained]"]).encoders["trained"]().exported()
    same = {name: torch.equal(fresh[name], trained[name]) for name in fresh if "bn" in name}
    assert {same[name] for name in same if name.endswith(("running_mean", "running_var"))} == {frozen}
    assert not any(same[name] for name in same if name.endswith("bias")), "scales and shifts are trained in both cases"


def test_a_loss_that_is_no_number_names_its_items(place: Path) -> None:
    with pytest.raises(
        RetrievalBenchError,
        match=r"(the loss is (nan|inf)|embeddings are not finite numbers).*diverged\.csv.*lower optimizer",
    ):
        run([*TRAIN, "optimizer.backbone_lr=1e30", "optimizer.head_lr=1e30", "stage=[trained]"])
    (file,) = (place / "cache").rglob("diverged.csv")
    items = pd.read_csv(file)["item"].tolist()
    assert len(items) == 12 and set(items) <= set(experiment(TRAIN).data.train().keys)


@pytest.mark.parametrize("validate", [True, False])
def test_a_last_step_that_ruins_the_weights_is_no_training(validate: bool, place: Path) -> None:
    fast = ["optimizer.backbone_lr=1e30", "optimizer.head_lr=1e30", "optimizer.schedule.warm_up=0"]
    one = ["sampler.batches=1", "trainer.epochs=1", f"trainer.validate={validate}", "stage=[trained]"]
    with pytest.raises(RetrievalBenchError, match=r"not finite numbers.*diverged\.csv.*lower optimizer"):
        run([*TRAIN, *fast, *one])
    (file,) = (place / "cache").rglob("diverged.csv")
    assert len(pd.read_csv(file)) == 12
    assert not list((place / "cache").rglob("weights.safetensors"))


@pytest.mark.parametrize("miner", ["none", *sorted(file.stem for file in (CONF / "miner").glob("*.yaml"))])
def test_embeddings_that_are_no_numbers_stop_it_before_a_miner_fails(miner: str, place: Path) -> None:
    fast = ["optimizer.backbone_lr=1e30", "optimizer.head_lr=1e30", "optimizer.schedule.warm_up=0", "stage=[trained]"]
    with pytest.raises(RetrievalBenchError, match=r"(embeddings are not finite numbers|the loss is).*diverged\.csv"):
        run([*TRAIN, *fast, "loss=triplet", *([] if miner == "none" else [f"miner={miner}"])])


@pytest.mark.slow
def test_the_model_card_tells_what_was_measured(place: Path) -> None:
    record = run([*TRAIN, "stage=[trained]", "trainer.validate=false", "trainer.epochs=1"])
    front = (record.folder / "trained" / "model_card.md").read_text().split("---\n")[1]
    card = yaml.safe_load(front)
    row = record.points[record.points["index"] == "exact"].iloc[0]
    names = ["exact_hit_rate@1", "exact_hit_rate@1_lo", "exact_hit_rate@1_hi"]
    assert card["run"] == record.run_id and card["validation"] == {}
    assert card["test"]["hit_rate@1"] == [round(float(row[name]), 5) for name in names]
    assert set(card["test"]) >= {"hit_rate@1", "map_at_r"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("sampler.classes=4", "sampler.classes=4: .* 3 classes"),
        ("trainer.accumulate=5", "does not divide the 12 batches of an epoch; type sampler.batches=10"),
        ("miner=batch_hard", "no use for a miner; type miner=null"),
        ("head.out=0", "head.out=0"),
        ("trainer.epochs=0", "trainer.epochs=0: a whole number from 1"),
        ("trainer.ema=1.0", "trainer.ema=1.0: a decay above 0"),
        ("trainer.precision=half", "trainer.precision=half: type one of"),
        ("loss=proxy_ankor", "did you mean proxy_anchor"),
        ("trainer.epoch=3", "did you mean epochs"),
    ],
)
def test_mistakes_are_told_before_anything_is_encoded(wrong: str, message: str, place: Path) -> None:
    with pytest.raises(BadConfig, match=message):
        run([*TRAIN, wrong])
    assert not (place / "cache" / "embeddings").exists() and not (place / "cache" / "pixels").exists()


class Parts(Dataset):
    """Two photographs a class; training classes 0 – 3, validation 4 and 5, test classes as they are given."""

    name = "parts"
    image_size = 32

    def __init__(self, test: tuple[int, ...]) -> None:
        self._test = test

    def _items(self, name: str, classes: tuple[int, ...]) -> Items:
        labels = np.repeat(np.array(classes, np.int64), 2)
        return Items([f"{name}/{i}" for i in range(len(labels))], lambda row: {}, name, labels)

    def train(self) -> Items:
        return self._items("train", (0, 1, 2, 3))

    def validation(self) -> Items:
        return self._items("validation", (4, 5))

    def queries(self) -> Items:
        return self._items("test", self._test)

    gallery = queries

    def truth(self) -> None:
        return None

    @property
    def protocol(self) -> dict[str, object]:
        return {"data": self.name}


@pytest.mark.parametrize(
    ("labels", "groups", "enough"),
    [
        ([3, 4, 5], None, False),  # a class with one image has nothing to find
        ([3, 4, 4], None, True),
        ([3, 4, 4], [0, 1, 1], False),  # nor has one whose images are all of one group
        ([3, 4, 4], [0, 1, 2], True),
    ],
)
def test_validation_needs_another_item_of_a_class(labels: list[int], groups: list[int] | None, enough: bool) -> None:
    part: Any = SimpleNamespace(labels=np.array(labels), groups=None if groups is None else np.array(groups))
    with nullcontext() if enough else pytest.raises(BadConfig, match=r"no validation item.*trainer\.validate=false"):
        need_pairs(part, "mine")


def test_classes_on_both_sides_are_told() -> None:
    settings = Trainer()
    assert parts_of(Parts((6, 7)), settings)[2] == []
    assert parts_of(Parts((3, 4, 5, 6)), settings)[2] == [
        "training on 1 of the test's classes, so its metrics are not of unseen classes",
        "the epoch is chosen by 2 of the test's classes, so its metrics are not of unseen classes",
    ]
    shared = Parts((6, 7))
    shared.validation = lambda: shared._items("validation", (3, 4))  # type: ignore[method-assign]
    assert parts_of(shared, settings)[2] == [
        "the epoch is chosen by 1 of the classes that are trained on, so they are not unseen ones"
    ]
    joined, none, told = parts_of(Parts((4, 6)), Trainer(validate=False))
    assert told == ["training on 1 of the test's classes, so its metrics are not of unseen classes"]
    assert none is None and np.unique(joined.labels).tolist() == [0, 1, 2, 3, 4, 5]
