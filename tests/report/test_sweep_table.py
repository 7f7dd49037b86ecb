"""The table at a sweep's end: nothing of it is cut at 80 columns."""

from io import StringIO

import pandas as pd
import pytest
from rich.console import Console

from retrieval_bench.report.seeds import seed_rows, seed_tables


def points(index: str, effort: float | None, quality: float) -> dict[str, object]:
    row: dict[str, object] = {"index": index, "stage": "pretrained", "effort": effort, "knob": effort and "ef", "k": 10}
    row |= {"status": "ok", "half": "all", "index_params": "{}", "exact": index == "exact", "build_seed": 0}
    for name in ("hit_rate@1", "exact_hit_rate@1", "ann_recall", "latency_p50_ms", "latency_p95_ms", "build_s"):
        row |= {name: quality, f"{name}_lo": quality - 0.0123, f"{name}_hi": quality + 0.0456}
    return row | {"exact_hit_rate@1": 0.9}


@pytest.mark.parametrize("seeds", [["0"], ["0", "1", "2"]])
def test_every_name_and_number_is_there_at_80_columns(seeds: list[str]) -> None:
    rows = pd.DataFrame([points("exact", None, 0.9), points("hnsw", 128.0, 0.8765)])
    found = seed_rows([("search=[exact,hnsw] transform.pca_whitening.dim=128", seed, rows) for seed in seeds])
    console = Console(width=80, record=True, file=StringIO())
    for each in seed_tables(found):
        console.print(each)
    told = console.export_text()
    assert max(map(len, told.splitlines())) <= 80
    assert "…" not in told
    assert "search=[exact,hnsw] transform.pca_whitening.dim=128 · pretrained" in told
    assert f"k = 10, seeds: {len(seeds)}" in told
    (line,) = (line for line in told.splitlines() if line.startswith("hnsw ef 128"))
    assert line.count("0.87") == 4  # hit_rate@1, ann_recall, p50, p95
