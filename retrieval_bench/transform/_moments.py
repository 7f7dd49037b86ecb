"""Mean and covariance of vectors that do not fit into memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROWS = 4096


def mean(vectors: NDArray[np.generic]) -> NDArray[np.float64]:
    """Column means [dim] of [n, dim], summed in float64 block by block."""
    total = np.zeros(vectors.shape[1])
    for start in range(0, len(vectors), _ROWS):
        total += np.asarray(vectors[start : start + _ROWS], np.float64).sum(axis=0)
    return total / len(vectors)


def covariance(vectors: NDArray[np.generic], around: NDArray[np.float64]) -> NDArray[np.float64]:
    """Population covariance [dim, dim] around a mean, in float64 block by block."""
    total = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), _ROWS):
        centred = np.asarray(vectors[start : start + _ROWS], np.float64) - around
        total += centred.T @ centred
    return total / len(vectors)


def largest_magnitude(vectors: NDArray[np.generic]) -> NDArray[np.float64]:
    """Largest |x| of every column [dim]."""
    largest = np.zeros(vectors.shape[1])
    for start in range(0, len(vectors), _ROWS):
        np.maximum(largest, np.abs(np.asarray(vectors[start : start + _ROWS], np.float64)).max(axis=0), out=largest)
    return largest
