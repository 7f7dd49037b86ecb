"""What decides the answers of an index: its class, code, library and parameters, read without constructing it."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from retrieval_bench.errors import BadConfig
from retrieval_bench.record import digest
from retrieval_bench.search.base import Index, facts

PACKAGE = "retrieval_bench."
KERNEL = "retrieval_bench.nearest"  # what exact search is made of


@dataclass(frozen=True)
class Recipe:
    """An index class with its parameters, known without constructing it.

    Attributes:
        target: the class; of an index that wraps another, with that one's facts.
        params: the given build parameters, without efforts, as JSON values.
        efforts: values of the knob, rising; one none where there is no knob.
        key: digest of the class, its source, its library's version and all build parameters, defaults included; of a
            wrapped index, too.
        version: of the library; none where the class names none or it is not installed.
    """

    factory: partial[Any]
    target: type[Index]
    params: dict[str, Any]
    efforts: tuple[int | None, ...]
    key: str
    version: str | None

    @classmethod
    def of(cls, factory: partial[Any]) -> Recipe:
        """Read a partial of an `Index` class.

        Raises:
            TypeError: it is something else, or its parameters do not fit.
        """
        key, known = _identity(factory)
        target, efforts = facts(factory), known.get("efforts", ())
        if any(isinstance(effort, bool) or not isinstance(effort, int) or effort < 1 for effort in efforts):
            raise TypeError(f"efforts={list(efforts)}: whole numbers from 1 are needed")
        if target.knob is not None and not efforts:
            raise TypeError(f"{target.__name__} has the knob {target.knob}, so it needs values: efforts=[…]")
        values = (None,) if target.knob is None else tuple(sorted(set(efforts)))
        return cls(factory, target, build_params(factory), values, key, _version(target.library))

    @property
    def has_theory(self) -> bool:
        """The class says which rows are candidates, and what its theory predicts of them."""
        return self.target.collision is not Index.collision and self.target.candidate_sets is not Index.candidate_sets


def build_params(factory: partial[Any]) -> dict[str, Any]:
    """The given build parameters as JSON values, without efforts; a wrapped index as its target and parameters."""
    given = {key: value for key, value in factory.keywords.items() if key != "efforts"}
    return {
        key: {"_target_": _name(value), **build_params(value)} if isinstance(value, partial) else value
        for key, value in given.items()
    }


def rebuilt(factory: partial[Any], params: Mapping[str, Any], efforts: Sequence[int]) -> partial[Any]:
    """The partial with build parameters that `build_params` told of one like it; classes are those of `factory`.

    Raises:
        BadConfig: what is told wraps an index of another class.
    """
    given: dict[str, Any] = {}
    for key, value in params.items():
        inside = factory.keywords.get(key)
        given[key] = value
        if isinstance(inside, partial) and isinstance(value, Mapping):
            told = {name: each for name, each in value.items() if name != "_target_"}
            if value.get("_target_") != _name(inside):
                raise BadConfig(f"{key} is {value.get('_target_')} here and {_name(inside)} in the configuration")
            given[key] = rebuilt(inside, told, inside.keywords.get("efforts", ()))
    return partial(factory.func, **given, efforts=efforts)


def _name(factory: partial[Any]) -> str:
    return f"{factory.func.__module__}.{getattr(factory.func, '__qualname__', '')}"


def _identity(factory: partial[Any]) -> tuple[str, dict[str, Any]]:
    """Digest of everything but efforts that decides the answers, and all arguments, defaults included.

    Raises:
        TypeError: it is no `Index`, or the arguments do not fit.
    """
    target = facts(factory)
    bound = inspect.signature(target).bind(*factory.args, **factory.keywords)
    bound.apply_defaults()
    known = dict(bound.arguments)
    decide = {
        key: _identity(value)[0] if isinstance(value, partial) else value
        for key, value in known.items()
        if key != "efforts"
    }
    return digest(_name(factory), decide, _sources(target), target.library, _version(target.library)), known


def _version(library: str | None) -> str | None:
    """Installed version of a distribution, without importing it."""
    try:
        return None if library is None else version(library)
    except PackageNotFoundError:
        return None


def _sources(target: type[Index]) -> list[str]:
    """Digests of the files that define a class: edited code is measured anew.

    These are its own file, those of the backends it derives from, and the private files of this package that they
    import, be it inside a function only.
    """
    modules = [base.__module__ for base in target.__mro__ if issubclass(base, Index) and base is not Index]
    files = [getattr(sys.modules[name], "__file__", None) for name in modules]  # a notebook has none
    found = list(dict.fromkeys(Path(file) for file in files if file is not None))
    for file in found:
        found += [other for other in _private(file.read_bytes()) if other not in found]
    return sorted(blake2b(file.read_bytes(), digest_size=8).hexdigest() for file in found)


@lru_cache(maxsize=256)
def _private(source: bytes) -> tuple[Path, ...]:
    """Files of the private modules of this package that a source imports, and of the kernel."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):  # compiled, or broken since it was imported
        return ()
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    private = [n for n in names if n.startswith(PACKAGE) and (n == KERNEL or n.rpartition(".")[2].startswith("_"))]
    files = [Path(__file__).parent.joinpath(*name.split(".")[1:]).with_suffix(".py") for name in sorted(private)]
    return tuple(file for file in files if file.is_file())
