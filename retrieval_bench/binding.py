"""Checks of a composed configuration before anything is imported or built.

A misspelt key composes silently in Hydra, and a foreign `_target_` can reach a shell. So a target must stand in the
shipped `conf/` or be allowed on the command line, and its keys must be its parameters; the yaml lists them all.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from retrieval_bench.errors import BadConfig

STAGES = ("random", "pretrained", "trained")
SINGLE = ("data", "encoder", "embed", "measure")
OPTIONAL = ("moment",)  # parts that a configuration may lack
TRAINING = ("head", "loss", "miner", "sampler", "optimizer", "augment", "trainer")  # of the stage `trained`
MANY = ("transform", "search", "metric", "logger")
RESERVED = frozenset({"_target_", "_partial_"})
Node = Mapping[str, Any]


def nearest(given: str, valid: Iterable[str]) -> str:
    """'did you mean …?' and the whole list, for an error.

    >>> nearest("glyph", ["glyphs", "digits"])
    'did you mean glyphs? Allowed: digits, glyphs'
    """
    valid = sorted(valid)
    close = get_close_matches(given, valid, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}Allowed: {', '.join(valid) or 'nothing'}"


def wrong_key(key: str, known: Mapping[Any, Any], top: Sequence[str]) -> str | None:
    """What is wrong with a key, if anything: its first part that does not exist, and what does."""
    node: Any = known
    path = ""
    for part in key.split("."):
        valid = top if node is known else sorted(map(str, node)) if isinstance(node, Mapping) else []
        if part not in valid:
            return f"there is no {key}: {path or 'the configuration'} has no {part!r}; {nearest(part, valid)}"
        path = f"{path}.{part}" if path else part
        node = node.get(part)
    return None


def choice(name: str, value: Any, allowed: Sequence[str]) -> str:
    """One of a few words, or BadConfig."""
    if value not in allowed:
        raise BadConfig(f"{name}={value} does not exist; {nearest(str(value), allowed)}")
    return str(value)


def positive(name: str, values: Any) -> tuple[int, ...]:
    """One whole number from 1 or a list of them, sorted and without repeats, or BadConfig."""
    values = values if isinstance(values, list) else [values]
    if not values or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in values):
        raise BadConfig(f"{name}={values}: whole numbers from 1 are needed, for instance {name}=[10,100]")
    return tuple(sorted(set(values)))


def encoder_nodes(config: Mapping[str, Any]) -> dict[str, Node]:
    """Stage → node of the encoder; random: without weights, trained: the weights to start from. Else BadConfig."""
    node = config["encoder"]
    if node is None:
        return {}
    wanted = config["stage"] if isinstance(config["stage"], list) else [config["stage"]]
    if not wanted:
        raise BadConfig("stage=[]: weights to encode with are needed; type stage=[pretrained] or stage=[random]")
    stages = {choice("stage", stage, STAGES) for stage in wanted}
    nodes = {"random": _without_weights(node), "pretrained": node, "trained": node}
    if nodes["random"] == node:  # without weights there is nothing that is pretrained
        stages = {"random" if stage == "pretrained" else stage for stage in stages}
    return {stage: nodes[stage] for stage in STAGES if stage in stages}


def _without_weights(node: Any) -> Any:
    """A node whose own weights, and those of the encoders inside it, are random."""
    if not isinstance(node, Mapping):
        return node
    inner = {key: _without_weights(value) for key, value in node.items()}
    return inner | ({"weights": "none"} if "weights" in node else {})


def make_importable(allow: Iterable[str], config_dir: Path | None = None) -> None:
    """Let own backends be imported from the current folder and `config_dir`, if any are allowed; twice does no harm."""
    if not set(allow):
        return
    folders = [str(Path.cwd()), *([] if config_dir is None else [str(config_dir.resolve())])]
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]


def _targets(node: Any) -> Iterator[Node]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def shipped_targets(conf: Path) -> dict[str, dict[str, Any]]:
    """Every `_target_` in the shipped configuration → its parameters and their shipped values (last yaml wins)."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(conf.rglob("*.yaml")):
        for node in _targets(yaml.safe_load(file.read_text(encoding="utf-8"))):
            found.setdefault(node["_target_"], {}).update({k: v for k, v in node.items() if k != "_target_"})
    return found


