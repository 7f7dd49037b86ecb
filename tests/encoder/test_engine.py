import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval_bench.encoder.base import (
    Device,
    Encoder,
    EngineChoice,
    EngineError,
    EngineName,
    Precision,
    Preprocessing,
    disagreement,
    engine_choices,
    kept_engine,
    open_engine,
)
from retrieval_bench.encoder.image import ImageEncoder
from retrieval_bench.encoder.pooling import Average
from retrieval_bench.errors import BadConfig, MissingExtra

SIZE = 48
TORCH = EngineChoice(EngineName.TORCH, Precision.FLOAT32, Device.CPU)
OPENVINO = EngineChoice(EngineName.OPENVINO, Precision.FLOAT32, Device.CPU)


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    return ImageEncoder("test_efficientnet", "none", Average(), mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.4])


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (11, SIZE, SIZE, 3), dtype=np.uint8)


def plain(encoder: ImageEncoder, images: np.ndarray) -> np.ndarray:
    how = encoder.preprocessing(SIZE)
    pixels = (images / 255.0 - np.array(how.mean)) / np.array(how.std)
    with torch.inference_mode():
        vectors: Tensor = encoder.eval()({"image": torch.tensor(pixels, dtype=torch.float32).permute(0, 3, 1, 2)})
    return vectors.numpy()


def test_torch_normalises_as_the_plain_formula_does(encoder: ImageEncoder, images: np.ndarray) -> None:
    engine = open_engine(encoder, encoder.preprocessing(SIZE), TORCH, None)
    (vectors,) = engine.run([images])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, plain(encoder, images), rtol=1e-4, atol=1e-5)


def test_openvino_agrees_keeps_order_and_takes_any_batch(
    encoder: ImageEncoder, images: np.ndarray, tmp_path: Path
) -> None:
    expected = plain(encoder, images)
    for _ in range(2):  # the second engine reads the kept graph
        engine = open_engine(encoder, encoder.preprocessing(SIZE), OPENVINO, tmp_path / "graph")
        batches = [images[:4], images[4:5], images[5:9], images[9:]] * 3
        found = np.concatenate(list(engine.run(batches)))
        np.testing.assert_allclose(found, np.concatenate([expected] * 3), rtol=1e-3, atol=1e-4)
        assert disagreement(found[:11], expected) < 1e-6
    assert {p.name for p in (tmp_path / "graph").iterdir()} == {"model.xml", "model.bin"}
    assert list(tmp_path.iterdir()) == [tmp_path / "graph"]
    single = open_engine(encoder, encoder.preprocessing(SIZE), OPENVINO, tmp_path / "graph", single=True)
    np.testing.assert_allclose(single.one(images[3]), expected[3], rtol=1e-3, atol=1e-4)


def test_a_kept_graph_is_opened_without_its_encoder(encoder: ImageEncoder, images: np.ndarray, tmp_path: Path) -> None:
    how, folder = encoder.preprocessing(SIZE), tmp_path / "graph"
    assert kept_engine(how, OPENVINO, folder) is None
    assert kept_engine(how, TORCH, folder) is None
    (expected,) = open_engine(encoder, how, OPENVINO, folder).run([images])
    kept = kept_engine(how, OPENVINO, folder)
    assert kept is not None and kept.preprocessing == how
    assert disagreement(np.stack([kept.one(image) for image in images]), expected) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["no weights", "short weights", "short graph"])
