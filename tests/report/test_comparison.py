import io

import pandas as pd
import pytest
from rich.console import Console

from retrieval_bench.report.comparison import render_comparison


@pytest.fixture
def table() -> pd.DataFrame:
    same = {"stage": "pretrained", "effort": None, "p": 0.2, "detectable": 0.0109, "n": 200}
    rows = [
        same
        | {
            "index": "(encoder)",
            "k": None,
            "metric": "average_precision@10",
            "a": 0.9,
            "b": 0.685,
            "difference": -0.215,
        }
        | {"lo": -0.29, "hi": -0.135, "p_holm": 0.0001, "verdict": "a better"},
        same
        | {"index": "hnsw", "effort": 16, "k": 10, "metric": "hit_rate@1", "a": 0.9, "b": 0.9, "difference": 0.0}
        | {"lo": 0.0, "hi": 0.0, "p_holm": None, "verdict": "no difference found"},
    ]
    found = pd.DataFrame(rows)
    found["k"] = found["k"].astype("Int64")  # as `compare` gives it
    found.attrs = {"run_a": "aa", "run_b": "bb", "comparisons": 2}
    found.attrs |= {"differs": {"encoder.model": ["x", "y"]}, "machine_differs": {}}
    return found


def printed(table: pd.DataFrame, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as captured:
        console.print(render_comparison(table))
    return [line.rstrip() for line in captured.get().splitlines()]


def line_of(lines: list[str], start: str) -> list[str]:
    return next(line for line in lines if line.startswith(start)).split()


@pytest.mark.parametrize("width", [80, 100])
def test_every_number_stands_whole(table: pd.DataFrame, width: int) -> None:
    lines = printed(table, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text, "a cell was cut"
    assert "nan" not in text.lower()
    encoder = ["0.900", "0.685", "−0.215", "±.080", "<.001", "0.011", "a"]
    assert line_of(lines, "average_precision@10") == ["average_precision@10", *encoder]
    assert line_of(lines, "  hnsw 16") == ["hnsw", "16", "0.900", "0.900", "0.000", "±.000", "–", "0.011", "–"]
    for said in ("hit_rate@1", "pretrained, k = 10", "encoder.model: x → y", "which is not to say"):
        assert said in text, said
    assert "unlike machines" not in text


def point(metric: str, verdict: str = "no difference found", index: str = "hnsw (m=16 → 32)") -> dict[str, object]:
    numbers = {"a": 0.31, "b": 0.36, "difference": 0.05, "lo": 0.04, "hi": 0.09, "p": 0.01, "p_holm": 0.04}
    where = {"stage": "pretrained", "index": index, "effort": 16, "k": 10, "metric": metric}
    return where | numbers | {"detectable": 0.02, "n": 200, "verdict": verdict}


def test_of_an_index_one_metric_its_recall_and_latencies_are_shown_and_the_rest_counted(table: pd.DataFrame) -> None:
    names = ("ann_recall", "distance_ratio", "hit_rate@1", "map_at_r", "latency_p50_ms", "latency_p95_ms")
    rows = [point(name) for name in names] + [point("ndcg@10", "b better"), point("latency_p99_ms", "too few queries")]
    found = pd.DataFrame(rows)
    found.attrs = table.attrs
    lines = printed(found, 80)
    headings = [line for line in lines if line in {"hit_rate@1", "ann_recall@10", "p50 ms", "p95 ms"}]
    assert headings == ["hit_rate@1", "ann_recall@10", "p50 ms", "p95 ms"]
    assert sum(line.startswith("  hnsw 16 ") for line in lines) == 4, "the change of parameters stands above"
    assert "+0.050 −.010/+.040" in next(line for line in lines if "hnsw 16" in line)
    assert any(line.startswith("4 more comparisons of other metrics, 1 with a difference") for line in lines)


def test_names_that_only_parameters_tell_apart_keep_them(table: pd.DataFrame) -> None:
    found = pd.DataFrame([point("hit_rate@1", index=f"hnsw (m={m})") for m in (16, 32)])
    found.attrs = table.attrs
    text = "\n".join(printed(found, 100))
    assert "hnsw (m=16) 16" in text
    assert "hnsw (m=32) 16" in text


def test_costs_settings_and_what_stands_alone(table: pd.DataFrame) -> None:
    index = {"search.old._target_": ["x.Old", None], "search.old.m": [5, None], "search.hnsw.m": [16, None]}
    cost = {"index_bytes": [1e6, 2e6], "build_s": [1.25, None], "peak_rss_bytes": [None, 3e6]}
    table.attrs |= {"differs": index, "not_compared": ["pretrained: old"], "machine_differs": {"cpu": ["one", "two"]}}
    table.attrs["costs"] = [cost | {"stage": "pretrained", "index": "hnsw"}]
    lines = printed(table, 80)
    assert [line.strip() for line in lines[1:5]] == [
        "search.old: only in a",
        "search.hnsw.m: 16 → none",
        "measured on unlike machines: cpu: one → two",
        "not in both, or with no clear counterpart: pretrained: old",
    ]
    cells = ["1.00", "MB", "2.00", "MB", "1.25", "–", "–", "3.00", "MB"]
    assert line_of(lines, "hnsw  ") == ["hnsw", *cells]
    assert "machine: times of unlike machines are not judged." in lines
