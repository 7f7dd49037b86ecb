"""What lists are judged by while efforts are chosen, against plain numpy on the tuning half."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from retrieval_bench import collisions
from retrieval_bench.break_even import EXACT, crossings, sizes, smaller
from retrieval_bench.choose import Target
from retrieval_bench.collisions import collision_curves, sampled_pairs
from retrieval_bench.errors import BadConfig
from retrieval_bench.goals import goal_of, tuning_queries
from retrieval_bench.metric.hit_rate import hit_rate
from retrieval_bench.metric.map_at_r import map_at_r
from retrieval_bench.points import Exact, Stage, exact_search
from retrieval_bench.stats import halves
from retrieval_bench.truth import exact_neighbours
from retrieval_bench.types import Embeddings, GroundTruth, SearchResult, Similarity

Q, N, K = 40, 300, 8


@pytest.fixture(scope="module")
def stage() -> Stage:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 30, N)
    vectors = rng.standard_normal((30, 12))[labels] + 0.8 * rng.standard_normal((N, 12))
    gallery = Embeddings(np.arange(N) * 7, vectors.astype(np.float32), labels=labels, fingerprint="g")
    queries = gallery.take(np.arange(Q))  # leave one out: each query stands in the gallery
    truth = GroundTruth(queries.ids, gallery.ids, query_labels=labels[:Q], gallery_labels=labels)
    metrics = {"hit_rate": partial(hit_rate), "map_at_r": partial(map_at_r)}
    return Stage("given", queries, gallery, truth, Similarity.COSINE, metrics, (1, 5), 3, float("nan"))


@pytest.fixture(scope="module")
def exact(stage: Stage) -> Exact:
    return exact_search(stage, K, 1)


@pytest.fixture(scope="module")
def found(stage: Stage) -> SearchResult:
    """Exact lists of half of the gallery: what an index that overlooks the rest returns."""
    part = stage.gallery.take(np.arange(0, N, 2))
    return exact_neighbours(stage.queries, part, K + 1, stage.similarity, stage.seed)


def test_ann_recall_of_the_tuning_half(stage: Stage, exact: Exact, found: SearchResult) -> None:
    goal = goal_of(Target(ann_recall=0.9), stage, exact, [K])
    assert goal is not None and (goal.needed, goal.highest) == (0.9, N)
    tune = np.flatnonzero(halves(stage.queries.ids, stage.seed))
    assert 5 < len(tune) < Q - 5 and (tuning_queries(stage) == tune).all()
    shares = []
    for q in tune:
        mine = [i for i in found.ids[q] if i != stage.queries.ids[q]][:K]
        shares.append(len(set(mine) & set(exact.neighbours.ids[q, :K])) / K)
    assert goal.quality(found, K) == pytest.approx(np.mean(shares), abs=1e-12)
    whole = exact_neighbours(stage.queries, stage.gallery, K + 1, stage.similarity, stage.seed)
    assert goal.quality(whole, K) == 1.0


def test_ann_loss_of_the_tuning_half(stage: Stage, exact: Exact, found: SearchResult) -> None:
    goal = goal_of(Target(metric="hit_rate@1", loss=0.02), stage, exact, [K])
    assert goal is not None and goal.needed == -0.02
    label = dict(zip(stage.gallery.ids.tolist(), np.asarray(stage.truth.gallery_labels).tolist(), strict=True))
    lost = []
    for q in tuning_queries(stage):
        mine = next(i for i in found.ids[q].tolist() if i != stage.queries.ids[q])
        own = label[int(stage.queries.ids[q])]
        lost.append((label[int(exact.neighbours.ids[q, 0])] == own) - (label[mine] == own))
    assert goal.quality(found, K) == pytest.approx(-np.mean(lost), abs=1e-12)


def test_targets_that_a_stage_cannot_answer_are_told_before_any_search(stage: Stage, exact: Exact) -> None:
    assert goal_of(Target(), stage, exact, [K]) is None
    with pytest.raises(
        BadConfig, match=r"target.metric=map is not measured; measured are hit_rate@1, hit_rate@5, map_at_r"
    ):
        goal_of(Target(metric="map", loss=0.1), stage, exact, [K])
    with pytest.raises(BadConfig, match=r"target.metric=map_at_r needs longer lists than k=8; type a larger k="):
        goal_of(Target(metric="map_at_r", loss=0.1), stage, exact, [K])
    with pytest.raises(BadConfig, match=r"target.metric=hit_rate@5 needs longer lists than k=3; type k=\[8\]"):
        goal_of(Target(metric="hit_rate@5", loss=0.1), stage, exact, [1, 3, K])


def test_smaller_galleries_nest_and_keep_their_queries(stage: Stage) -> None:
    small, middle = smaller(stage, 50), smaller(stage, 150)
    assert set(small.gallery.ids) < set(middle.gallery.ids) < set(stage.gallery.ids)
    assert len(small.gallery) == 50 and len(small.queries) == Q and not small.metrics
    assert smaller(stage, N).gallery is stage.gallery
    assert sizes(2000) == [250, 500, 1000, 2000]


def test_pairs_reach_from_the_nearest_to_any(stage: Stage, exact: Exact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collisions, "DRAWN", 100)
    queries, rows = sampled_pairs(stage, exact)
    assert len(queries) == Q and rows.shape[0] == Q
    ids = stage.gallery.ids[rows]
    assert (ids[:, :K] == exact.neighbours.ids[queries]).all()
    assert all(len(set(row)) == rows.shape[1] for row in rows.tolist()), "no pair stands for two"
    again = sampled_pairs(stage, exact)
    assert (again[1] == rows).all(), "seeded"
    assert (sampled_pairs(replace(stage, seed=9), exact)[1] != rows).any()


@pytest.mark.parametrize("n", [1, 3, 12, 60])
def test_pairs_of_a_small_gallery(stage: Stage, n: int) -> None:
    part = smaller(stage, n)
    queries, rows = sampled_pairs(part, exact_search(part, min(n, K), 1))
    assert len(queries) == Q and 1 <= rows.shape[1] <= n and rows.min() >= 0 and rows.max() < n
    assert all(len(set(row)) == rows.shape[1] for row in rows.tolist())


def test_curves_compare_prediction_and_practice() -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    s = rng.uniform(0, 1, 4000)
    table = pd.DataFrame({"similarity": s, "predicted": s**2, "candidate": rng.uniform(0, 1, 4000) < s**2})
    table = table.assign(stage="given", index="lsh", index_params="{}", effort=4)
    curves = collision_curves(table)
    assert len(curves) == 20 and (curves["pairs"] == 200).all()
    inside = (curves["measured_lo"] <= curves["predicted"]) & (curves["predicted"] <= curves["measured_hi"])
    assert inside.sum() == 19  # of 20 intervals of 95 %
    first = curves.iloc[0]
    part = table.sort_values("similarity").head(200)
    assert first["measured"] == part["candidate"].mean() and first["predicted"] == pytest.approx(
        part["predicted"].mean()
    )


def test_crossings() -> None:
    import pandas as pd

    n = [1000, 2000, 4000, 8000]
    exact_ms = [1.0, 2.0, 4.0, 8.0]
    columns = {"exact": exact_ms, "late": [2.0, 2.0, 2.0, 2.0], "early": [0.5] * 4, "never": [9.0] * 4}
    columns["root"] = [2.0 * (size / 1000) ** 0.5 for size in n]
    rows = [
        {
            "stage": "given",
            "half": "report",
            "n_gallery": size,
            "index": index,
            "exact": index == "exact",
            "latency_p50_ms": ms,
        }
        for index, values in columns.items()
        for size, ms in zip(n, values, strict=True)
    ]
    found = crossings(pd.DataFrame(rows))
    assert found["given", "never"] == float("inf") and found["given", "early"] == 0.0
    assert found["given", "late"] == pytest.approx(2000)
    assert found["given", "root"] == pytest.approx(4000)  # 2·√(n/1000) = n/1000 at n = 4000
    assert "exact" not in {index for _, index in found}


def _sized(n: list[int], index: str, ms: list[float], met: list[bool], backend: str) -> list[dict[str, object]]:
    common = {"stage": "given", "half": "report", "index": index, "exact": index != "fast", "backend": backend}
    told = zip(n, ms, met, strict=True)
    return [common | {"n_gallery": size, "latency_p50_ms": cost, "met": fine} for size, cost, fine in told]


@pytest.mark.parametrize(
    ("met", "size"),
    [
        ([True, True, True], 0.0),
        ([False, True, True], 2000.0),  # fast but too poor at the smallest size
        ([True, False, True], 4000.0),
        ([True, True, False], float("inf")),
    ],
)
def test_what_misses_the_target_beats_nothing(met: list[bool], size: float) -> None:
    import pandas as pd

    n, every = [1000, 2000, 4000], [True] * 3
    rows = _sized(n, "flat", [0.01] * 3, every, "somewhere.Flat")  # exact too, but not what is to be beaten
    rows += _sized(n, "exact", [1.0, 2.0, 4.0], every, EXACT) + _sized(n, "fast", [0.5] * 3, met, "somewhere.Fast")
    assert crossings(pd.DataFrame(rows)) == {("given", "fast"): pytest.approx(size), ("given", "flat"): 0.0}
