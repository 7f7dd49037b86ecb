"""Trainings of encoders of clips: above frozen frames, and through them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from retrieval_bench import run
from retrieval_bench._fit import _judge
from retrieval_bench._headed import freeze
from retrieval_bench.cli import experiment
from retrieval_bench.commands import main
from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.record import RunRecord
from retrieval_bench.train import Where, train
from retrieval_bench.types import Similarity

pytestmark = pytest.mark.xdist_group("train_clips")  # what they look at is made once
SMALL = [
    *("data=motions", "data.image_size=32", "data.frames=8", "data.train_clips=2", "data.validation_clips=2"),
    *("data.test_clips=2", "search=[exact]", "metric=[hit_rate,map_at_r]", "k=[5]", "cuts=[1]", "name=clips"),
    *("trainer.epochs=2", "sampler.classes=14", "sampler.per_class=2", "sampler.batches=3"),
    *("loss=contrastive", "logger=[]", "measure.passes=1", "embed.engine=torch"),
]
TINY = ["encoder.frame.model=test_resnet", "encoder.frame.weights=none", "pool=average"]
FROZEN = ["encoder=gru", *TINY, "encoder.over.hidden=16", "trainer.frozen=[frame]"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(cache))
    return tmp_path


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> RunRecord:
    """A training above frozen frames, before anything else is in the cache."""
    where = [f"paths.runs={tmp_path_factory.mktemp('runs')}", f"paths.cache={cache}"]
    return run([*SMALL, *FROZEN, "stage=[pretrained,trained]", *where])


@pytest.mark.slow
def test_above_frozen_frames_no_frame_is_encoded_again(frozen: RunRecord, cache: Path) -> None:
    record = frozen
    assert not (cache / "pixels").exists(), "vectors of frames are trained on, no pixels"
    assert len(list((cache / "features").glob("*.lock"))) == 3, "training, validation and test part, once each"
    assert list(record.stages) == ["random", "trained"]
    folder = record.folder / "trained"
    fresh = experiment([*SMALL, *FROZEN, "stage=[trained]"]).encoders["trained"]().exported()
    weights = load_file(folder / "weights.safetensors")
    same = {name: bool((weights[name] == tensor).all()) for name, tensor in fresh.items()}
    assert all(same[name] for name in same if name.startswith("frame."))
    assert not any(same[name] for name in ("over.project.weight", "over.network.weight_ih_l0"))
    history = pd.read_csv(folder / "history.csv")
    assert history["epoch"].tolist() == [0, 1, 2] and history["val_map_at_r"].between(0.001, 1).all()

    again = run([*SMALL, *FROZEN, "stage=[pretrained]", f"encoder.weights={folder / 'weights.safetensors'}"])
    columns = ["exact_hit_rate@1", "exact_map_at_r"]
    mine, theirs = (
        table[table["stage"] == stage] for table, stage in ((record.points, "trained"), (again.points, "pretrained"))
    )
    np.testing.assert_array_equal(mine[columns].to_numpy(), theirs[columns].to_numpy())


@pytest.mark.slow
def test_weights_above_an_earlier_layer_are_taken_back() -> None:
    lower = [*SMALL, *FROZEN, "encoder.frame.layer=layer2", "encoder.over.residual=false", "encoder.over.out=12"]
    made = experiment([*lower, "stage=[trained]"])
    where = Where(made.cache, made.seed, made.similarity, made.embed)
    model, _, folder = train(made.encoders["trained"](), made.recipe(), made.data, where, lambda *told: None)
    weights = [*lower, "stage=[pretrained]", f"encoder.weights={folder / 'weights.safetensors'}"]
    again = experiment(weights).encoders["pretrained"]()
    assert again.dim == 12 and set(again.head_weights) == set(model.head.state_dict())
    taken = again.exported()
    assert all(torch.equal(taken[name], tensor) for name, tensor in model.encoder.exported().items())
    with pytest.raises(CorruptInput, match=r"frame\.backbone\.layer3"):
        experiment([*weights, "encoder.frame.layer=null"]).encoders["pretrained"]()


def test_validation_ignores_the_whole_group_of_a_query() -> None:
    """Two groups of near duplicates with all labels in each: right answers stand in the other group alone."""
    rng = np.random.default_rng(0)
    labels, groups = np.tile(np.arange(6), 4), np.repeat([0, 1], 12)
    vectors = (rng.normal(size=(24, 8)) + 6 * np.eye(8)[groups]).astype(np.float32)
    part = SimpleNamespace(labels=labels, groups=groups, ids=np.arange(24) * 7)
    where = SimpleNamespace(similarity=Similarity.COSINE, seed=0)
    found = _judge(SimpleNamespace(validation=part, where=where))(np.arange(24), vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = np.where(groups[:, None] == groups, -np.inf, unit @ unit.T)
    assert found["hit_rate@1"] == (labels[scores.argmax(axis=1)] == labels).mean() > 0


@pytest.mark.slow
def test_vectors_of_another_engine_are_another_training(frozen: RunRecord) -> None:
    one = frozen.stages["trained"]["training"]["key"]
    assert run([*SMALL, *FROZEN, "stage=[trained]"]).stages["trained"]["training"]["key"] == one
    half = run([*SMALL, *FROZEN, "stage=[trained]", "embed.precision=bfloat16"])
    assert half.stages["trained"]["training"]["key"] != one


def test_weights_and_what_does_not_fit_them(frozen: RunRecord) -> None:
    file = frozen.folder / "trained" / "weights.safetensors"
    assert "Encoder of clips over rgb" in (file.parent / "model_card.md").read_text()
    with pytest.raises(BadConfig, match=r"was trained with the input .*; type the same settings of the frames"):
        run([*SMALL, *FROZEN, f"encoder.weights={file}", "encoder.frame.input_size=40"])
    streams = ["encoder=two_stream", "flow=dis", "encoder.flow.frame.weights=none", "encoder.rgb.frame.weights=none"]
    models = ["encoder.rgb.frame.model=test_resnet", "encoder.flow.frame.model=test_resnet", "pool=average"]
    gru = ["encoder.rgb.over._target_=retrieval_bench.encoder.over.Recurrent", "encoder.rgb.over.out=256"]
    gru += ["+encoder.rgb.over.cell=gru", "+encoder.rgb.over.hidden=16"]
    with pytest.raises(BadConfig, match=r"encoder\.rgb: its weights were trained below a head"):
        run([*SMALL, *streams, *models, *gru, f"encoder.rgb.weights={file}"])


def test_frames_of_both_streams_are_frozen_by_one_word() -> None:
    tiny = [
        f"encoder.{name}.frame.{rest}" for name in ("rgb", "flow") for rest in ("model=test_resnet", "weights=none")
    ]
    made = experiment([*SMALL, "encoder=two_stream", "flow=dis", *tiny]).encoders["random"]()
    freeze(made, ("frame",), 1e-4)
    frozen = {name for name, parameter in made.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in made.named_parameters() if ".frame." in name}
    with pytest.raises(BadConfig, match=r"trainer\.frozen: the encoder has no part 'head'"):
        freeze(made, ("head",), 1e-4)


@pytest.mark.slow  # two streams train through both kinds of frames by default
def test_frames_are_trained_through(cache: Path) -> None:
    record = run([*SMALL, "encoder=flow", *TINY, "flow=dis", "flow.pairs=2", "encoder.frame.channels=4",
                  "stage=[trained]", "augment=clip", "augment.flip=false"])  # fmt: skip
    weights = load_file(record.folder / "trained" / "weights.safetensors")
    fresh = experiment([*SMALL, "encoder=flow", *TINY, "flow=dis", "encoder.frame.channels=4", "stage=[random]"])
    start = fresh.encoders["random"]().exported()
    first = next(name for name, tensor in start.items() if tensor.ndim == 4)
    assert weights[first].shape[1] == 4 and not (weights[first] == start[first]).all()
    assert (cache / "pixels").is_dir()


@pytest.mark.slow
def test_two_streams_are_trained_together(cache: Path) -> None:
    tiny = [each.replace("encoder.", f"encoder.{name}.") for name in ("rgb", "flow") for each in TINY[:2]]
    overs = ["encoder.rgb.over.out=8", "encoder.flow.over.out=8", "head=identity"]
    record = run([*SMALL, "encoder=two_stream", *tiny, "pool=average", "flow=dis", "flow.pairs=2", *overs,
                  "encoder.flow.frame.channels=4", "stage=[trained]", "augment=clip", "augment.flip=false",
                  "augment.frames=2"])  # fmt: skip
    assert record.stages["trained"]["encoder"]["dim"] == 16
    assert set(record.stages["trained"]["preprocessing"]) == {"rgb", "flow"}
    weights = load_file(record.folder / "trained" / "weights.safetensors")
    given = [*SMALL, "encoder=two_stream", *tiny, "pool=average", "flow=dis", "flow.pairs=2", *overs[:2]]
    start = experiment([*given, "encoder.flow.frame.channels=4"]).encoders["random"]().exported()
    for stream in ("rgb", "flow"):
        first = next(name for name, tensor in start.items() if name.startswith(f"{stream}.frame") and tensor.ndim == 4)
        assert not (weights[first] == start[first]).all(), f"{stream} is trained"


def test_changes_of_clips_are_none_of_images() -> None:
    with pytest.raises(BadConfig, match=r"augment=clip changes clips, .* type augment=crop_flip"):
        run(["data=digits", "data.n_test=50", "stage=[trained]", "augment=clip", "encoder=timm",
             "encoder.model=test_resnet", "encoder.weights=none", "sampler.classes=2"])  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["encoder=frames", *TINY, "stage=[trained]"], "type augment=clip .*or trainer.frozen=.frame."),
        (
            ["encoder=efficientnet_lite0"],
            "the encoder takes image, but data=motions yields only rgb; for videos type encoder=frames",
        ),
        (["encoder=flow"], "the encoder takes flow, but data=motions yields only rgb; for optical flow type flow=dis"),
        (
            ["encoder=frames", "encoder.weights=timm"],
            "an encoder of clips takes none, or the weights.safetensors of a run",
        ),
    ],
)
def test_mistakes_are_told(wrong: list[str], message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        run([*SMALL, *wrong])


def test_an_image_data_set_has_no_clips(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "data=digits", "encoder=frames", "data.n_test=50"]) == 2
    assert "the encoder takes rgb, but data=digits yields only image" in capsys.readouterr().err.replace("\n", " ")
