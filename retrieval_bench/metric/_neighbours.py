"""What the neighbour metrics share: the checks of two lists of answers, and the tolerance of a query."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.float64]


def check_lists(exact: tuple[int, ...], approx: tuple[int, ...], k: int) -> None:
    """Both lists must hold one row a query and at least k columns.

    Raises:
        ValueError: they do not.
    """
    if exact[0] != approx[0]:
        raise ValueError(f"{exact[0]} exact lists but {approx[0]} returned ones; give one of each for every query")
    depth = min(exact[1], approx[1])
    if not 1 <= k <= depth:
        raise ValueError(f"cut-off {k} given, but the lists are {depth} deep; use 1 ≤ cut-off ≤ depth")


def check_same_shape(ids: tuple[int, ...], scores: tuple[int, ...]) -> None:
    """Every id needs its score.

    Raises:
        ValueError: the shapes differ.
    """
    if ids != scores:
        raise ValueError(f"ids {ids} and scores {scores} must have one shape; give the score of each id")


def query_tolerance(tolerance: ArrayLike, queries: int) -> Scores:
    """Scalar, [q], or [q, any] (the largest of a row counts) → [q]."""
    given = np.asarray(tolerance, np.float64)
    if given.ndim > 1:
        given = given.max(axis=1)
    return np.broadcast_to(given, queries)
