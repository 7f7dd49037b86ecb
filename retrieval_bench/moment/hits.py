"""What an index answered → weighted hits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.moment.base import Hits

LEAST = 1e-3  # of the widest list: what the last hit of a list weighs


def weighted(rows: NDArray[np.int64], scores: NDArray[np.float32]) -> Hits:
    """Lists of segments, one a query window, as hits that weigh what they score above the last of their list.

    A video that a list does not name can score at most what its last answer scores, so that much says nothing about
    any video (the imputed similarity of Lee et al. 2023, "Rethinking the role of token retrieval in multi-vector
    retrieval"). The difference needs no scale: it is the same for cosine, dot and negative distances. Each hit weighs a
    thousandth of the widest list more, so that the last one counts too; where all scores are equal, all weigh 1.

    Args:
        rows: [w, k] segment rows, -1 where there is no answer. scores: [w, k], larger is closer.

    >>> hits = weighted(np.array([[8, 3, -1]]), np.array([[0.9, 0.5, -np.inf]], np.float32))
    >>> hits.row.tolist(), hits.weight.round(3).tolist(), hits.floors.tolist()
    ([8, 3], [0.4, 0.0], [0.5])
    """
    found = rows >= 0
    exact = scores.astype(np.float64)
    floors = np.where(found, exact, np.inf).min(axis=1, initial=np.inf)
    floors = np.where(np.isinf(floors), floors.min(initial=np.inf), floors)  # a window without answers knows nothing
    window, place = np.nonzero(found)
    above = exact[window, place] - floors[window]
    widest = above.max(initial=0.0)
    return Hits(window, rows[window, place], above + (LEAST * widest if widest > 0 else 1.0), floors)
