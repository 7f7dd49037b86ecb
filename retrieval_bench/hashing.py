"""Hashes that must never change: orders, halves and caches hang on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP = 0x9E3779B97F4A7C15  # from one state to the next


def splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The generator's next output from each state: [n] (Steele, Lea and Flood 2014). A bijection of 64 bits.

    >>> int(splitmix64(np.array([1234567], np.uint64))[0])
    6457827717110365317
    """
    z = state + np.uint64(STEP)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def json_digest(value: Any, size: int = 16, default: Callable[[Any], Any] | None = None) -> str:
    """Hexadecimal digest of `size` bytes of a JSON value; the order of keys does not matter.

    `default` makes JSON of what is none; without it that is a TypeError.

    >>> json_digest({"a": 1, "b": 2}, 4) == json_digest({"b": 2, "a": 1}, 4) != json_digest({"a": 1}, 4)
    True
    """
    return blake2b(json.dumps(value, sort_keys=True, default=default).encode(), digest_size=size).hexdigest()
