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
    lost_classes=("cat", "dog"),
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
    assert any("no room for" in line for line in lines) == (width < 100)
    row = line_of(part([line.rstrip() for line in lines], "index's part: pretrained"), "ef 32")
    assert re.search(r"0\.648 +0\.003 ±\.001 +0\.941 ±\.004 +0\.078 ±\.002 ", row), row
    assert not any("…" in line for line in lines)


def test_a_narrow_table_leaves_out_the_tail_and_throughput(points: pd.DataFrame) -> None:
    wide = printed(render_table(points, FACTS, 100), 100)
    narrow = printed(render_table(points, FACTS, 80), 80)
    assert line_of(wide, "ef 64", "0.131").split()[-5:] == ["0.172", "±.004", "18,321", "110", "MB"]
    assert line_of(narrow, "ef 64", "0.131").split()[-4:] == ["0.131", "±.004", "110", "MB"]


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
        "12 queries have nothing relevant (classes cat, dog): counted, left out of the means.",
        "3 items could not be read",
        "lsh failed (random, pretrained): hnsw is not installed; type: pip install 'retrieval-bench[hnsw]'",
        "Written to runs/a: points.parquet, pareto.png",
        "an index is 14 × as fast as exact search",
    ):
        assert sentence in text


def test_build_cost_has_a_line_an_index_and_stage(points: pd.DataFrame) -> None:
    lines = [line.rstrip() for line in printed(render_table(points, FACTS, 100), 100)]
    build = part(lines, "build and keep")
    assert line_of(build, "hnsw", "random").split() == ["hnsw", "random", "4.37", "110", "MB", "148", "MB", "ok"]
    assert line_of(build, "pretrained", "4.37").split()[0] == "pretrained", "the name stands once"
    assert line_of(build, "lsh", "random").split() == ["lsh", "random", "–", "–", "–", "failed"]
    assert not any("null" in line for line in lines), "the floor is no choice"


def two_of_a_backend(points: pd.DataFrame) -> pd.DataFrame:
    """`hnsw` at two build parameters under one name, and a third under a name of its own."""
    hnsw = points["index"] == "hnsw"
    backend = points["index"].map(lambda name: f"search.{name}")
    points = points.assign(backend=backend)
    points.loc[hnsw, "index_params"] = '{"ef_construction": 200, "m": 16}'
    thick = points[hnsw].assign(index_params='{"ef_construction": 200, "m": 32}')
    return pd.concat([points, thick, thick.assign(index="mine", index_params='{"ef_construction": 200, "m": 64}')])


def test_indexes_of_one_backend_show_what_differs(make_points: Make) -> None:
    points = two_of_a_backend(make_points(stages=("random",), failed=None))
    lines = [line.rstrip() for line in printed(render_table(points, FACTS, 120), 120)]
    index, build = part(lines, "index's part"), part(lines, "build and keep")
    for name in ("hnsw (m=16)", "hnsw (m=32)", "mine (m=64)"):
        assert line_of(index, name, "ef 16")
        assert line_of(build, name, "4.37")
    assert not any("ef_construction" in line or "exact (" in line for line in lines)
    folded = part([line.rstrip() for line in printed(render_table(points, FACTS, 80), 80)], "index's part")
    assert max(map(len, folded)) <= 80
    assert [line.split()[:3] for line in folded if "m=" in line] == [[f"(m={m})", "ef", "32"] for m in (16, 32, 64)]
    assert sum(line.startswith("hnsw ") for line in folded) == 2


def test_a_folded_name_of_one_line_keeps_its_parameters(make_points: Make) -> None:
    points = two_of_a_backend(make_points(stages=("random",), failed=None))
    points = points[points["effort"].isna() | (points["effort"] == 16)]
    lines = part([line.rstrip() for line in printed(render_table(points, FACTS, 70), 70)], "index's part")
    assert [line.strip() for line in lines if "m=" in line] == ["(m=16)", "(m=32)", "(m=64)"]


def test_a_large_table_is_readable_in_80_columns(make_points: Make) -> None:
    stages = ("random", "pretrained")
    points = two_of_a_backend(make_points(stages=stages, depths=(10, 100)))
    points = pd.concat([points, points[points["stage"] == "random"].assign(stage="trained")])
    lines = printed(render_table(points, FACTS, 80), 80)
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    assert sum("index's part" in line for line in lines) == 6
    assert "random   pretrained      trained" in line_of(lines, "metric  ")
    assert sum(line.startswith("metric") for line in lines) == 1, (
        "three stages: one table below the other would repeat it"
    )


def test_sides_that_differ_are_both_given(make_points: Make) -> None:
    points = make_points(stages=("random",), failed=None)
    at = points["effort"] == 32
    points.loc[at, "latency_p50_ms_lo"], points.loc[at, "latency_p50_ms_hi"] = 0.077, 0.098
    wide, narrow = (printed(render_table(points, FACTS, width), width) for width in (100, 80))
    assert "0.078 −.001/+.020" in line_of(wide, "ef 32", "0.941")
    assert "0.078 ±.020" in line_of(narrow, "ef 32", "0.941")


def test_a_tail_of_too_few_queries_is_a_dash_and_said_why(make_points: Make) -> None:
    points = make_points(stages=("random",), failed=None).assign(n_timed=50)
    points[["latency_p95_ms_lo", "latency_p95_ms_hi"]] = np.nan
    points.loc[points["effort"] == 64, ["latency_p95_ms_lo", "latency_p95_ms_hi"]] = [0.16, 0.18]
    lines = printed(render_table(points, FACTS, 100), 100)
    assert line_of(lines, "ef 32", "0.941").split()[-4] == "–"
    assert "0.102" not in " ".join(lines)
    assert any("p95 is told from 59 timed queries on; 50 were timed." in line for line in lines)
    enough = printed(render_table(points.assign(n_timed=1000), FACTS, 100), 100)
    assert not any("p95 is told" in line for line in enough)


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
