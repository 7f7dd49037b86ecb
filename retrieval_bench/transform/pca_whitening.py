"""Rotate to the principal axes of the training vectors, and give each the same spread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig
from retrieval_bench.transform._moments import covariance, mean
from retrieval_bench.transform.base import Transform, Vectors

_RANK = 1e-10  # axes with less than this share of the largest variance are rounding errors


class PcaWhitening(Transform):
    """(x − mean) · axes / variance^(power/2), largest variance first. Jégou and Chum 2012.

    power 1 whitens (identity covariance on the training vectors), 0 only rotates and cuts; in between is a common
    compromise where there are few training vectors.

    Args:
        dim: axes to keep; none: all with a variance.
        power: exponent of the whitening, 0 to 1.
        shrinkage: share of the mean variance that is added to every variance, so that rare directions are not blown up.
    """

    def __init__(self, dim: int | None = None, power: float = 1.0, shrinkage: float = 0.0) -> None:
        if (dim is not None and dim < 1) or not 0 <= power <= 1 or shrinkage < 0:
            raise BadConfig(
                f"transform.pca_whitening: dim={dim} power={power} shrinkage={shrinkage};"
                " type dim of 1 or more (or null), power from 0 to 1, shrinkage of 0 or more"
            )
        self.dim, self.power, self.shrinkage = dim, power, shrinkage
        self._axes = np.empty((0, 0))
        self._offset = np.empty(0)

    def fit(self, vectors: NDArray[np.generic], seed: int) -> None:
        """Mean and axes of [n, dim].

        Raises:
            BadConfig: more axes are wanted than these vectors have.
        """
        centre = mean(vectors)
        variances, axes = np.linalg.eigh(covariance(vectors, centre))
        variances, axes = variances[::-1], axes[:, ::-1]
        known = int((variances > _RANK * variances[0]).sum())
        if self.dim is not None and self.dim > known:
            raise BadConfig(
                f"transform.pca_whitening.dim={self.dim}: {len(vectors)} training vectors of {vectors.shape[1]} columns"
                f" vary in {known} directions only; type a number up to {known}, or null"
            )
        kept = self.dim or known
        # An eigenvector has no sign; its largest entry is made positive, so that two machines agree.
        signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(variances))])
        spread = (variances[:kept] + self.shrinkage * variances[:known].mean()) ** (self.power / 2)
        self._axes = (axes * signs)[:, :kept].astype(np.float64) / spread
        self._offset = centre @ self._axes

    def apply(self, block: Vectors) -> Vectors:
        """[b, dim] → [b, axes kept]."""
        return (block.astype(np.float64) @ self._axes - self._offset).astype(np.float32)

    def dim_out(self, dim: int) -> int:
        """Axes kept; known after `fit`."""
        return int(self._axes.shape[1]) if self._axes.size else dim

    def describe(self) -> dict[str, Any]:
        """Name and parameters."""
        return {"transform": "pca_whitening", "dim": self.dim, "power": self.power, "shrinkage": self.shrinkage}
