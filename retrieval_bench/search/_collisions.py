"""What the projections of gallery rows look like when those of a query are known: the theory of LSH starts here."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class NormalRows(NamedTuple):
    """Rows seen from a query.

    On a random normal direction where the query is at z, row j is normal with mean slope[j] · z and deviation[j].
    """

    slope: NDArray[np.float64]  # [m]
    deviation: NDArray[np.float64]  # [m]
    cosine: NDArray[np.float64]  # [m]
    distance: NDArray[np.float64]  # [m]

    def shifts(self, projections: NDArray[np.float64]) -> NDArray[np.float64]:
        """Means in deviations [m, directions] for the query's projections."""
        return np.outer(self.slope / self.deviation, projections)


def normal_rows(query: NDArray[np.float64], rows: NDArray[np.float64]) -> NormalRows:
    """How centred rows [m, dim] relate to a centred query [dim]. Equal vectors get a tiny deviation."""
    square, product = query @ query, rows @ query
    lengths = np.linalg.norm(rows, axis=1)
    slope = product / square if square > 0 else np.zeros(len(rows))
    rest = np.linalg.norm(rows - np.outer(slope, query), axis=1)
    cosine = product / np.maximum(lengths * np.sqrt(square), 1e-300)
    tiny = 1e-9 * np.maximum(lengths, 1e-9)
    return NormalRows(slope, np.maximum(rest, tiny), cosine, np.linalg.norm(rows - query, axis=1))
