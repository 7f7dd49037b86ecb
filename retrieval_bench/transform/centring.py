"""Subtract the training mean."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.transform._moments import mean
from retrieval_bench.transform.base import Transform, Vectors


class Centring(Transform):
    """x − mean of the training vectors: spreads cosines that a common offset pushes towards 1."""

    def fit(self, vectors: NDArray[np.generic], seed: int) -> None:
        """Mean of [n, dim]."""
        self._mean = mean(vectors).astype(np.float32)

    def apply(self, block: Vectors) -> Vectors:
        """[b, dim] → [b, dim]."""
        return block - self._mean

    def dim_out(self, dim: int) -> int:
        """The same."""
        return dim

    def describe(self) -> dict[str, Any]:
        """Name."""
        return {"transform": "centring"}
