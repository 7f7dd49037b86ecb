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


def test_every_number_stands_whole_in_100_columns(table: pd.DataFrame) -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(render_comparison(table))
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    numbers = ("-0.215", "-0.290", "-0.135", "<.001")
    for said in ("average_precision@10", "a better", "none found", "hnsw 16", "k = 10", "x → y", *numbers):
        assert said in text, said
    assert "…" not in text, "a cell was cut"
    assert "nan" not in text.lower()
