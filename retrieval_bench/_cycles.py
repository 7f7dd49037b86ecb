"""Endless shuffled cycles over a few values, readable at any place without what came before it.

The sampler draws classes, and the images of each class, from such cycles. An order hangs on a key and on the number of
the shuffle alone (splitmix64, so that it never changes with a library), and all processes know it without talking.
"""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.hashing import STEP, splitmix64

_STEP = np.uint64(STEP)


def keys(seed: int, n: int) -> NDArray[np.uint64]:
    """Keys of n unlike cycles: [n]."""
    state = splitmix64(np.array([seed * STEP % 2**64], np.uint64))
    return splitmix64(state ^ np.arange(n, dtype=np.uint64))


def cycles(key: NDArray[np.uint64], n: int, group: int, start: int, stop: int) -> NDArray[np.int64]:
    """Places start … stop - 1 of m endless sequences over the values 0 … n - 1: [m, stop - start].

    A sequence is one shuffle of all n values behind the other, so each value comes once before any comes again. No
    value comes twice in a group (places i · group … i · group + group - 1): where a group lies across two shuffles, the
    values that it already has step back within the later shuffle, behind the others of its first `group` values.

    Args:
        key: [m], from `keys`.
        group: at most n.
        start: a multiple of `group`.
    """
    first = start // n
    # Who steps back hangs on the shuffle before, and so on, back to one that starts with a group; but stepping back
    # touches the first `group` values alone: of a longer shuffle it never touches the last ones, on which it hangs.
    first -= min(first, 1) if n >= 2 * group else first % (group // gcd(n, group))
    orders = _shuffles(key, n, first, -(-stop // n))
    for i in range(1, orders.shape[1]):
        had = (first + i) * n % group  # values of the shuffle before that lie in the group where this one starts
        if had:
            head, before = orders[:, i, :group], orders[:, i - 1, n - had :]
            again = (head[:, :, None] == before[:, None, :]).any(axis=2)
            orders[:, i, :group] = np.take_along_axis(head, np.argsort(again, axis=1, kind="stable"), axis=1)
    return orders.reshape(len(key), -1)[:, start - first * n : stop - first * n]


def _shuffles(key: NDArray[np.uint64], n: int, first: int, last: int) -> NDArray[np.int64]:
    """Shuffles first … last - 1 of 0 … n - 1, each sorted by a hash of key, number and value: [m, last - first, n]."""
    states = splitmix64(key[:, None] + np.arange(first, last, dtype=np.uint64) * _STEP)
    drawn = splitmix64(states[:, :, None] + np.arange(n, dtype=np.uint64) * _STEP)
    return np.argsort(drawn, axis=2, kind="stable").astype(np.int64, copy=False)
