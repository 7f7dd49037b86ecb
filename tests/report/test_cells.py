from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from retrieval_bench.report.cells import chosen, encoder_part, panel
from retrieval_bench.report.rows import metric_names, operating_points

Make = Callable[..., pd.DataFrame]


def test_the_encoders_part_is_a_line_a_metric_and_a_column_a_cut(points: pd.DataFrame) -> None:
    rows = operating_points(points)
    told = encoder_part(rows, metric_names(points))
    assert told["stages"] == ["random", "pretrained"]
    assert told["cuts"] == ["@1", "@10", "full depth"]
    lines = dict(told["lines"])
    assert lines["hit_rate"] == ["0.132 ±.012", "0.315 ±.012", "", "0.651 ±.012", "0.873 ±.012", ""]
    assert lines["map_at_r"] == ["", "", "0.021 ±.012", "", "", "0.193 ±.012"]


def test_three_stages_are_three_columns(points: pd.DataFrame) -> None:
    points = pd.concat([points, points[points["stage"] == "pretrained"].assign(stage="trained")])
    told = encoder_part(operating_points(points), metric_names(points))
    assert told["stages"] == ["random", "pretrained", "trained"] and told["cuts"] == [""]
    lines = dict(told["lines"])
    assert lines["hit_rate@10"][:2] == ["0.315 ±.012", "0.873 ±.012"] and len(lines["hit_rate@10"]) == 3
    assert lines["map_at_r"][1] == "0.193 ±.012"


def test_a_stage_in_which_all_failed_has_dashes(points: pd.DataFrame) -> None:
    points = points[(points["stage"] == "random") | (points["status"] == "failed")]
    told = encoder_part(operating_points(points), ["hit_rate@1"])
    assert dict(told["lines"])["hit_rate"] == ["0.132 ±.012", "–"]


def told(points: pd.DataFrame) -> dict[str, Any]:
    rows = operating_points(points)
    return panel(rows, metric_names(points), (rows, rows))


def test_the_index_table_has_every_number_and_marks_the_front(make_points: Make) -> None:
    table = told(make_points(stages=("random",)))
    titles = [cell.title for cell in table["cells"]]
    assert titles == [
        "ann_recall@10", "hit_rate@1 exact", "hit_rate@1 via index", "ANN loss", "p50 ms", "p95 ms", "p99 ms",
        "QPS single", "QPS batch", "build s", "size", "peak memory",
    ]  # fmt: skip
    assert [family["name"] for family in table["families"]] == ["exact", "graph", "inverted list", "LSH"]
    graph = table["families"][1]["rows"]
    assert [row["effort"] for row in graph] == ["ef 16", "ef 32", "ef 64", "ef 128"]
    assert [row["again"] for row in graph] == [False, True, True, True]
    assert all(row["front"] for row in graph)
    assert graph[2]["cells"] == [
        "0.979 ±.004", "0.132 ±.012", "0.132 ±.012", "0.000 ±.000", "0.131 ±.004", "0.172 ±.004", "0.212 ±.004",
        "7,328", "18,321", "4.37", "110 MB", "148 MB",
    ]  # fmt: skip
    inverted = table["families"][2]["rows"]
    assert [row["front"] for row in inverted] == [True, False, False, True]
    (lsh,) = table["families"][3]["rows"]
    assert (lsh["failed"], lsh["effort"], set(lsh["cells"])) == (True, "failed", {"–"})


def test_a_tail_of_too_few_queries_is_a_dash_and_empty_lists_are_told(make_points: Make) -> None:
    points = make_points(stages=("random",), failed=None).assign(empty_rate=0.25)
    points = points.drop(columns=["latency_p99_ms_lo"])
    titles = [cell.title for cell in told(points)["cells"]]
    assert "p99 ms" not in titles
    assert "empty %" in titles


def test_latencies_that_are_not_ranked_are_marked(make_points: Make) -> None:
    points = make_points(stages=("random",), failed=None)
    table = told(points.assign(functional=points["index"] == "hnsw"))
    assert table["aside"]
    assert {(row["aside"], row["front"]) for row in table["families"][1]["rows"]} == {("†", False)}
    assert "hnsw" not in table["hint"]
    assert not told(points)["aside"]


def choice(index: str, effort: int, reached: bool = True, target: str = "ann_recall ≥ 0.95") -> dict[str, Any]:
    return {
        "target": target, "index": index, "index_params": "{}", "k": 10, "effort": effort, "reached": reached,
        "tried": {str(effort): 0.96},
    }  # fmt: skip


def test_what_a_target_chose_stands_fastest_first_beside_exact_search(make_points: Make) -> None:
    rows = operating_points(make_points(stages=("random", "pretrained")))
    (table,) = chosen([choice("ivf", 16), choice("hnsw", 64)], rows, "random")
    assert (table["target"], table["k"], table["stage"]) == ("ann_recall ≥ 0.95", 10, "random")
    assert [(line["index"], line["effort"]) for line in table["lines"]] == [
        ("hnsw", "ef 64"), ("ivf", "nprobe 16"), ("exact", ""),
    ]  # fmt: skip
    assert table["lines"][0]["cells"][:4] == ["met", "0.979 ±.004", "0.131 ±.004", "14 ×"]
    assert table["lines"][2]["cells"][0] == "exact"


def test_ours_is_the_exact_search_that_others_are_compared_with(make_points: Make) -> None:
    rows = operating_points(make_points(stages=("random",)))
    own = next(row for row in rows if row["index"] == "exact")
    flat = own | {"index": "milvus_flat", "label": "milvus_flat", "family": "server", "latency_p50_ms": 100.0}
    (table,) = chosen([choice("hnsw", 64)], [flat, *rows], "random")
    assert {line["index"]: line["cells"][3] for line in table["lines"]} == {
        "hnsw": "14 ×", "exact": "1 ×", "milvus_flat": "0.0184 ×",
    }  # fmt: skip


def test_what_misses_its_target_stands_last(make_points: Make) -> None:
    rows = operating_points(make_points(stages=("random",)))
    (table,) = chosen([choice("hnsw", 16, reached=False), choice("ivf", 64)], rows, "random")
    assert [(line["index"], line["reached"]) for line in table["lines"]] == [
        ("ivf", True), ("exact", True), ("hnsw", False),
    ]  # fmt: skip
    assert table["lines"][2]["cells"][0] == "missed"


@pytest.mark.parametrize("rows", [[], [{"stage": "random", "index": "hnsw", "status": "failed", "k": None}]])
def test_choices_without_points_are_an_empty_table(rows: list[dict[str, Any]]) -> None:
    (table,) = chosen([choice("hnsw", 16)], rows, "random")
    assert table["lines"] == []


def test_two_targets_are_two_tables(make_points: Make) -> None:
    rows = operating_points(make_points(stages=("random",)))
    tables = chosen([choice("hnsw", 64), choice("hnsw", 128, target="ann_recall ≥ 0.99")], rows, "random")
    assert [(table["target"], table["lines"][0]["effort"]) for table in tables] == [
        ("ann_recall ≥ 0.95", "ef 64"), ("ann_recall ≥ 0.99", "ef 128"),
    ]  # fmt: skip
