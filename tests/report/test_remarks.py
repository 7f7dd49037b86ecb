from typing import Any

import pytest

from retrieval_bench.record import RunRecord
from retrieval_bench.report.remarks import open_metrics, run_facts


def row(value: float, half: float) -> dict[str, Any]:
    return {"exact_hit_rate@1": value, "exact_hit_rate@1_lo": value - half, "exact_hit_rate@1_hi": value + half}


@pytest.mark.parametrize(
    ("half", "bounds", "told"),
    [
        (0.02, [0.4985, 0.5], True),  # by more than 0.001
        (0.02, [0.4995, 0.5005], False),
        (0.0002, [0.4995, 0.5005], True),  # by more than half of the interval
        (0.0, [0.5, 0.5], False),
    ],
)
def test_bounds_far_from_the_value_are_told(half: float, bounds: list[float], told: bool) -> None:
    found = open_metrics(row(0.5, half), {"hit_rate@1": bounds, "unknown": [0.0, 1.0]})
    assert bool(found) == told
    if bounds[0] == 0.4985:
        assert found == ["hit_rate@1 0.498 to 0.500"]


def record(stages: dict[str, Any]) -> RunRecord:
    same = {"stage": "random", "half": "all", "status": "ok"}
    rows = [same | {"index": "null"}, same | {"index": "exact"} | row(0.5, 0.02)]
    return RunRecord("id", "name", {}, {"split": "test", "more": {}}, "f", {}, {}, stages, rows)


def test_a_record_tells_what_belongs_beside_its_numbers() -> None:
    lost = {"count": 12, "query_ids": [1], "labels": [3, 4], "classes": ["cat", "dog"]}
    stage = {"nothing_relevant": lost, "unreadable": 2, "tie_bounds": {"hit_rate@1": [0.4, 0.6]}}
    stage |= {"stored_neighbours": {"k": 100, "ann_recall": 1.0}}
    facts = run_facts(record({"random": stage}), ["a/b"])
    assert (facts.nothing_relevant, facts.lost_classes, facts.unreadable) == (12, ["cat", "dog"], 2)
    assert facts.protocol == {"split": "test"}
    assert facts.files == ["a/b"]
    assert facts.remarks == [
        "Exact search against the stored neighbours: ann_recall@100 = 1.0000",
        "Equal scores leave open (random): hit_rate@1 0.400 to 0.600; ties stand in random order.",
    ]


def test_older_records_have_numbers_for_classes_and_no_remarks() -> None:
    assert run_facts(record({"random": {"nothing_relevant": {"count": 1, "labels": [3]}}})).lost_classes == ["3"]
    assert run_facts(record({"given": {}})).remarks == []
