import io
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from rich.console import Console, RenderableType

from retrieval_bench.report.table import RunFacts, render_table

Make = Callable[..., pd.DataFrame]
FACTS = RunFacts(
    protocol={"split": "test classes", "self": "removed by id"},
    nothing_relevant=12,
    unreadable=3,
    files=("runs/a/points.parquet", "runs/a/pareto.png"),
)


def printed(renderable: RenderableType, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as captured:
        console.print(renderable)
    return captured.get().splitlines()


def line_of(lines: list[str], *words: str) -> str:
    return next(line for line in lines if all(word in line for word in words))


def part(lines: list[str], title: str) -> list[str]:
    start = next(i for i, line in enumerate(lines) if title in line)
    return lines[start : lines.index("", start) if "" in lines[start:] else None]


@pytest.mark.parametrize("width", [80, 100])
def test_it_fits_and_nothing_of_the_essential_is_lost(points: pd.DataFrame, width: int) -> None:
    lines = printed(render_table(points, FACTS, width), width)
    assert max(map(len, lines)) <= width
    row = line_of(part([line.rstrip() for line in lines], "index's part: pretrained"), "ef 32")
    assert re.search(r"0\.648 +0\.003 ±\.001 +0\.941 ±\.004 +0\.078 ±\.002 +0\.102 ±\.002", row), row
    assert not any("…" in line for line in lines)


def test_a_wide_table_has_throughput_and_size_and_a_narrow_one_leaves_them_out(points: pd.DataFrame) -> None:
    wide = printed(render_table(points, FACTS, 100), 100)
    narrow = printed(render_table(points, FACTS, 80), 80)
    assert line_of(wide, "ef 64", "0.131").split()[-3:] == ["18,321", "110", "MB"]
    assert line_of(narrow, "ef 64", "0.131").split()[-1] == "±.004"


def test_a_very_narrow_terminal_keeps_recall_and_the_median(points: pd.DataFrame) -> None:
    lines = [line.rstrip() for line in printed(render_table(points, FACTS, 50), 50)]
    row = line_of(part(lines, "index's part: random"), "ef 64")
    assert "0.979 ±.004" in row
    assert "0.131 ±.004" in row


def test_the_encoders_part_stands_once_a_stage(points: pd.DataFrame) -> None:
    lines = [line.rstrip() for line in printed(render_table(points, FACTS, 100), 100)]
    encoder = part(lines, "encoder's part")
    assert "0.132 ±.012  0.651 ±.012" in line_of(encoder, "hit_rate@1 ")
    assert "0.021 ±.012  0.193 ±.012" in line_of(encoder, "map_at_r")
    assert sum("0.193" in line for line in lines) == 1


def test_every_line_about_the_run_is_there(points: pd.DataFrame) -> None:
    text = " ".join(" ".join(printed(render_table(points, FACTS, 100), 100)).split())
    for sentence in (
        "glyphs · 4,096 queries × 20,480 gallery · efficientnet_lite0, 1280-d · cosine",
        "split: test classes · self: removed by id",
        "0.0009 ms of it is the floor",
        "encoding one query takes 11.7 ms (random), 11.7 ms (pretrained)",
        "12 queries have nothing relevant",
        "3 items could not be read",
        "lsh failed (random, pretrained): hnsw is not installed; type: pip install 'retrieval-bench[hnsw]'",
        "Written: runs/a/points.parquet runs/a/pareto.png",
        "an index is 14 × as fast as exact search",
    ):
        assert sentence in text


def test_build_cost_has_a_line_an_index_and_stage(points: pd.DataFrame) -> None:
    lines = [line.rstrip() for line in printed(render_table(points, FACTS, 100), 100)]
    build = part(lines, "build and keep")
    assert line_of(build, "hnsw", "random").split() == ["hnsw", "random", "4.37", "110", "MB", "148", "MB", "ok"]
    assert line_of(build, "lsh", "random").split() == ["lsh", "random", "–", "–", "–", "failed"]
    assert not any("null" in line for line in lines), "the floor is no choice"


def test_each_depth_has_its_own_table(make_points: Make) -> None:
    lines = printed(render_table(make_points(stages=("random",), depths=(100, 10)), FACTS, 100), 100)
    titles = [line for line in lines if "index's part" in line]
    assert [title.strip() for title in titles] == [
        "The index's part: random weights, k = 10",
        "The index's part: random weights, k = 100",
    ]


def test_build_seeds_are_merged_into_a_mean_with_their_spread(make_points: Make) -> None:
    points = make_points(stages=("random",), seeds=(0, 1), failed=None)
    lines = printed(render_table(points, FACTS, 100), 100)
    assert sum("nprobe 16" in line for line in lines) == 1
    # 0.957 and 0.953: mean 0.955; Student's half width 12.706 · 0.002 and the queries' 0.004 add as squares to 0.0257
    assert "0.955 ±.026" in line_of(lines, "nprobe 16")
    assert "0.132 ±.012" in line_of(lines, "hit_rate@1 "), (
        "the encoder's interval is over queries, not over build seeds"
    )


def test_only_one_half_of_the_queries_is_shown(make_points: Make) -> None:
    points = make_points(stages=("random",), failed=None)
    halves = pd.concat(
        [points, points.assign(half="tune", ann_recall=0.11), points.assign(half="report", ann_recall=0.22)]
    )
    assert "0.979" in line_of(printed(render_table(halves, FACTS, 100), 100), "ef 64")
    halves = halves[halves["half"] != "all"]
    assert "0.220" in line_of(printed(render_table(halves, FACTS, 100), 100), "ef 64")


def test_without_labels_the_index_part_still_stands(make_points: Make) -> None:
    points = make_points(stages=("pretrained",))
    labels = [c for c in points.columns if "hit_rate" in c or "recall@" in c or "precision" in c or "map_at" in c]
    lines = printed(render_table(points.drop(columns=labels), RunFacts(), 100), 100)
    assert not any("encoder's part" in line for line in lines)
    assert "0.979 ±.004" in line_of(lines, "ef 64")


def test_when_everything_failed_the_errors_are_told(make_points: Make) -> None:
    points = make_points(stages=("random",))
    points = points[points["status"] == "failed"].drop(columns=["ann_recall", "latency_p50_ms"])
    text = " ".join(" ".join(printed(render_table(points, RunFacts(), 80), 80)).split())
    assert "lsh failed (random): hnsw is not installed" in text
    assert "No break-even" in text


def test_names_with_brackets_are_not_taken_for_markup(make_points: Make) -> None:
    points = make_points(stages=("random",), failed="see [red] and [/red]")
    points["index"] = points["index"].replace("hnsw", "my[bold]one")
    lines = printed(render_table(points, FACTS, 100), 100)
    assert line_of(lines, "ef 16").startswith("my[bold]one")
    assert line_of(lines, "lsh failed").endswith("see [red] and [/red]")


def test_no_points_says_what_to_type() -> None:
    empty = pd.DataFrame({"index": pd.Series(dtype=str), "stage": [], "k": []})
    assert "search=[exact,hnsw]" in " ".join(printed(render_table(empty, RunFacts(), 80), 80))


def test_blank_metrics_of_a_shallow_row_are_not_shown_as_numbers(points: pd.DataFrame) -> None:
    only = points.drop(columns=[c for c in points.columns if "hit_rate" in c or "recall@" in c])
    lines = printed(render_table(only, FACTS, 100), 100)
    assert line_of(lines, "ef 64").split()[:5] == ["ef", "64", "0.979", "±.004", "0.131"]
    assert np.isnan(only["map_at_r"]).all()
