"""Runs an encoder as a compiled graph of OpenVINO, converted once and kept; torch is needed for converting only."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval_bench.encoder._engine import Engine, EngineError, Images, Precision, Vectors
from retrieval_bench.machine import cores

if TYPE_CHECKING:
    from torch import nn

_log = logging.getLogger(__name__)


class OpenVino(Engine):
    """Runs an OpenVINO model; `single`: tuned for the latency of one image."""

    def __init__(self, model: Any, precision: Precision, single: bool) -> None:
        ov = import_openvino()
        self._tensor = ov.Tensor
        half = precision == Precision.BFLOAT16
        options = {
            "PERFORMANCE_HINT": "LATENCY" if single else "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
            "INFERENCE_NUM_THREADS": cores(),
            "ENABLE_CPU_PINNING": False,  # decoding threads share the cores
        }
        try:
            self._compiled = ov.Core().compile_model(model, "CPU", options)
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


def kept(folder: Path) -> Any | None:
    """The model that `converted` kept; none if there is none, or a damaged one."""
    file = folder / "model.xml"
    if not file.is_file():
        return None
    try:
        return import_openvino().Core().read_model(file)
    except RuntimeError as error:
        _log.warning("%s is damaged: %s", file, _first_line(error))
        return None


def converted(graph: nn.Module, shape: tuple[int, int, int], folder: Path | None) -> Any:
    """The graph as an OpenVINO model; kept in `folder`, since converting takes seconds and reading does not.

    Args:
        shape: of one image: size, size, channels.

    Raises:
        EngineError: OpenVINO has no operation for a part of it.
    """
    if folder is not None and (model := kept(folder)) is not None:
        return model
    import torch

    ov = import_openvino()
    example = torch.zeros(2, *shape, dtype=torch.uint8)
    try:
        # Tracing is deprecated in torch and warns about shapes; OpenVINO uses it.
        with _quiet(), torch.inference_mode():
            model = ov.convert_model(graph, example_input=example, input=[ov.PartialShape([-1, *shape])])
    except (RuntimeError, TypeError, ValueError, ov.frontend.OpConversionFailure) as error:
        raise EngineError(f"OpenVINO cannot convert it: {_first_line(error)}") from error
    if folder is not None:
        _keep(ov, model, folder)
    return model


def _keep(ov: Any, model: Any, folder: Path) -> None:
    """Write the model to `folder`, whole or not at all, unless another process did; a damaged one gives way."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".model-") as temporary:
        ov.save_model(model, Path(temporary) / "new" / "model.xml", compress_to_fp16=False)
        with contextlib.suppress(OSError):
            if folder.exists() and kept(folder) is None:
                folder.rename(Path(temporary) / "old")
            (Path(temporary) / "new").rename(folder)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


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


def import_openvino() -> Any:
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
    _leave_open()
    return openvino


def _leave_open() -> None:
    """Point Abseil's log handler, which OpenVINO imports where it is installed, at the process's own stderr.

    It keeps the `sys.stderr` of its import, in a notebook the page's. When logging is set up anew, as Hydra does for
    each job of a sweep, it closes that one if `sys.stderr` is another by then: the notebook would be silent.
    """
    logging = sys.modules.get("absl.logging")
    if logging is not None:
        logging.get_absl_handler().python_handler.setStream(sys.__stderr__)
