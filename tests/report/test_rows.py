from collections.abc import Callable

import pandas as pd
import pytest

from retrieval_bench.report.rows import metric_names, number, operating_points, panels

Make = Callable[..., pd.DataFrame]


def test_metrics_are_named_once_and_without_their_intervals(points: pd.DataFrame) -> None:
    assert metric_names(points) == ["hit_rate@1", "hit_rate@10", "recall@10", "r_precision", "map_at_r"]
    later = points.assign(**{"exact_hit_rate@5": 0.5})
    assert metric_names(later)[:3] == ["hit_rate@1", "hit_rate@5", "hit_rate@10"]


def test_a_seed_that_failed_does_not_hide_the_others(make_points: Make) -> None:
    points = make_points(stages=("random",), seeds=(0, 1), failed=None)
    gone = (points["build_seed"] == 0) & (points["index"] == "hnsw")
    points.loc[gone, "status"] = "failed"
    rows = [row for row in operating_points(points) if row["index"] == "hnsw"]
    assert [row["status"] for row in rows] == ["ok"] * 4
    assert number(rows[0], "ann_recall") == pytest.approx(0.867)


def test_the_same_index_with_other_parameters_stays_apart(make_points: Make) -> None:
    points = make_points(stages=("random",), failed=None)
    other = points.assign(index_params='{"m": 32}')
    found = operating_points(pd.concat([points, other.assign(backend="b"), points.assign(backend="b")]))
    assert len(found) == 2 * len(operating_points(points))
    hnsw = [(row["label"], row["effort"]) for row in found if row["index"] == "hnsw"]
    assert hnsw == [(name, effort) for name in ("hnsw", "hnsw (m=32)") for effort in (16, 32, 64, 128)]


def test_a_failed_index_stands_in_every_panel_of_its_stage(make_points: Make) -> None:
    found = panels(operating_points(make_points(depths=(100, 10))))
    assert [(group[0]["stage"], group[0]["k"]) for group in found] == [
        ("random", 10), ("random", 100), ("pretrained", 10), ("pretrained", 100),
    ]  # fmt: skip
    assert all(sum(row["index"] == "lsh" for row in group) == 1 for group in found)
