"""Bars and boxes of operating points: what adds up, and which points are shown where there are many."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from retrieval_bench.report.decomposition import decomposition_figure
from retrieval_bench.report.drawing import svg
from retrieval_bench.report.latency import few_points, latency_figure, spreads
from retrieval_bench.report.rows import operating_points, point_key

Make = Callable[..., pd.DataFrame]


def test_kept_lost_and_missed_add_up_to_one(make_points: Make) -> None:
    rows = few_points(operating_points(make_points(stages=("random",))))
    figure = decomposition_figure(rows, "hit_rate@1")
    assert figure is not None
    kept, lost, missed = ([bar.get_width() for bar in bars] for bars in figure.axes[0].containers)
    np.testing.assert_allclose(np.sum([kept, lost, missed], axis=0), 1)
    np.testing.assert_allclose(kept, [row["hit_rate@1"] for row in rows])
    np.testing.assert_allclose(missed, 1 - 0.132)
    assert decomposition_figure(rows, "recall@99") is None


def test_boxes_are_quantiles_of_the_timed_passes_of_their_point(make_points: Make) -> None:
    rows = operating_points(make_points(stages=("random",), failed=None))
    key = {"stage": "random", "index_params": "{}", "k": 10}
    times = pd.concat(
        [
            pd.DataFrame({"pass": 0, "ns": np.arange(1, 102) * 1e6}).assign(**key, index="hnsw", effort=16.0),
            pd.DataFrame({"pass": [-1, 1], "ns": [np.nan, 5e6]}).assign(**key, index="exact", effort=np.nan),
        ]
    )
    found = spreads(times, rows)
    exact, hnsw = rows[0], next(row for row in rows if (row["index"], row["effort"]) == ("hnsw", 16))
    assert found == {point_key(exact): (5.0,) * 5, point_key(hnsw): pytest.approx((2, 26, 51, 76, 100))}
    figure = latency_figure(rows, found)
    assert figure is not None
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["exact", "hnsw ef 16"]
    told = re.findall(r"<title>(.*?)</title>", svg(figure, "a"), re.DOTALL)
    assert any("quartiles 26.0 and 76.0" in text for text in told)
    assert latency_figure(rows, {}) is None


def test_of_many_points_the_front_and_the_ends_are_shown(make_points: Make) -> None:
    points = make_points(stages=("random",), failed=None)
    many = operating_points(pd.concat([points, *(points.assign(index=points["index"] + f"_{i}") for i in range(4))]))
    shown = few_points(many, most=20)
    assert len(shown) == 20 < len(many)
    assert {0.412, 0.999, 1.0} <= {row["ann_recall"] for row in shown}
