"""How indexes are told apart where one name, or one backend, stands for several sets of build parameters."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Built = tuple[str, str]  # index and its build parameters as JSON


def index_labels(built: Iterable[Built], backends: Mapping[str, str] | None = None) -> dict[Built, str]:
    """(index, build parameters) → its name, with the build parameters that differ among indexes of one backend.

    Args:
        built: each index with its build parameters as JSON, as in the columns `index` and `index_params`.
        backends: index → what it is an index of; an index that is not in it is a backend of its own.

    >>> list(index_labels([("hnsw", '{"m": 16, "n": 1}'), ("exact", "{}"), ("hnsw", '{"m": 32, "n": 1}')]).values())
    ['hnsw (m=16)', 'hnsw (m=32)', 'exact']
    """
    groups: dict[str, dict[Built, dict[str, Any]]] = {}
    for index, params in built:
        backend = (backends or {}).get(index, index)
        groups.setdefault(backend, {})[index, params] = json.loads(params)
    labels: dict[Built, str] = {}
    for group in groups.values():
        keys = differing(list(group.values()))
        labels |= {(index, text): _label(index, params, keys) for (index, text), params in group.items()}
    return labels


def differing(params: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the parameters that are not equal in all, or that not all have.

    >>> differing([{"m": 16, "ef": 200}, {"m": 32, "ef": 200}])
    ['m']
    """
    keys = dict.fromkeys(key for one in params for key in one)
    return [key for key in keys if any(key not in one or one[key] != params[0].get(key) for one in params)]


def change(index: str, a: str, b: str) -> str:
    """One index with other build parameters on each side of a comparison.

    >>> change("hnsw", '{"m": 16}', '{"m": 32}')
    'hnsw (m=16 → 32)'
    """
    left, right = json.loads(a), json.loads(b)
    told = [f"{key}={_value(left.get(key))} → {_value(right.get(key))}" for key in differing([left, right])]
    return f"{index} ({', '.join(told)})" if told else index


def _label(index: str, params: Mapping[str, Any], keys: Sequence[str]) -> str:
    told = [f"{key}={_value(params[key])}" for key in keys if key in params]
    return f"{index} ({', '.join(told)})" if told else index


def _value(value: Any) -> str:
    """As it is typed in an override."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
