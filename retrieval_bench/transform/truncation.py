"""Keep the first columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig
from retrieval_bench.transform.base import Transform, Vectors


class Truncation(Transform):
    """The first `dim` columns: for embeddings trained to be cut (Kusupati et al. 2022), or behind PCA.

    Args:
        dim: columns to keep.
    """

    def __init__(self, dim: int = 128) -> None:
        if dim < 1:
            raise BadConfig(f"transform.truncation.dim={dim}: type a number of 1 or more")
        self.dim = dim

    def fit(self, vectors: NDArray[np.generic], seed: int) -> None:
        """Nothing to learn; checks that there are enough columns."""
        self.dim_out(vectors.shape[1])

    def apply(self, block: Vectors) -> Vectors:
        """[b, dim] → [b, self.dim]."""
        return np.ascontiguousarray(block[:, : self.dim])

    def dim_out(self, dim: int) -> int:
        """`self.dim`.

        Raises:
            BadConfig: there are fewer columns than that.
        """
        if self.dim > dim:
            raise BadConfig(f"transform.truncation.dim={self.dim}: the vectors have {dim} columns; type fewer")
        return self.dim

    def describe(self) -> dict[str, Any]:
        """Name and columns kept."""
        return {"transform": "truncation", "dim": self.dim}
