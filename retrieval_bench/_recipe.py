"""What decides the answers of an index: its class, code, library and parameters, read without constructing it."""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from retrieval_bench.record import digest
from retrieval_bench.search.base import Index

PACKAGE = "retrieval_bench."
KERNEL = "retrieval_bench.nearest"  # what exact search is made of


@dataclass(frozen=True)
class Recipe:
    """An index class with its parameters, known without constructing it.

    Attributes:
        params: the given build parameters, without efforts.
        efforts: values of the knob, rising; one none where there is no knob.
        key: digest of the class, its source, its library's version and all build parameters, defaults included.
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
        target = factory.func
        if not (inspect.isclass(target) and issubclass(target, Index)):
            raise TypeError(f"{target!r} is not a subclass of retrieval_bench.search.base.Index")
        bound = inspect.signature(target).bind(*factory.args, **factory.keywords)
        bound.apply_defaults()
        known = dict(bound.arguments)
        efforts = known.pop("efforts", ())
        if any(isinstance(effort, bool) or not isinstance(effort, int) or effort < 1 for effort in efforts):
            raise TypeError(f"efforts={list(efforts)}: whole numbers from 1 are needed")
        if target.knob is not None and not efforts:
            raise TypeError(f"{target.__name__} has the knob {target.knob}, so it needs values: efforts=[…]")
        name = f"{target.__module__}.{target.__qualname__}"
        given = {key: value for key, value in factory.keywords.items() if key != "efforts"}
        values = (None,) if target.knob is None else tuple(sorted(set(efforts)))
        installed = _version(target.library)
        key = digest(name, known, _sources(target), target.library, installed)
        return cls(factory, target, given, values, key, installed)

    @property
    def has_theory(self) -> bool:
        """The class says which rows are candidates, and what its theory predicts of them."""
        return self.target.collision is not Index.collision and self.target.candidate_sets is not Index.candidate_sets


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
