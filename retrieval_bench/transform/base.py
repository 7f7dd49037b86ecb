"""What a transform is: fitted post-processing of embeddings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Transform(ABC):
    """Fitted on training embeddings, then applied block by block to cached ones, so changing it never re-encodes."""

    @abstractmethod
    def fit(self, vectors: NDArray[np.generic], seed: int) -> None:
        """Learn from training vectors [n, dim], any numeric dtype, often a memory map: read them block by block.

        Raises:
            BadConfig: a parameter does not fit these vectors.
        """

    @abstractmethod
    def apply(self, block: Vectors) -> Vectors:
        """float32 [b, dim] → float32 [b, dim_out]; a row's answer does not depend on the other rows."""

    @abstractmethod
    def dim_out(self, dim: int) -> int:
        """Columns after the transform of vectors with `dim` columns."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Name and parameters as JSON, for cache keys and the record."""
