"""What holds for every label metric in `conf/metric`, listed there or not yet written."""

import inspect
import math
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval_bench.truth import judge
from retrieval_bench.types import GroundTruth, Judgement, SearchResult

CONF = Path(__file__).parents[2] / "conf" / "metric"
NAMES = sorted(p.stem for p in CONF.glob("*.yaml"))
GRADED = "ndcg"


def metric_of(name: str) -> partial:
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    module, _, function = node.pop("_target_").rpartition(".")
    node.pop("_partial_")
    return partial(getattr(import_module(module), function), **node)


def values(name: str, judgement: Judgement, k: int) -> NDArray[np.float64]:
    metric = metric_of(name)
    return metric(judgement, k=k) if takes_k(name) else metric(judgement)


def takes_k(name: str) -> bool:
    return "k" in inspect.signature(metric_of(name).func).parameters


# Slow references, one query at a time, written from the definitions and not from the code.
def precision_at(hits: list[int], i: int) -> float:
    return sum(hits[:i]) / i


def reference_trapezoid(hits: list[int], total: int, k: int) -> float:
    """The loop of the Oxford buildings' compute_ap."""
    area, old_recall, old_precision, found = 0.0, 0.0, 1.0, 0
    for rank, hit in enumerate(hits[:k]):
        found += hit
        recall, precision = found / total, found / (rank + 1)
        area += (recall - old_recall) * (old_precision + precision) / 2
        old_recall, old_precision = recall, precision
    return area


def reference_oxford(hits: list[int], total: int, k: int) -> float:
    """The evaluation of revisited Oxford and Paris: ranks of all relevant items, the missing ones beyond the list."""
    positions = [i + 1 for i, hit in enumerate(hits) if hit]
    positions += [len(hits) + 1 + i for i in range(total - len(positions))]
    cut = min(max(positions), k)
    return sum(p <= cut for p in positions) / cut


def discounted(gains: list[float]) -> float:
    return sum(g / math.log2(i + 2) for i, g in enumerate(gains))


REFERENCES = {
    "hit_rate": lambda h, r, k: float(any(h[:k])),
    "recall": lambda h, r, k: sum(h[:k]) / r,
    "precision": lambda h, r, k: sum(h[:k]) / k,
    "oxford_precision": reference_oxford,
    "r_precision": lambda h, r, k: sum(h[:r]) / r if r <= len(h) else math.nan,
    "map_at_r": lambda h, r, k: sum(precision_at(h, i + 1) for i in range(r) if h[i]) / r if r <= len(h) else math.nan,
    "average_precision": lambda h, r, k: sum(precision_at(h, i + 1) for i in range(k) if h[i]) / min(r, k),
    "average_precision_trapezoid": reference_trapezoid,
    "ndcg": lambda h, r, k: discounted(h[:k]) / discounted([1.0] * min(r, k)),
    "reciprocal_rank": lambda h, r, k: next((1 / (i + 1) for i, hit in enumerate(h[:k]) if hit), 0.0),
}


@st.composite
def judgements(draw: st.DrawFn, most_relevant: int = 14) -> Judgement:
    depth = draw(st.integers(1, 9))
    rows = draw(st.integers(1, 6))
    hits, valid = np.zeros((rows, depth), bool), np.zeros((rows, depth), bool)
    relevant = np.zeros(rows, np.int64)
    for row in range(rows):
        found = draw(st.lists(st.booleans(), max_size=depth))
        hits[row, : len(found)], valid[row, : len(found)] = found, True
        relevant[row] = draw(st.integers(sum(found), max(most_relevant, depth)))
    return Judgement(hits, valid, relevant)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(judgement=judgements(), data=st.data())
def test_equals_its_definition(name: str, judgement: Judgement, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, judgement.depth))
    expected = [
        REFERENCES[name](h.astype(int).tolist(), int(r), k) if r else math.nan
        for h, r in zip(judgement.hits, judgement.relevant, strict=True)
    ]
    found = values(name, judgement, k)
    assert found.dtype == np.float64
    assert found.shape == (len(judgement),)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0)
    known = found[~np.isnan(found)]
    assert ((known >= 0) & (known <= 1)).all()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None)
