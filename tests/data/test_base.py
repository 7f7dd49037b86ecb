import pickle
from functools import partial

import numpy as np
import pytest

from retrieval_bench.data.base import Items


def nothing(row: int) -> dict[str, np.ndarray]:
    raise AssertionError(row)


def joined(parts: list[str]) -> str:
    parts.append("read")
    return " ".join(parts)


def test_a_fingerprint_is_made_when_it_is_asked_for_and_once() -> None:
    parts: list[str] = []
    items = Items(["a.jpg"], nothing, partial(joined, parts), np.array([3]))
    assert (parts, len(items), items.labels) == ([], 1, np.array([3]))
    assert [items.fingerprint, items.fingerprint] == ["read", "read"]
    assert parts == ["read"]
    assert pickle.loads(pickle.dumps(items)).fingerprint == "read"


def test_a_fingerprint_is_needed() -> None:
    assert Items([], nothing, "known").fingerprint == "known"
    with pytest.raises(TypeError, match="fingerprint"):
        Items([], nothing)  # type: ignore[call-arg]
