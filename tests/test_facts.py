import numpy as np
import pytest

from retrieval_bench import facts
from retrieval_bench.facts import _bounds
from retrieval_bench.metric.hit_rate import hit_rate
from retrieval_bench.metric.map_at_r import map_at_r
from retrieval_bench.metric.r_precision import r_precision
from retrieval_bench.points import Stage, exact_search
from retrieval_bench.types import Embeddings, GroundTruth, Similarity


def stage(vectors: np.ndarray) -> Stage:
    from functools import partial

    ids, labels = np.arange(len(vectors)), np.arange(len(vectors)) % 5
    items, truth = Embeddings(ids, vectors, labels), GroundTruth(ids, ids, labels, labels)
    metrics = {f.__name__: partial(f) for f in (hit_rate, r_precision, map_at_r)}
    return Stage("random", items, items, truth, Similarity.EUCLIDEAN, metrics, [1, 3], 0, float("nan"))


def test_tie_bounds_hold_the_value_of_every_metric_and_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """R = 11 of 60 items, k = 3: r_precision and map_at_r ask for more depth than the search."""
    tied = stage(np.random.default_rng(0).integers(0, 3, (60, 2)).astype(np.float32))
    exact = exact_search(tied, 3, 1)
    assert exact.relevant is not None
    found = _bounds(tied, exact, exact.relevant)
    assert list(found) == ["hit_rate@1", "hit_rate@3", "r_precision", "map_at_r"]
    assert all(low < exact.values[name].mean() < high for name, (low, high) in found.items())
    monkeypatch.setattr(facts, "BLOCK_BYTES", 7 * 160 * 60)  # a few queries at a time
    again = _bounds(tied, exact, exact.relevant)
    assert {n: pytest.approx(v) for n, v in again.items()} == found


def test_metrics_without_ties_have_no_bounds() -> None:
    apart = stage(np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32))
    exact = exact_search(apart, 3, 1)
    assert exact.relevant is not None
    assert _bounds(apart, exact, exact.relevant) == {}