def _parameters(target: str) -> dict[str, Any]:
    """Parameters of an allowed target of the user's own, by importing it."""
    module, _, name = target.rpartition(".")
    try:
        callable_ = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadConfig(
            f"_target_ {target} cannot be imported: {error}. Is its folder the current one or --config-dir?"
        ) from error
    return dict.fromkeys(inspect.signature(callable_).parameters)


def _wrong_type(value: Any, shipped: Any) -> str | None:
    """What a value should have been, judged by the shipped one; none if it fits or nothing can be said."""
    if value is None or shipped is None or isinstance(shipped, str):
        return None
    for kind, word in ((bool, "true or false"), (int, "a whole number"), (float, "a number"), (list, "a list")):
        if isinstance(shipped, kind):
            fits = isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (
                kind is bool
            )
            return None if fits else word
    return None


class Binder:
    """Holds what targets are allowed, and checks nodes against them."""

    def __init__(self, conf: Path, allow: Iterable[str] = ()) -> None:
        self.shipped = shipped_targets(conf)
        self.allow = frozenset(allow)

    def check_all(self, config: Mapping[str, Any]) -> None:
        """Check a whole plain configuration; its own `allow` permits nothing.

        Raises:
            BadConfig: as `check`, and for a part without a target, or an `allow` or seed that is wrong.
        """
        if foreign := sorted({*map(str, config["allow"] or ())} - self.allow):
            raise BadConfig(f"`allow` may be set on the command line only; a config file sets it to {foreign}")
        if isinstance(config["seed"], bool) or not isinstance(config["seed"], int):
            raise BadConfig(f"seed={config['seed']}: a whole number is needed")
        parts = {key: config[key] for key in SINGLE if key != "encoder" or config[key] is not None}
        parts |= {key: config[key] for key in (*TRAINING, *OPTIONAL) if config.get(key) is not None}
        for group in MANY:
            parts |= {f"{group}.{name}": node for name, node in (config.get(group) or {}).items()}
        for where, node in parts.items():
            if not isinstance(node, Mapping) or "_target_" not in node:
                raise BadConfig(f"{where} has no _target_; choose one of the shipped parts, for instance {where}=NAME")
        self.check({key: value for key, value in config.items() if key != "allow"})

    def parameters(self, target: str, where: str) -> dict[str, Any]:
        """Parameters of a target.

        Raises:
            BadConfig: the target is neither shipped nor allowed.
        """
        if target in self.shipped:
            return {key: value for key, value in self.shipped[target].items() if key not in RESERVED}
        if target in self.allow:
            return _parameters(target)
        close = get_close_matches(target, self.shipped, n=1, cutoff=0.8)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise BadConfig(
            f"{where} has _target_ {target}, which is not one of retrieval_bench's. {hint}"
            f"If it is your own and you trust it, type allow=[{target}]"
        )

    def check(self, node: Any, where: str = "") -> None:
        """Check every node with a `_target_` below `node`.

        Raises:
            BadConfig: a foreign target, an unknown key (with the nearest valid ones), or a value of the wrong type.
        """
        if isinstance(node, list):
            for i, value in enumerate(node):
                self.check(value, f"{where}[{i}]")
        if not isinstance(node, Mapping):
            return
        if "_target_" in node:
            self._check_keys(node, where)
        for key, value in node.items():
            self.check(value, f"{where}.{key}" if where else str(key))

    def _partial(self, target: str, where: str) -> bool | None:
        """Whether a node is to be built later (an index, in its worker); none where its owner may decide."""
        if target in self.shipped:
            return bool(self.shipped[target].get("_partial_", False))
        group, *rest = where.split(".")
        if len(rest) > 1 or group in {"metric", "logger"}:
            return None
        return group == "search"

    def _check_keys(self, node: Node, where: str) -> None:
        target = str(node["_target_"])
        valid = self.parameters(target, where)
        for key, value in node.items():
            if key in RESERVED:
                continue
            if key not in valid:
                raise BadConfig(f"{where} has no parameter {key!r}; {nearest(str(key), valid)}")
            word = _wrong_type(value, valid[key])
            if word:
                raise BadConfig(f"{where}.{key}={value!r}: {word} is needed, for instance {where}.{key}={valid[key]}")
        wanted = self._partial(target, where)
        if wanted is not None and node.get("_partial_", False) is not wanted:
            raise BadConfig(f"{where}._partial_={node.get('_partial_', False)}: {str(wanted).lower()} is needed here")
