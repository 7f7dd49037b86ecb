from math import inf

import pytest

from retrieval_bench.report.break_even import break_even, hint


def of_all(rows, recall=0.95):
    """Chosen and told on the same queries."""
    return break_even(rows, rows, recall)


def rows(
    exact_ms: float, index_ms: float, recall: float = 0.97, n: int = 10_000, floor: float = 0.0
) -> list[dict[str, object]]:
    same = {"n_gallery": n, "status": "ok", "latency_floor_ms": floor}
    return [
        same | {"index": "exact", "knob": None, "effort": None, "latency_p50_ms": exact_ms, "ann_recall": 1.0},
        same | {"index": "hnsw", "knob": "ef", "effort": 32, "latency_p50_ms": index_ms, "ann_recall": recall},
        same | {"index": "hnsw", "knob": "ef", "effort": 8, "latency_p50_ms": index_ms / 10, "ann_recall": 0.5},
    ]


def test_a_small_gallery_needs_no_index() -> None:
    found = of_all(rows(exact_ms=0.1, index_ms=0.3))
    assert found is not None
    assert found.size == pytest.approx(30_000)
    text = hint(found)
    assert text.startswith("A gallery of 10,000 needs no index: exact search takes 0.1 ms a query, while hnsw ef 32")
    assert "Estimate: an index pays from about 30,000 vectors" in text


def test_a_large_gallery_gains_from_one() -> None:
    found = of_all(rows(exact_ms=2.0, index_ms=0.1))
    assert found is not None
    assert found.size == pytest.approx(500)
    assert "an index is 20 × as fast as exact search" in hint(found)
    assert "below about 500 vectors" in hint(found)


def test_a_large_factor_is_written_out() -> None:
    assert "an index is 250 × as fast" in hint(of_all(rows(exact_ms=6.5, index_ms=0.026)))


def test_only_what_exceeds_the_floor_grows_with_the_gallery() -> None:
    found = of_all(rows(exact_ms=0.3, index_ms=0.2, floor=0.1))
    assert found is not None
    assert found.size == pytest.approx(5_000)


def test_exact_search_at_the_floor_has_no_break_even_size() -> None:
    found = of_all(rows(exact_ms=0.1, index_ms=0.2, floor=0.1))
    assert found is not None
    assert found.size == inf
    assert "Estimate" not in hint(found)


def test_an_index_below_the_wanted_recall_does_not_count() -> None:
    assert of_all(rows(2.0, 0.1, recall=0.9)) is None
    assert "No break-even to tell" in hint(None)
    assert of_all(rows(2.0, 0.1, recall=0.9), recall=0.9) is not None


def test_failed_rows_do_not_count() -> None:
    failed = [row | {"status": "failed"} for row in rows(2.0, 0.1)]
    assert of_all(failed) is None


def test_the_effort_is_chosen_on_one_half_and_told_of_the_other():
    tune, report = rows(exact_ms=2.0, index_ms=0.1), rows(exact_ms=3.0, index_ms=0.5, recall=0.9)
    found = break_even(tune, report)
    assert (found.exact_ms, found.index_ms, found.ann_recall) == (3.0, 0.5, 0.9)
    assert break_even(report, tune) is None
