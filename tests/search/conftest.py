"""Of the contract suite: one backend is built and compiled in one process of a parallel run, and databases are slow.

Databases keep the contract that all keep, but in `make test-slow`: each of their builds takes a second.
"""

from __future__ import annotations

import functools
import importlib
from pathlib import Path

import pytest
import yaml

from retrieval_bench.search.base import Family

HERE = Path(__file__).parent
SEARCH = HERE.parents[1] / "conf" / "search"


@functools.cache
def in_a_database(name: str) -> bool:
    module, _, cls = yaml.safe_load((SEARCH / f"{name}.yaml").read_text())["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), cls).family is Family.SERVER


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = getattr(item, "callspec", None) and item.callspec.params.get("name")
        if item.path != HERE / "test_contract.py" or not isinstance(name, str):
            continue
        item.add_marker(pytest.mark.xdist_group("reloaded" if "reloaded" in item.fixturenames else name))
        if in_a_database(name):
            item.add_marker(pytest.mark.slow)
