from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from retrieval_bench.report.figure import pareto_figure, pareto_front, save_figure

Make = Callable[..., pd.DataFrame]


def named(axis: Axes, label: str) -> object:
    handles, labels = axis.get_legend_handles_labels()
    return handles[labels.index(label)]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def shown(figure: Figure) -> list[Axes]:
    return [axis for axis in figure.axes if axis.axison]


def test_a_panel_a_stage_with_every_point_its_interval_and_its_effort(points: pd.DataFrame) -> None:
    figure = pareto_figure(points)
    assert [axis.get_title(loc="left") for axis in shown(figure)] == [
        "random weights, k = 10",
        "pretrained weights, k = 10",
    ]
    axis = shown(figure)[0]
    assert axis.get_xscale() == "log"
    hnsw = named(axis, "hnsw")
    np.testing.assert_allclose(hnsw[0].get_xydata(), [[0.047, 0.871], [0.078, 0.941], [0.131, 0.979], [0.236, 0.994]])
    vertical = next(c for c in hnsw[2] if c.get_segments()[0][0][0] == c.get_segments()[0][1][0])
    np.testing.assert_allclose(vertical.get_segments()[0][:, 1], [0.867, 0.875])
    assert {"ef 16", "ef 128", "nprobe 1", "exact"} <= {text.get_text() for text in axis.texts if text.get_visible()}


def test_labels_of_crowded_points_hide_neither_each_other_nor_points(make_points: Make) -> None:
    points = make_points(stages=("random",))
    crowded = points["index"] == "hnsw"
    points.loc[crowded, "ann_recall"] = 1.0
    points.loc[crowded, "latency_p50_ms"] = [0.05, 0.051, 0.052, 0.2]
    figure = pareto_figure(points)
    axis = shown(figure)[0]
    boxes = [text.get_window_extent() for text in axis.texts if text.get_visible()]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    marks = axis.transData.transform([text.xy for text in axis.texts])
    assert not any(box.contains(*mark) for box in boxes for mark in marks)
    words = {text.get_text() for text in axis.texts if text.get_visible()}
    assert {"ef 16", "ef 128", "nprobe 1", "exact"} <= words


def test_front_and_floor_are_drawn(points: pd.DataFrame) -> None:
    axis = shown(pareto_figure(points))[0]
    front = named(axis, "Pareto front").get_xydata()
    np.testing.assert_allclose(front[:, 1], [0.412, 0.871, 0.941, 0.979, 0.994, 0.999, 1.0])
    assert axis.get_xlabel() == "p50 latency of one query, ms (floor: 0.0009)"
    assert not any("floor" in text for text in axis.get_legend_handles_labels()[1]), "it is far off: a line costs room"
    near = shown(pareto_figure(points.assign(latency_floor_ms=0.01)))[0]
    assert list(named(near, "floor, 0.01 ms").get_xdata()) == [0.01, 0.01]


def test_the_front_leaves_out_what_is_beaten_and_what_is_blank() -> None:
    rows = [{"q": q, "c": c} for q, c in [(0.5, 2.0), (0.6, 1.0), (0.6, 3.0), (0.9, 3.0), (np.nan, 0.1), (0.99, None)]]
    assert [(row["q"], row["c"]) for row in pareto_front(rows, "q", "c")] == [(0.6, 1.0), (0.9, 3.0)]


def test_one_point_without_width_has_room(make_points: Make) -> None:
    points = make_points(stages=("random",))
    points = points[points["index"] == "exact"].assign(
        latency_p50_ms=1e-4, latency_p50_ms_lo=1e-4, latency_p50_ms_hi=1e-4
    )
    left, right = shown(pareto_figure(points.assign(latency_floor_ms=1e-4)))[0].get_xlim()
    assert left < 1e-4 < right


def test_failed_indexes_are_named_and_not_drawn(points: pd.DataFrame) -> None:
    axis = shown(pareto_figure(points))[0]
    assert axis.get_title(loc="right") == "failed: lsh"
    assert not any("lsh" in label for label in axis.get_legend_handles_labels()[1])


def test_of_many_that_failed_some_are_named(points: pd.DataFrame) -> None:
    gone = points[points["status"] == "failed"]
    figure = pareto_figure(pd.concat([points, *(gone.assign(index=f"lsh_{i}") for i in range(5))]))
    assert shown(figure)[0].get_title(loc="right") == "failed: lsh, lsh_0, lsh_1, … 3 more"


def test_colours_come_from_the_family_column_and_the_legend_stands_beside(points: pd.DataFrame) -> None:
    figure = pareto_figure(points)
    colours = {name: named(shown(figure)[0], name)[0].get_color() for name in ("exact", "ivf", "hnsw")}
    assert colours == {"exact": "#000000", "ivf": "#d55e00", "hnsw": "#0072b2"}
    assert legend(figure) == ["exact", "graph", "hnsw", "inverted list", "ivf", "Pareto front"]
    assert all(axis.get_legend() is None for axis in shown(figure))
    box = figure.legends[0].get_window_extent()
    assert not any(box.overlaps(axis.bbox) for axis in shown(figure)), "it covers no point"