@given(judgement=judgements(), data=st.data())
def test_order_of_queries_does_not_matter(name: str, judgement: Judgement, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, judgement.depth))
    order = np.array(data.draw(st.permutations(range(len(judgement)))))
    turned = Judgement(judgement.hits[order], judgement.valid[order], judgement.relevant[order])
    assert np.array_equal(values(name, turned, k), values(name, judgement, k)[order], equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("relevant", [1, 3, 7])
def test_perfect_ranking_is_one(name: str, relevant: int) -> None:
    depth = 12
    hits = np.arange(depth)[None] < relevant
    judgement = Judgement(hits, np.ones_like(hits), np.array([relevant]))
    full = {"recall", "average_precision_trapezoid"}  # need k ≥ R; precision needs R ≥ k; the others neither
    for k in range(1, depth + 1):
        if (name in full and k < relevant) or (name == "precision" and k > relevant):
            assert values(name, judgement, k)[0] < 1
        else:
            assert values(name, judgement, k)[0] == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_nothing_relevant_is_nan_and_nothing_found_is_zero(name: str) -> None:
    none = np.zeros((2, 4), bool)
    found = values(name, Judgement(none, none, np.array([0, 3])), 4)
    assert math.isnan(found[0])
    assert found[1] == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_no_queries_no_values(name: str) -> None:
    none = np.zeros((0, 4), bool)
    assert values(name, Judgement(none, none, np.zeros(0, np.int64)), 4).shape == (0,)


@pytest.mark.parametrize("name", [n for n in NAMES if takes_k(n)])
@pytest.mark.parametrize("k", [0, -1, 5])
def test_cut_off_beyond_the_depth_is_refused(name: str, k: int) -> None:
    some = np.ones((1, 4), bool)
    with pytest.raises(ValueError, match=f"cut-off {k} given, but 4 ranks were judged"):
        values(name, Judgement(some, some, np.array([4])), k)


@pytest.mark.parametrize("name", ["r_precision", "map_at_r"])
def test_too_shallow_for_r_is_nan(name: str) -> None:
    some = np.ones((2, 4), bool)
    assert np.array_equal(values(name, Judgement(some, some, np.array([4, 5])), 4), [1.0, np.nan], equal_nan=True)


@settings(max_examples=60, deadline=None)
@given(judgement=judgements())
def test_more_depth_never_loses_hits(judgement: Judgement) -> None:
    for name in ("hit_rate", "recall", "reciprocal_rank"):
        by_k = np.array([values(name, judgement, k) for k in range(1, judgement.depth + 1)])
        assert (np.nan_to_num(np.diff(by_k, axis=0)) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(judgement=judgements(most_relevant=9))
def test_map_at_r_is_at_most_r_precision(judgement: Judgement) -> None:
    small, large = values("map_at_r", judgement, 1), values("r_precision", judgement, 1)
    known = ~np.isnan(large)
    assert (np.isnan(small) == ~known).all()
    assert (small[known] <= large[known]).all()


# Through the judgement: what is done to scores and labels before it must not show.
def searched(scores: NDArray[np.float64], ids: NDArray[np.int64], k: int) -> SearchResult:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return SearchResult(ids[order], np.take_along_axis(scores, order, 1).astype(np.float32))


@pytest.fixture(scope="module")
def scene() -> tuple[NDArray[np.float64], GroundTruth]:
    """Cosines of both signs of 40 queries against the 40 items themselves, of 6 classes and one of a kind."""
    rng = np.random.default_rng(5)
    labels = np.append(rng.integers(0, 6, 39), 6)
    vectors = np.eye(7)[labels] + rng.normal(0, 0.9, (40, 7))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = rng.permutation(10_000)[:40] + 2**60
    return vectors @ vectors.T, GroundTruth(ids, ids, labels, labels)


def scores_of(
    scene: tuple[NDArray[np.float64], GroundTruth], name: str, scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    truth = scene[1]
    return values(name, judge(searched(scores, truth.gallery_ids, 31), truth, 30), 2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "change",
    [lambda s: s - 5, lambda s: 1000 * s, lambda s: s**3, np.exp, lambda s: -np.sqrt(2 - 2 * np.minimum(s, 1) + 1e-9)],
    ids=["minus 5", "times 1000", "cubed", "exp", "euclidean"],
)
def test_rising_transform_of_scores_changes_nothing(name: str, change, scene) -> None:
    before = scores_of(scene, name, scene[0])
    assert 0 < np.nanmean(before) < 1
    assert np.isnan(before).sum() == 1
    assert np.array_equal(scores_of(scene, name, change(scene[0])), before, equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("new", [lambda x: x + 2**24, lambda x: 2**53 + x, lambda x: -7 * x - 1])
def test_relabelling_classes_changes_nothing(name: str, new, scene) -> None:
    scores, truth = scene
    relabelled = GroundTruth(truth.query_ids, truth.gallery_ids, new(truth.query_labels), new(truth.gallery_labels))
    assert np.array_equal(scores_of((scores, relabelled), name, scores), scores_of(scene, name, scores), equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
def test_storage_order_of_the_gallery_changes_nothing(name: str, scene) -> None:
    scores, truth = scene
    order = np.random.default_rng(1).permutation(len(truth.gallery_ids))
    turned = GroundTruth(truth.query_ids, truth.gallery_ids[order], truth.query_labels, truth.gallery_labels[order])
    assert np.array_equal(
        scores_of((scores, turned), name, scores[:, order]), scores_of(scene, name, scores), equal_nan=True
    )


# The numbers of MEASURING.md and of the papers.
def one(hits: list[int], relevant: int) -> Judgement:
    row = np.array([hits], bool)
    return Judgement(row, np.ones_like(row), np.array([relevant]))


def at(ranks: list[int], depth: int, relevant: int) -> Judgement:
    return one(np.isin(np.arange(depth), ranks).astype(int).tolist(), relevant)


@pytest.mark.parametrize(
    ("name", "judgement", "k", "expected"),
    [
        ("average_precision", at([1], 5, 1), 5, 0.50),
        ("average_precision_trapezoid", at([1], 5, 1), 5, 0.25),
        ("average_precision", at([0, 1, 2, 3, 4], 5, 9), 5, 1.0),
        ("average_precision", at([0, 2, 5, 9], 10, 4), 10, (1 + 2 / 3 + 3 / 6 + 4 / 10) / 4),  # 0.642
        ("average_precision_trapezoid", at([0, 2, 5, 9], 10, 4), 10, 0.600),
        ("reciprocal_rank", at([3, 4], 9, 2), 9, 0.25),
        ("oxford_precision", at([0, 2], 9, 2), 5, 2 / 3),
        ("oxford_precision", at([0, 7], 9, 2), 5, 1 / 5),
        ("oxford_precision", at([0], 9, 2), 5, 1 / 5),
    ],
)
def test_golden_values(name: str, judgement: Judgement, k: int, expected: float) -> None:
    assert values(name, judgement, k)[0] == pytest.approx(expected, abs=1e-12)


def test_average_precision_by_all_relevant() -> None:
    metric = metric_of("average_precision").func
    assert metric(at([0, 1, 2, 3, 4], 5, 9), k=5, denominator="r")[0] == pytest.approx(5 / 9)
    with pytest.raises(ValueError, match="'hits' is not a valid Denominator"):
        metric(at([0], 5, 1), k=5, denominator="hits")


def graded(gains: list[float], ideal: list[float]) -> Judgement:
    row = np.array([gains])
    return Judgement(row > 0, np.ones_like(row, bool), np.array([np.count_nonzero(ideal)]), row, np.array([ideal]))


def test_ndcg_of_grades() -> None:
    expected = discounted([1, 0, 3]) / discounted([3, 2, 1])
    assert values(GRADED, graded([1, 0, 3, 0], [3, 2, 1, 0]), 3)[0] == pytest.approx(expected)
    assert values(GRADED, graded([3, 2, 1, 0], [3, 2, 1, 0]), 4)[0] == 1.0
    with pytest.raises(ValueError, match="a gain is negative"):
        values(GRADED, graded([3, -2, 1, 0], [3, 1, -2, 0]), 4)


@settings(max_examples=60, deadline=None)
@given(gains=st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.0, 3.0]), min_size=1, max_size=9), data=st.data())
def test_ndcg_of_any_order_stays_within_one(gains: list[float], data: st.DataObject) -> None:
    ideal = sorted(gains, reverse=True)
    found = values(GRADED, graded(data.draw(st.permutations(gains)), ideal), len(gains))[0]
    assert math.isnan(found) if not any(gains) else 0 <= found <= 1


def test_every_metric_has_its_yaml() -> None:
    package = Path(inspect.getfile(metric_of(NAMES[0]).func)).parent
    files = {p.stem for p in package.glob("*.py") if not p.stem.startswith("_")}
    moments = {"moment_average_precision", "moment_hit_rate", "moment_iou", "video_hit_rate"}
    assert files - set(NAMES) == {"ann_recall", "distance_ratio"} | moments  # of lists and of moments, not of labels
    assert set(NAMES) == set(REFERENCES)