def test_a_damaged_graph_is_converted_again(
    damage: str, encoder: ImageEncoder, images: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    how, folder = encoder.preprocessing(SIZE), tmp_path / "graph"
    open_engine(encoder, how, OPENVINO, folder)
    file = folder / ("model.xml" if damage == "short graph" else "model.bin")
    if damage == "no weights":
        file.unlink()
    else:
        with file.open("r+b") as opened:
            opened.truncate(file.stat().st_size // 2)
    assert kept_engine(how, OPENVINO, folder) is None
    assert "model.xml is damaged" in caplog.text
    (vectors,) = open_engine(encoder, how, OPENVINO, folder).run([images])
    assert disagreement(vectors, plain(encoder, images)) < 1e-6
    assert kept_engine(how, OPENVINO, folder) is not None
    assert list(tmp_path.iterdir()) == [folder]


def test_bfloat16_is_another_answer_of_the_same_direction(encoder: ImageEncoder, images: np.ndarray) -> None:
    choice = EngineChoice(EngineName.TORCH, Precision.BFLOAT16, Device.CPU)
    (vectors,) = open_engine(encoder, encoder.preprocessing(SIZE), choice, None).run([images])
    assert vectors.dtype == np.float32
    assert 0 < disagreement(vectors, plain(encoder, images)) < 1e-2


def test_abandoned_batches_are_waited_for(encoder: ImageEncoder, images: np.ndarray) -> None:
    engine = open_engine(encoder, encoder.preprocessing(SIZE), OPENVINO, None)
    run = engine.run(images[i : i + 1].copy() for i in range(11))
    next(run)
    run.close()
    (again,) = engine.run([images])
    assert disagreement(again, plain(encoder, images)) < 1e-6


class Unconvertible(Encoder):
    inputs = ("image",)
    dim = 2

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return torch.stack([torch.linalg.eigvals(x[0, :2, :2]).real for x in inputs["image"]])

    def preprocessing(self, native_size: int | None) -> Preprocessing:
        raise AssertionError

    def describe(self) -> dict[str, str]:
        return {}


def test_what_openvino_cannot_take_is_an_engine_error() -> None:
    how = Preprocessing(SIZE, None, "bicubic", (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(EngineError, match="OpenVINO cannot"):
        open_engine(Unconvertible(), how, OPENVINO, None)


def test_disagreement_sees_angles_zeros_and_nan() -> None:
    a = np.array([[1.0, 0.0], [0.0, 0.0]], np.float32)
    assert disagreement(a, a) == 0
    assert disagreement(a, a * 3) == 0
    assert disagreement(a[:1], np.array([[0.6, 0.8]], np.float32)) == pytest.approx(0.4)
    assert disagreement(a[:1], np.array([[np.nan, 0.0]], np.float32)) == np.inf
    assert disagreement(a[:1], np.zeros((1, 2), np.float32)) == np.inf


def test_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    full, cpu = Precision.FLOAT32, Device.CPU
    assert engine_choices(EngineName.AUTO, full, cpu) == [OPENVINO, TORCH]
    assert engine_choices(EngineName.TORCH, full, Device.AUTO) == [TORCH]
    with pytest.raises(BadConfig, match="device=cpu"):
        engine_choices(EngineName.TORCH, full, Device.CUDA)
    monkeypatch.setattr("retrieval_bench.encoder._engine._openvino_installed", lambda: False)
    assert engine_choices(EngineName.AUTO, full, cpu) == [TORCH]
    with pytest.raises(MissingExtra, match=r"retrieval-bench\[openvino\]"):
        engine_choices(EngineName.OPENVINO, full, cpu)
    with pytest.raises(MissingExtra, match=r"retrieval-bench\[openvino\]"):
        kept_engine(Preprocessing(SIZE, None, "bicubic", (0.5,) * 3, (0.5,) * 3), OPENVINO, Path("nowhere"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert engine_choices(EngineName.AUTO, full, Device.AUTO) == [EngineChoice(EngineName.TORCH, full, Device.CUDA)]
    with pytest.raises(BadConfig, match="engine=torch"):
        engine_choices(EngineName.OPENVINO, full, Device.CUDA)


def test_openvino_is_imported_without_its_usage_statistics() -> None:
    from retrieval_bench.encoder._openvino import import_openvino

    import_openvino()
    assert "openvino_telemetry" not in sys.modules


def test_a_redirected_stderr_stays_open_when_logging_is_set_up_anew() -> None:
    """In a process of its own: only the first import of Abseil's log handler takes the stream."""
    pytest.importorskip("absl")  # comes with TensorBoard; OpenVINO imports it where it is
    body = """
import io, logging.config, sys
from contextlib import redirect_stderr
from retrieval_bench.encoder._openvino import import_openvino

page = io.StringIO()
with redirect_stderr(page):  # as a notebook does
    import_openvino()
    assert "absl.logging" in sys.modules
    with redirect_stderr(io.StringIO()):  # as %%capture does
        logging.config.dictConfig({"version": 1})  # as Hydra does for every job of a sweep
assert not page.closed
"""
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
