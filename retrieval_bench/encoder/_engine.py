"""What runs an encoder: torch, or a compiled graph of it (OpenVINO on a CPU); each is imported when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.encoder._preprocess import Preprocessing
from retrieval_bench.errors import BadConfig, MissingExtra

if TYPE_CHECKING:
    from torch import nn

Images = NDArray[np.uint8]  # [b, size, size, c]
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
    from torch.cuda import is_available

    if device is Device.CUDA and not is_available():
        raise BadConfig("embed.device=cuda: torch sees no GPU; type embed.device=cpu")
    if device is Device.AUTO:
        gpu = is_available() and engine is not EngineName.OPENVINO
        device = Device.CUDA if gpu else Device.CPU
    if engine is EngineName.OPENVINO:
        if device is Device.CUDA:
            raise BadConfig("embed.engine=openvino runs on the CPU; type embed.device=cpu, or embed.engine=torch")
        _need_openvino()
        return [EngineChoice(engine, precision, device)]
    fall_back = EngineChoice(EngineName.TORCH, precision, device)
    if engine is EngineName.AUTO and device is Device.CPU and _openvino_installed():
        return [EngineChoice(EngineName.OPENVINO, precision, device), fall_back]
    return [fall_back]


class Engine(ABC):
    """Runs an encoder over batches of prepared images; normalisation is inside.

    Attributes:
        preprocessing: how its images were prepared.
    """

    preprocessing: Preprocessing

    @abstractmethod
    def run(self, batches: Iterable[Images]) -> Iterator[Vectors]:
        """uint8 [b, size, size, c] → float32 [b, dim] for each batch, in order; reads ahead by a few batches."""

    def one(self, image: Images) -> Vectors:
        """The vector [dim] of one prepared image [size, size, c]."""
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
        MissingExtra: OpenVINO is not installed.
    """
    from retrieval_bench.encoder._torch import Normalised, TorchEngine

    graph = Normalised(encoder, preprocessing).eval()
    if choice.engine is EngineName.OPENVINO:
        _need_openvino()
        from retrieval_bench.encoder._openvino import OpenVino, converted

        shape = (preprocessing.size, preprocessing.size, preprocessing.channels)
        engine: Engine = OpenVino(converted(graph, shape, folder), choice.precision, single)
    else:
        engine = TorchEngine(graph, choice)
    engine.preprocessing = preprocessing
    return engine


def kept_engine(preprocessing: Preprocessing, choice: EngineChoice, folder: Path) -> Engine | None:
    """The engine for one image at a time whose graph `open_engine` kept in `folder`, without the encoder and torch.

    None if there is no graph, if it is damaged, and for torch, which keeps none.

    Raises:
        MissingExtra: OpenVINO is not installed.
    """
    if choice.engine is not EngineName.OPENVINO:
        return None
    _need_openvino()
    from retrieval_bench.encoder._openvino import OpenVino, kept

    graph = kept(folder)
    if graph is None:
        return None
    engine = OpenVino(graph, choice.precision, single=True)
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


def _need_openvino() -> None:
    if not _openvino_installed():
        raise MissingExtra("openvino", "openvino")


def _openvino_installed() -> bool:
    try:
        version("openvino")
    except PackageNotFoundError:
        return False
    return True
