"""An encoder with a head: fresh, from a weights' file, or from the folder of a training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from retrieval_bench._trained_files import WEIGHTS, fill, typed
from retrieval_bench.encoder.base import Encoder, Headed, fill_named
from retrieval_bench.errors import BadConfig
from retrieval_bench.head.base import Head


def headed(encoder: Encoder, head: Callable[..., Head], seed: int) -> Headed:
    """An encoder with the head that came with its weights.

    Raises:
        BadConfig: the configuration describes another head; says what to type.
    """
    if not came_with(encoder, head):
        remedy = "" if encoder.head_node is None else f"; type {typed('head', encoder.head_node)}"
        raise BadConfig(f"encoder.weights brings a head that is not the configured one{remedy}")
    model = _made(encoder, head, seed)
    fill_named(model.head, encoder.head_weights, Path("encoder.weights"))
    return model


def to_train(encoder: Encoder, head: Callable[..., Head], seed: int) -> Headed:
    """An encoder with the head that came with its weights, or with a fresh one, which the seed decides."""
    return headed(encoder, head, seed) if came_with(encoder, head) else _made(encoder, head, seed)


def came_with(encoder: Encoder, head: Callable[..., Head]) -> bool:
    """Whether the weights of an encoder brought just the head that is configured."""
    if not isinstance(head, partial) or encoder.head_node is None:
        return False
    target = f"{head.func.__module__}.{getattr(head.func, '__qualname__', '')}"
    return target == encoder.head_node.get("_target_") and dict(head.keywords) == _values(encoder.head_node)


def restored(encoder: Encoder, head: Callable[..., Head], folder: Path) -> Headed:
    """A model that was trained before, from the folder that keeps its files. Raises CorruptInput."""
    model = _made(encoder, head, 0)
    fill(model, folder / WEIGHTS)
    return model


def _made(encoder: Encoder, head: Callable[..., Head], seed: int) -> Headed:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = head(dim=encoder.dim)
    model = Headed(encoder, made, made.out, {})
    model.blocks = None if made.mixes else encoder.blocks
    return model


def _values(node: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name not in {"_target_", "_partial_"}}


def freeze(encoder: Encoder, parts: tuple[str, ...], rate: float) -> None:
    """Take parts of the backbone, by name, out of the training; all encoders of frames where their rate is 0.

    Of an encoder of clips a part may also be named as it is inside its streams: `frame` is the frames' encoder of each.

    Raises:
        BadConfig: the encoder has no such part; names those that it has.
    """
    names = [name for name, _ in encoder.named_parameters()]
    for part in parts:
        held = [name for name in names if f"{name.removeprefix('backbone.')}.".startswith(f"{part}.")]
        if not held and encoder.frames():
            held = [name for name in names if f".{part}." in f".{name}."]
        if not held:
            has = sorted({name.removeprefix("backbone.").split(".")[0] for name in names})
            raise BadConfig(f"trainer.frozen: the encoder has no part {part!r}; its parts are {', '.join(has)}")
        for name in held:
            encoder.get_parameter(name).requires_grad_(False)
    for frame in encoder.frames().values() if rate == 0 else ():
        frame.requires_grad_(False)
