"""Results by class in the record, the terminal and the page."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from retrieval_bench import run
from retrieval_bench.report.classes import class_table, render_classes
from retrieval_bench.report.page import page
from retrieval_bench.stats import bootstrap_mean

DIGITS = ["data=digits", "data.n_test=200", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none",
          "search=[exact]", "k=[5]", "cuts=[1]", "measure.passes=1", "logger=[]", "embed.engine=torch"]  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_classes_are_those_of_their_queries() -> None:
    record = run(DIGITS)
    found = record.stages["random"]["by_class"]
    queries = pd.read_parquet(record.folder / "queries.parquet").drop_duplicates("query_id").set_index("query_id")
    from retrieval_bench.cli import experiment

    items = experiment(DIGITS).data.queries()
    values = queries.loc[items.ids, "hit_rate@1"].to_numpy(float)
    assert found["classes"] == [items.label_names[label] for label in np.unique(items.labels)]
    assert sum(found["n_queries"]) == len(items)
    for i, label in enumerate(np.unique(items.labels)):
        wanted = bootstrap_mean(values[items.labels == label], 0)
        assert (found["value"][i], found["lo"][i], found["hi"][i]) == (wanted.value, wanted.lo, wanted.hi)

    table = class_table(record)
    assert table is not None and table.stages == ["random"] and len(table.lines) == len(found["classes"])
    console = Console(width=80, record=True)
    console.print(render_classes(table))
    told = console.export_text()
    html = page([record])
    for name, n, cells in table.lines:
        assert name in told and n in told and cells[0] in told
        assert f"<tr><th>{name}</th><td>{n}</td><td>{cells[0]}</td></tr>" in html


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_nothing_is_told_of_many_classes_or_without_the_metric() -> None:
    record = run([*DIGITS, "metric=[map_at_r]"])
    assert record.stages["random"]["by_class"] is None and class_table(record) is None
