"""What half precision costs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import CorruptInput
from retrieval_bench.transform.base import Transform, Vectors


class Float16(Transform):
    """Values rounded to float16 (11 significant bits), given back as float32: the quality of half the memory."""

    def fit(self, vectors: NDArray[np.generic], seed: int) -> None:
        """Nothing to learn."""

    def apply(self, block: Vectors) -> Vectors:
        """[b, dim] → [b, dim].

        Raises:
            CorruptInput: a value is beyond float16's ±65,504.
        """
        if block.size and np.abs(block).max() > np.finfo(np.float16).max:
            raise CorruptInput("values beyond 65504 do not fit into float16; scale them down, or type transform=[]")
        return block.astype(np.float16).astype(np.float32)

    def dim_out(self, dim: int) -> int:
        """The same."""
        return dim

    def describe(self) -> dict[str, Any]:
        """Name."""
        return {"transform": "float16"}
