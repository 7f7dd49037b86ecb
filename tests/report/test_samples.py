"""The picture of some queries with their neighbours."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from told_runs import told_run

from retrieval_bench.data.base import Dataset, Items
from retrieval_bench.report import samples
from retrieval_bench.report.contact_sheet import COLOURS, Neighbour, Verdict
from retrieval_bench.report.samples import sample_sheet
from retrieval_bench.types import GroundTruth


class Squares(Dataset):
    """Six items of two classes, in turn; an item's shade is its row."""

    name = "squares"

    def __init__(self) -> None:
        def read(row: int) -> dict[str, np.ndarray]:
            return {"image": np.full((8, 8, 3), 40 * row, np.uint8)}

        keys, labels = [f"{i}.png" for i in range(6)], np.arange(6) % 2
        self.items = Items(keys, read, "f", labels, None, {0: "even", 1: "odd"})

    def train(self) -> Items:
        return self.items

    validation = queries = gallery = train

    def truth(self) -> GroundTruth:
        ids, labels = self.items.ids, np.asarray(self.items.labels)
        return GroundTruth(ids, ids, query_labels=labels, gallery_labels=labels)

    @property
    def protocol(self) -> dict[str, object]:
        return {}


POINT = {"stage": "trained", "index": "exact", "index_params": "{}", "effort": None, "build_seed": 0, "k": 2}


def lists(ids: np.ndarray, found: list[list[int]], **changes: object) -> pd.DataFrame:
    rows = {"query_id": ids[: len(found)], "ids": [ids[row] for row in found], "scores": [[0.9, 0.5]] * len(found)}
    return pd.DataFrame({**rows, **POINT, **changes})


def test_verdicts_follow_the_truth_and_queries_are_spread_from_worst_to_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, list[Neighbour]]] = []
    real = samples.contact_sheet

    def spy(query: np.ndarray, caption: str, found: list[Neighbour]) -> object:
        drawn.append((caption, found))
        return real(query, caption, found)

    monkeypatch.setattr(samples, "contact_sheet", spy)
    monkeypatch.setattr(samples, "QUERIES", 2)
    data, story = Squares(), told_run(tmp_path)
    other = lists(data.items.ids, [[1, 3], [0, 2], [1, 3]], index="hnsw", effort=512)  # not exact: not shown
    shown = lists(data.items.ids, [[2, 4], [3, 0], [1, 3]])
    pd.concat([other, shown]).to_parquet(story.record.folder / "neighbours.parquet")
    sheet = sample_sheet(story.record, data)
    assert sheet is not None
    verdicts = [(name, [each.verdict for each in found]) for name, found in drawn]
    assert verdicts == [("even", [Verdict.WRONG] * 2), ("even", [Verdict.RIGHT] * 2)]
    assert [each.label for each in drawn[1][1]] == ["even", "even"]
    pixels = np.asarray(sheet).reshape(-1, 3)
    for verdict in (Verdict.RIGHT, Verdict.WRONG):
        assert (pixels == COLOURS[verdict]).all(axis=1).any()


def test_a_run_without_lists_has_no_picture(tmp_path: Path) -> None:
    assert sample_sheet(told_run(tmp_path).record, Squares()) is None


def test_items_that_left_the_data_are_left_out(tmp_path: Path) -> None:
    data, story = Squares(), told_run(tmp_path)
    table = lists(data.items.ids, [[2, 4]])
    table["query_id"] = 7
    table.to_parquet(story.record.folder / "neighbours.parquet")
    assert sample_sheet(story.record, data) is None
