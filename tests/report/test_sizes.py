from typing import Any

import numpy as np
import pandas as pd

from retrieval_bench.report.sizes import curves, size_figure

FAMILY = {"exact": "exact", "hnsw": "graph", "null": "other", "lite": "server"}


def rows(stage: str = "random", target: str = "ann_recall ≥ 0.9") -> pd.DataFrame:
    """Exact search takes n/1000 ms; hnsw 2 ms at every size, so that it crosses at 2,000."""
    found: list[dict[str, Any]] = []
    for n in (1000, 4000):
        for index, ms in (("exact", n / 1000), ("hnsw", 2.0), ("null", 0.001), ("lite", 9.0)):
            row = {
                "stage": stage, "target": target, "n_gallery": n, "index": index, "family": FAMILY[index],
                "status": "ok", "exact": index == "exact", "functional": index == "lite",
                "latency_p50_ms": ms, "latency_p50_ms_lo": 0.9 * ms, "latency_p50_ms_hi": 1.2 * ms,
            }  # fmt: skip
            found += [row | {"half": "report"}, row | {"half": "tune", "latency_p50_ms": 77.0}]
    return pd.DataFrame(found)


def named(axis: Any, label: str) -> Any:
    return next(line for line in axis.get_lines() if line.get_label() == label)


def test_a_line_an_index_and_a_ring_where_it_crosses_exact_search() -> None:
    figure = size_figure(rows())
    assert figure is not None
    axis = figure.axes[0]
    assert (axis.get_xscale(), axis.get_yscale(), axis.get_title()) == ("log", "log", "random · ann_recall ≥ 0.9")
    np.testing.assert_allclose(named(axis, "exact").get_xydata(), [[1000, 1], [4000, 4]])
    np.testing.assert_allclose(named(axis, "hnsw").get_xydata(), [[1000, 2], [4000, 2]])
    np.testing.assert_allclose(named(axis, "hnsw crosses").get_xydata(), [[2000, 2]])
    assert not any("lite crosses" in str(line.get_label()) for line in axis.get_lines()), "never faster: no ring"
    assert named(axis, "lite").get_markerfacecolor() == "white"
    assert not any("null" in str(line.get_label()) for line in axis.get_lines())


def test_a_panel_a_stage_and_target() -> None:
    figure = size_figure(pd.concat([rows(), rows("pretrained"), rows(target="ann_recall ≥ 0.99")]))
    assert figure is not None
    titles = [axis.get_title() for axis in figure.axes if axis.axison]
    assert titles == ["random · ann_recall ≥ 0.9", "pretrained · ann_recall ≥ 0.9", "random · ann_recall ≥ 0.99"]


def test_what_failed_or_has_no_time_is_left_out() -> None:
    table = rows()
    table.loc[table["index"] == "hnsw", "latency_p50_ms"] = np.nan
    table.loc[table["index"] == "lite", "status"] = "failed"
    assert {row["label"] for row in curves(table)} == {"exact"}
    assert size_figure(table.assign(status="failed")) is None


def test_without_exact_search_there_are_lines_and_no_rings() -> None:
    table = rows()
    figure = size_figure(table[table["index"] != "exact"])
    assert figure is not None
    assert [line.get_label() for line in figure.axes[0].get_lines()] == ["hnsw", "lite"]
