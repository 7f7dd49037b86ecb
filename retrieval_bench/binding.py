"""Checks of a composed configuration before anything is imported or built.

A misspelt key composes silently in Hydra, and a foreign `_target_` can reach a shell. So every node is bound to its
target at start: a target must stand in the shipped `conf/` (or be allowed on the command line), and its keys must be
parameters of the target. For shipped targets the yaml lists every parameter, so nothing is imported to check them.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from retrieval_bench.errors import BadConfig

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
            found.setdefault(node["_target_"], {}).update({k: v for k, v in node.items() if k not in RESERVED})
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

    def parameters(self, target: str, where: str) -> dict[str, Any]:
        """Parameters of a target.

        Raises:
            BadConfig: the target is neither shipped nor allowed.
        """
        if target in self.shipped:
            return self.shipped[target]
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

    def _check_keys(self, node: Node, where: str) -> None:
        valid = self.parameters(str(node["_target_"]), where)
        for key, value in node.items():
            if key in RESERVED:
                continue
            if key not in valid:
                raise BadConfig(f"{where} has no parameter {key!r}; {nearest(str(key), valid)}")
            word = _wrong_type(value, valid[key])
            if word:
                raise BadConfig(f"{where}.{key}={value!r}: {word} is needed, for instance {where}.{key}={valid[key]}")
