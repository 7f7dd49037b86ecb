"""reciprocal_rank@k: 1 / rank of the first hit."""

from __future__ import annotations

import numpy as np

from retrieval_bench.metric._ranks import Values, check_depth, share
from retrieval_bench.types import Judgement


def reciprocal_rank(judgement: Judgement, k: int) -> Values:
    """1 / rank of the first hit, 0 if the top k has none.

    Voorhees 1999, "The TREC-8 question answering track report"; its mean is MRR.

    Returns:
        [q]; NaN for queries with nothing relevant.

    Raises:
        ValueError: k outside 1 … judged ranks.

    >>> import numpy as np
    >>> hits = np.array([[False, True, True], [False, False, True]])
    >>> reciprocal_rank(Judgement(hits, np.ones_like(hits), np.array([2, 2])), k=2)
    array([0.5, 0. ])
    """
    check_depth(judgement, k)
    hits = judgement.hits[:, :k]
    return share(np.asarray(hits.any(axis=1), np.float64), hits.argmax(axis=1) + 1, judgement.relevant > 0)
