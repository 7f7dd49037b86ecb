"""Bars and boxes of operating points: what adds up, and which points are shown where there are many."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from retrieval_bench.collapse import collapse_facts
from retrieval_bench.report.collapse import collapse_figure
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


def test_spectrum_and_hubs_are_drawn_as_far_as_they_are_positive() -> None:
    lists = np.array([[1], [0], [0]])
    found = {"dim": 3, "collapse": collapse_facts(np.eye(3), np.arange(3), lists, seed=0)}
    figure = collapse_figure({"random": found, "older": {}})
    assert figure is not None
    left, right = figure.axes
    np.testing.assert_allclose(left.get_lines()[0].get_xydata(), [[1, 0.5], [2, 0.5]])
    np.testing.assert_allclose(right.get_lines()[0].get_xydata(), [[1, 2], [2, 1]])
    svg(figure, "a")


def test_of_one_vector_there_is_no_spectrum() -> None:
    alone = {"collapse": collapse_facts(np.ones((1, 2)), np.array([7]), np.array([[7]]), seed=0)}
    figure = collapse_figure({"random": alone})
    assert figure is not None
    svg(figure, "a")
    nothing = {"collapse": collapse_facts(np.ones((1, 2)), np.array([7]), np.array([[-1]]), seed=0)}
    assert collapse_figure({"random": nothing}) is None
