"""What an encoder is, what its input looks like, and what runs it.

`Encoder`, `Headed`, `Pool` and `Temporal` are torch modules; torch is imported when one of them is first named, so
that a kept engine (`kept_engine`) answers without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrieval_bench.encoder._engine import (
    Device,
    Engine,
    EngineChoice,
    EngineError,
    EngineName,
    Precision,
    disagreement,
    engine_choices,
    kept_engine,
    open_engine,
)
from retrieval_bench.encoder._preprocess import Preprocessing, prepare, prepare_alone

if TYPE_CHECKING:
    from retrieval_bench.encoder._module import Encoder, Headed, Pool, Temporal, by_frames
    from retrieval_bench.encoder._weights import HEAD, differences, fill_named, read_torch, tensors_of

__all__ = [
    "HEAD",
    "Device",
    "Encoder",
    "Engine",
    "EngineChoice",
    "EngineError",
    "EngineName",
    "Headed",
    "Pool",
    "Precision",
    "Preprocessing",
    "Temporal",
    "by_frames",
    "differences",
    "disagreement",
    "engine_choices",
    "fill_named",
    "kept_engine",
    "open_engine",
    "prepare",
    "prepare_alone",
    "read_torch",
    "tensors_of",
]

if not TYPE_CHECKING:  # so that a type checker still finds misspelt names

    def __getattr__(name: str) -> Any:
        if name in {"Encoder", "Headed", "Pool", "Temporal", "by_frames"}:
            from retrieval_bench.encoder import _module

            return getattr(_module, name)
        if name in {"HEAD", "differences", "fill_named", "read_torch", "tensors_of"}:
            from retrieval_bench.encoder import _weights

            return getattr(_weights, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