def test_many_indexes_of_a_family_are_told_apart(make_points: Make) -> None:
    points = make_points(stages=("random",), failed=None)
    hnsw = points[points["index"] == "hnsw"]
    more = [hnsw.assign(index=f"graph_{i}", ann_recall=hnsw["ann_recall"] - 0.01 * i) for i in range(6)]
    figure = pareto_figure(pd.concat([points, *more]))
    axis = shown(figure)[0]
    looks = [
        (line.get_color(), line.get_marker()) for line in axis.get_lines() if line.get_marker() not in ("None", "")
    ]
    curves = {look for look in looks if look[1] not in "_|"}
    assert len({colour for colour, _ in curves}) == 7
    assert len({marker for _, marker in curves}) == 9
    words = [text.get_text() for text in axis.texts]
    assert "ef 16" in words
    assert len(words) == 19, "of many points only the front and both ends of each curve are named"


def test_latencies_that_are_not_ranked_stay_off_the_front(points: pd.DataFrame) -> None:
    points["functional"] = points["index"] == "hnsw"
    figure = pareto_figure(points)
    axis = shown(figure)[0]
    front = named(axis, "Pareto front").get_xydata()
    np.testing.assert_allclose(front[:, 1], [0.412, 0.748, 0.957, 0.999, 1.0])
    assert named(axis, "hnsw")[0].get_markerfacecolor() == "white"
    assert named(axis, "ivf")[0].get_markerfacecolor() != "white"
    assert "† latency not ranked" in legend(figure)
    ivf = points.assign(functional=points["index"] == "ivf")
    by_build = named(shown(pareto_figure(ivf, cost="build_s"))[0], "Pareto front").get_xydata()
    np.testing.assert_allclose(by_build, [[0.61, 0.999]], err_msg="its other costs mean what they say")


def test_the_axis_of_ann_recall_is_stretched_towards_one(points: pd.DataFrame) -> None:
    axis = shown(pareto_figure(points))[0]
    low, middle, high = (axis.transData.transform((1, y))[1] for y in (0.5, 0.9, 0.99))
    assert high - middle > middle - low
    assert axis.yaxis.get_major_formatter()(0.95, 0) == "0.95"
    plain = shown(pareto_figure(points, "hit_rate@1"))[0]
    assert plain.get_yscale() == "linear"


def test_names_are_no_formulas(make_points: Make, tmp_path: Path) -> None:
    points = make_points(stages=("random",), failed="x")
    points["index"] = points["index"].replace({"hnsw": r"$\frac$", "lsh": "$x^{$"})
    figure = pareto_figure(points)
    assert r"$\frac$" in legend(figure)
    save_figure(figure, tmp_path / "a.png")


def test_values_that_are_all_blank_leave_an_empty_panel(make_points: Make, tmp_path: Path) -> None:
    points = make_points(stages=("random",), failed=None).assign(ann_recall=None, latency_p50_ms=np.nan)
    save_figure(pareto_figure(points), tmp_path / "a.png")


def test_one_name_with_two_sets_of_parameters_is_two_curves(make_points: Make) -> None:
    points = make_points(stages=("random",))
    points["index_params"] = points["index"].map({"hnsw": '{"m": 16}'}).fillna("{}")
    thick = points[points["index"] == "hnsw"].assign(index_params='{"m": 32}', ann_recall=0.9)
    axis = shown(pareto_figure(pd.concat([points, thick])))[0]
    for m, height in ((16, 0.871), (32, 0.9)):
        curve = named(axis, f"hnsw (m={m})")[0].get_xydata()
        assert len(curve) == 4
        assert curve[0, 1] == height


def test_nan_rows_and_missing_intervals_are_no_error(points: pd.DataFrame, tmp_path: Path) -> None:
    points = points.drop(columns=["ann_recall_lo", "ann_recall_hi"])
    points.loc[points["effort"] == 64, "latency_p50_ms"] = np.nan
    figure = pareto_figure(points)
    assert len(named(shown(figure)[0], "hnsw")[0].get_xydata()) == 3
    save_figure(figure, tmp_path / "a.png")


def test_a_run_in_which_everything_failed_has_a_figure_too(make_points: Make, tmp_path: Path) -> None:
    points = make_points()
    points = points[points["status"] == "failed"].dropna(axis="columns", how="all")
    figure = pareto_figure(points)
    assert shown(figure)[0].get_title(loc="right") == "failed: lsh"
    save_figure(figure, tmp_path / "a.png")
    save_figure(pareto_figure(points.head(0)), tmp_path / "b.png")


def test_other_columns_can_be_drawn_and_a_wrong_one_is_refused(points: pd.DataFrame) -> None:
    axis = shown(pareto_figure(points, "hit_rate@1", "index_bytes"))[0]
    assert axis.get_ylabel() == "hit_rate@1"
    assert axis.get_xlabel() == "index size, bytes"
    assert not any("floor" in label for label in axis.get_legend_handles_labels()[1])
    with pytest.raises(ValueError, match=r"no numeric column 'recal'.*ann_recall"):
        pareto_figure(points, "recal")


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_it_is_saved_whole_and_alone(points: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    path = save_figure(pareto_figure(points), tmp_path / f"pareto{suffix}")
    assert list(tmp_path.iterdir()) == [path]
    if suffix == ".png":
        with Image.open(path) as image:
            assert image.size == (2130, 690)
            assert len(image.convert("RGB").getcolors(1_000_000)) > 10
    else:
        assert path.read_text(encoding="utf-8").rstrip().endswith("</svg>")
