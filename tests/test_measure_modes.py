"""Measuring: efforts chosen by a target, clients that ask at once, and pairs that LSH says collide or not."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from retrieval_bench.choose import Choice, Goal
from retrieval_bench.errors import BadConfig
from retrieval_bench.measure import Candidate, IndexResult, Measure, Plan, measure
from retrieval_bench.types import SearchResult, Similarity

Log = Callable[[], list[str]]


def planned(folder: Path, candidates: list[Candidate], **changes: object) -> list[IndexResult]:
    from run_measure import SETTINGS, embeddings

    plan = Plan(Similarity.DOT, [4], 1, 0, SETTINGS)
    plan = replace(plan, **changes)
    return measure(candidates, embeddings(30, 100_000, 1), embeddings(200, 7, 2), plan, folder, lambda *_: None)


def sampling(efforts: list[int], seeds: int = 1) -> Candidate:
    import faulty

    return Candidate("sampling", partial(faulty.Sampling, name="sampling", efforts=efforts))


def share_goal(share: float) -> Goal:
    """The share of the gallery that was looked at, read from which ids come back."""

    def quality(found: SearchResult, k: int) -> float:
        from run_measure import embeddings

        order = {int(i): at for at, i in enumerate(embeddings(200, 7, 2).ids)}
        return len({order[int(i)] for i in found.ids.ravel() if i >= 0}) / 200

    return Goal(quality, share, 200)


def test_only_the_chosen_effort_is_timed(tmp_path: Path, log: Log) -> None:
    results = planned(tmp_path / "r", [sampling([1, 25, 50, 75, 100])], goal=share_goal(0.2))
    floor, found = results
    assert [p.effort for p in floor.points] == [None] and not floor.choices
    choice = found.choices[4]
    assert choice.reached and choice.tried[choice.effort] >= 0.2
    cheaper = [effort for effort, quality in choice.tried.items() if quality < 0.2]
    assert choice.effort * 0.95 - 1 <= max(cheaper) < choice.effort
    assert [p.effort for p in found.points] == [choice.effort]
    timed = {line.split()[1] for line in log() if line.startswith("sample") and line.split()[2] == "1"}
    assert timed == {str(choice.effort)}

    before = len(log())
    again = planned(tmp_path / "r", [sampling([1, 25, 50, 75, 100])], goal=share_goal(0.2))[1]
    assert again.choices == found.choices and len(log()) == before, "a finished choice is not made again"


def test_every_build_takes_the_effort_of_the_first(tmp_path: Path, log: Log) -> None:
    from run_measure import SETTINGS

    settings = replace(SETTINGS, build_seeds=(0, 1))
    results = planned(tmp_path / "r", [sampling([1, 50])], goal=share_goal(0.2), settings=settings)[1:]
    assert [r.build["build_seed"] for r in results] == [0, 1]
    assert results[0].choices == results[1].choices
    assert [p.effort for p in results[0].points] == [p.effort for p in results[1].points]


def test_a_target_out_of_reach_is_measured_at_the_best_effort(tmp_path: Path, log: Log) -> None:
    (_, found) = planned(tmp_path / "r", [sampling([1, 2])], goal=share_goal(2.0))
    assert isinstance(found.choices[4], Choice) and not found.choices[4].reached
    assert [p.effort for p in found.points] == [found.choices[4].effort]


@pytest.mark.slow
def test_clients_ask_at_once(tmp_path: Path, log: Log) -> None:
    import faulty

    settings = Measure(passes=2, max_queries=20, batch_threads=1, clients=3, client_seconds=0.4)
    snail = Candidate("snail", partial(faulty.Snail, name="snail", efforts=[1]))
    (point,) = planned(tmp_path / "r", [snail], settings=settings)[1].points
    assert point.clients is not None and point.clients.count == 3 and len(point.rounds) == 2
    for served in point.rounds:
        assert set(served.client) == {0, 1, 2} and served.nanoseconds.min() >= 5_000_000
        together = served.nanoseconds.sum() / 1e9
        assert together > 1.5 * served.seconds, "the clients wait at the same time, not one after the other"
    before = len(log())
    (again,) = planned(tmp_path / "r", [snail], settings=settings)[1].points
    assert len(log()) == before
    np.testing.assert_array_equal(again.rounds[1].nanoseconds, point.rounds[1].nanoseconds)
    (without,) = planned(tmp_path / "r", [snail])[1].points
    assert without.rounds == [] and without.clients is None


def test_rounds_that_are_not_all_there_do_not_count(tmp_path: Path, log: Log) -> None:
    settings = Measure(passes=2, max_queries=20, batch_threads=1, clients=2, client_seconds=0.1)
    (whole,) = planned(tmp_path / "r", [sampling([50])], settings=settings)[1].points
    assert len(whole.rounds) == 2
    (kept,) = planned(tmp_path / "r", [sampling([50])], settings=replace(settings, clients=None))[1].points
    assert len(kept.rounds) == 2, "a call without clients shows what they measured"
    next((tmp_path / "r").glob("sampling-*/clients-*-p1.parquet")).unlink()
    (cut,) = planned(tmp_path / "r", [sampling([50])], settings=replace(settings, clients=None))[1].points
    assert cut.rounds == [] and cut.clients is None


def test_what_fails_on_a_server_is_closed_and_so_dropped(tmp_path: Path, log: Log) -> None:
    import faulty

    kinds = {"far": faulty.FailingServer, "near": faulty.FailingSearch}
    made = [Candidate(name, partial(kind, name=name, efforts=[1])) for name, kind in kinds.items()]
    results = planned(tmp_path / "r", made)
    assert [result.build["status"] for result in results] == ["ok", "failed", "failed"]
    assert "its own mistake" in results[1].build["error"]
    assert [line for line in log() if line.startswith("close")] == ["close far"], "files of others stay for later"


def test_pairs_are_asked_for_in_rows_of_the_gallery(tmp_path: Path, log: Log) -> None:
    from run_measure import embeddings

    queries = np.array([3, 11])
    rows = np.tile(np.arange(200), (2, 1))
    _, found = planned(tmp_path / "r", [sampling([10, 100])], pairs=(queries, rows))
    sides = embeddings(30, 100_000, 1), embeddings(200, 7, 2)
    products = (sides[0].vectors[queries] @ sides[1].vectors.T).ravel()
    assert list(found.collisions) == [10, 100]
    for effort, table in found.collisions.items():
        np.testing.assert_allclose(table["similarity"].to_numpy(), products, rtol=1e-5)
        assert set(table["predicted"].to_pylist()) == {effort / 100}
        assert table["candidate"].to_numpy(zero_copy_only=False).mean() == effort / 100
    before = len(log())
    assert planned(tmp_path / "r", [sampling([10, 100])], pairs=(queries, rows))[1].collisions.keys() == {10, 100}
    assert len(log()) == before


@pytest.mark.parametrize(("name", "value"), [("clients", 0), ("client_seconds", 0.0)])
def test_settings_that_cannot_be(name: str, value: float) -> None:
    with pytest.raises(BadConfig, match=f"measure.{name}={value}"):
        Measure(**{name: value})  # type: ignore[arg-type]
