"""oxford_precision@k: precision in the top k, cut at the last relevant item; mP@k of ROxford and RParis."""

from __future__ import annotations

import numpy as np

from retrieval_bench.metric._ranks import Values, check_depth, found, share
from retrieval_bench.types import Judgement


def oxford_precision(judgement: Judgement, k: int) -> Values:
    """Precision in the top m, with m the smaller of k and the rank of the last relevant item.

    mP@k of Radenović et al. 2018, "Revisiting Oxford and Paris": queries with few relevant items are not punished for
    the ranks behind the last of them. A relevant item that is missing from the judged ranks lies behind rank k.

    Returns:
        [q]; NaN for queries with nothing relevant.

    Raises:
        ValueError: k outside 1 … judged ranks.

    >>> import numpy as np
    >>> hits = np.array([[True, False, True, False, False], [True, False, True, False, False]])
    >>> oxford_precision(Judgement(hits, np.ones_like(hits), np.array([2, 3])), k=5).round(3)
    array([0.667, 0.4  ])
    """
    check_depth(judgement, k)
    last = judgement.depth - judgement.hits[:, ::-1].argmax(axis=1)
    complete = found(judgement, judgement.depth) == judgement.relevant
    return share(found(judgement, k), np.where(complete, np.minimum(last, k), k), judgement.relevant > 0)
