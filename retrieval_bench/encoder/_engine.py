"""What runs an encoder: torch, or a compiled graph of it (OpenVINO on a CPU)."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retrieval_bench.encoder._preprocess import Preprocessing
from retrieval_bench.errors import BadConfig, MissingExtra

Images = NDArray[np.uint8]  # [b, size, size, 3]
Vectors = NDArray[np.float32]  # [b, dim]


class EngineName(StrEnum):
    """What runs the encoder."""

    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"


class Precision(StrEnum):
    """In which numbers the encoder computes; vectors are float32 either way."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Device(StrEnum):
    """Where the encoder computes."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class EngineError(Exception):
    """An engine cannot take this encoder; `engine: auto` goes on with torch."""


@dataclass(frozen=True)
class EngineChoice:
    """A settled engine; part of the cache key and of the record."""

    engine: EngineName
    precision: Precision
    device: Device

    def describe(self) -> dict[str, str]:
        """Engine, precision, device and version of the library, as JSON."""
        return {
            "engine": str(self.engine),
            "precision": str(self.precision),
            "device": str(self.device),
            "version": version(str(self.engine)),
        }


def engine_choices(engine: EngineName, precision: Precision, device: Device) -> list[EngineChoice]:
    """The engines to try, best first.

    Raises:
        BadConfig: cuda without a GPU, or OpenVINO on a GPU.
        MissingExtra: OpenVINO is wanted and not installed.
    """
    if device is Device.CUDA and not torch.cuda.is_available():
        raise BadConfig("embed.device=cuda: torch sees no GPU; type embed.device=cpu")
    if device is Device.AUTO:
        gpu = torch.cuda.is_available() and engine is not EngineName.OPENVINO
        device = Device.CUDA if gpu else Device.CPU
    if engine is EngineName.OPENVINO:
        if device is Device.CUDA:
            raise BadConfig("embed.engine=openvino runs on the CPU; type embed.device=cpu, or embed.engine=torch")
        if not _openvino_installed():
            raise MissingExtra("openvino", "openvino")
        return [EngineChoice(engine, precision, device)]
    fall_back = EngineChoice(EngineName.TORCH, precision, device)
    if engine is EngineName.AUTO and device is Device.CPU and _openvino_installed():
        return [EngineChoice(EngineName.OPENVINO, precision, device), fall_back]
    return [fall_back]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


class Engine(ABC):
    """Runs an encoder over batches of prepared images; normalisation is inside.

    Attributes:
        preprocessing: how its images were prepared.
    """

    preprocessing: Preprocessing

    @abstractmethod
    def run(self, batches: Iterable[Images]) -> Iterator[Vectors]:
        """uint8 [b, size, size, 3] → float32 [b, dim] for each batch, in order; reads ahead by a few batches."""

    def one(self, image: Images) -> Vectors:
        """The vector [dim] of one prepared image [size, size, 3]."""
        (vectors,) = self.run([image[None]])
        alone: Vectors = vectors[0]
        return alone


def open_engine(
    encoder: nn.Module, preprocessing: Preprocessing, choice: EngineChoice, folder: Path | None, single: bool = False
) -> Engine:
    """An engine that runs an encoder.

    Args:
        encoder: is put into evaluation mode.
        preprocessing: how its images were prepared.
        choice: one of `engine_choices`.
        folder: where a compiled engine keeps its graph, so that it is converted once; named after weights and settings.
        single: tuned for the latency of one image instead of throughput.

    Raises:
        EngineError: the encoder cannot be converted.
    """
    graph = _Normalised(encoder, preprocessing).eval()
    if choice.engine == EngineName.OPENVINO:
        engine: Engine = _OpenVino(graph, preprocessing.size, choice.precision, folder, single)
    else:
        engine = _Torch(graph, choice)
    engine.preprocessing = preprocessing
    return engine


def disagreement(vectors: Vectors, reference: Vectors) -> float:
    """Largest 1 − cosine between rows of two engines' answers; infinite where a value is not finite."""
    a, b = vectors.astype(np.float64), reference.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    same = (a == b).all(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.where(same, 0.0, 1.0 - (a * b).sum(axis=1) / lengths)
    return float(np.where(np.isfinite(apart), apart, np.inf).max())


class _Normalised(nn.Module):
    """Pixels → vectors: normalisation belongs to the graph, so that engines take bytes."""

    def __init__(self, encoder: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.encoder = encoder
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", (mean * 255).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", (1 / (std * 255)).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [b, size, size, 3] → float32 [b, dim]; the permuted view is channels-last without a copy."""
        pixels = images.permute(0, 3, 1, 2).float()
        vectors: Tensor = self.encoder({"image": (pixels - self.shift) * self.scale})
        return vectors.float()


class _Torch(Engine):
    def __init__(self, graph: nn.Module, choice: EngineChoice) -> None:
        self._device = torch.device(str(choice.device))
        self._half = choice.precision == Precision.BFLOAT16
        self._graph = graph.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(self, batches: Iterable[Images]) -> Iterator[Vectors]:
        for batch in batches:
            with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
                vectors = self._graph(torch.from_numpy(batch).to(self._device))
            yield vectors.cpu().numpy()


class _OpenVino(Engine):
    def __init__(self, graph: nn.Module, size: int, precision: Precision, folder: Path | None, single: bool) -> None:
        ov = _import_openvino()
        self._tensor = ov.Tensor
        half = precision == Precision.BFLOAT16
        options = {
            "PERFORMANCE_HINT": "LATENCY" if single else "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
            "INFERENCE_NUM_THREADS": cores(),
            "ENABLE_CPU_PINNING": False,  # decoding threads share the cores
        }
        try:
            core = ov.Core()
            self._compiled = core.compile_model(_converted(ov, graph, size, folder), "CPU", options)
            streams = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
            # One request more than streams: none of them waits for this thread.
            self._requests = [self._compiled.create_infer_request() for _ in range(1 if single else streams + 1)]
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot compile it: {_first_line(error)}") from error

    def run(self, batches: Iterable[Images]) -> Iterator[Vectors]:
        idle, busy = deque(self._requests), deque[Any]()
        try:
            for batch in batches:
                if not idle:
                    yield self._finish(busy, idle)
                request = idle.popleft()
                images = np.ascontiguousarray(batch)
                request.start_async({0: self._tensor(images, shared_memory=True)})
                busy.append((request, images))  # the images must outlive the request
            while busy:
                yield self._finish(busy, idle)
        finally:
            for request, _ in busy:
                request.wait()

    @staticmethod
    def _finish(busy: deque[Any], idle: deque[Any]) -> Vectors:
        request, _ = busy.popleft()
        request.wait()
        vectors: Vectors = request.get_output_tensor(0).data.astype(np.float32)  # a copy: the request is used again
        idle.append(request)
        return vectors


def _converted(ov: Any, graph: nn.Module, size: int, folder: Path | None) -> Any:
    """The graph as an OpenVINO model; kept in `folder`, since converting takes seconds and reading does not."""
    kept = None if folder is None else folder / "model.xml"
    if kept is not None and kept.is_file():
        return ov.Core().read_model(kept)
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    try:
        # Tracing is deprecated in torch and warns about shapes; OpenVINO uses it.
        with _quiet(), torch.inference_mode():
            model = ov.convert_model(graph, example_input=example, input=[ov.PartialShape([-1, size, size, 3])])
    except (RuntimeError, TypeError, ValueError, ov.frontend.OpConversionFailure) as error:
        raise EngineError(f"OpenVINO cannot convert it: {_first_line(error)}") from error
    if folder is not None and kept is not None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=".model-") as temporary:
            ov.save_model(model, Path(temporary) / "new" / "model.xml", compress_to_fp16=False)
            with contextlib.suppress(OSError):  # another process kept the same graph first
                (Path(temporary) / "new").rename(folder)
    return model


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _openvino_installed() -> bool:
    try:
        version("openvino")
    except PackageNotFoundError:
        return False
    return True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings; and the level of the root logger, which OpenVINO's converter raises to ERROR, stays as it was."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def _import_openvino() -> Any:
    """OpenVINO without its usage statistics: it writes to the home folder and calls home when imported."""
    telemetry = "openvino_telemetry"
    hidden = telemetry not in sys.modules
    if hidden:
        sys.modules[telemetry] = None  # type: ignore[assignment]  # makes its import fail, which OpenVINO foresees
    try:
        with _quiet():
            import openvino
            import openvino.frontend
    finally:
        if hidden:
            del sys.modules[telemetry]
    return openvino
