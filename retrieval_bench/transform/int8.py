"""What eight bits cost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.transform._moments import largest_magnitude
from retrieval_bench.transform.base import Transform, Vectors

_LEVELS = 127  # symmetrical: -127 … 127


class Int8(Transform):
    """Values rounded to 255 levels, symmetrical about 0, given back as float32: the quality of a quarter of the memory.

    One step is (largest |training value|) / 127; what is larger later is cut off there. Below that, an error is at most
    half a step.

    Args:
        per_dimension: a step for every column (true) or one for all (false, what a product of two int8 vectors needs).
    """

    def __init__(self, per_dimension: bool = False) -> None:
        self.per_dimension = per_dimension

    def fit(self, vectors: NDArray[np.generic], seed: int) -> None:
        """Steps from [n, dim]."""
        largest = largest_magnitude(vectors)
        if not self.per_dimension:
            largest = np.full_like(largest, largest.max())
        largest[largest == 0] = 1.0  # a column of zeros stays zero
        self.step = (largest / _LEVELS).astype(np.float32)

    def apply(self, block: Vectors) -> Vectors:
        """[b, dim] → [b, dim]."""
        levels: Vectors = np.clip(np.rint(block / self.step), -_LEVELS, _LEVELS)
        return levels * self.step

    def dim_out(self, dim: int) -> int:
        """The same."""
        return dim

    def describe(self) -> dict[str, Any]:
        """Name and kind of scale."""
        return {"transform": "int8", "per_dimension": self.per_dimension}
