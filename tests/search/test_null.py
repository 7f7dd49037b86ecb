import numpy as np

from retrieval_bench.search.null import Null
from retrieval_bench.types import Similarity


def test_answers_the_first_rows_whatever_is_asked() -> None:
    index = Null()
    index.build(np.zeros((3, 2), np.float32), Similarity.DOT, 0)
    rows, scores = index.search(np.ones((2, 2), np.float32), 5, None)
    assert rows.tolist() == 2 * [[0, 1, 2, -1, -1]]
    assert scores.tolist() == 2 * [[0, 0, 0, -np.inf, -np.inf]]
    assert index.candidates() is None and Null.floor and Null.approximate_scores
    assert index.search(np.zeros((2, 2), np.float32), 5, None)[0] is rows, "no work"
