"""Forecasts are sums of what rows tell; what no row tells is a bound or unknown, never a guess."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from retrieval_bench.cli import experiment
from retrieval_bench.estimate import Forecast, Scan, Timing, Work, earlier_rows, forecast, scan_speed, sentence
from retrieval_bench.pipeline import run_experiment

TIMING = Timing(passes=5, queries=1000, seconds=20.0)
SCAN = Scan(1e-6, 1e-7)
POINTS = [(16, 10), (32, 10)]
HNSW = Work("hnsw", '{"m": 16}', False, 1000, 500, 64, 1, POINTS, POINTS)


def row(effort: int, **changes: object) -> dict[str, object]:
    return {
        "index": "hnsw", "index_params": '{"m": 16}', "effort": effort, "k": 10, "n_gallery": 1000, "dim": 64,
        "build_s": 3.0, "latency_mean_ms": 2.0, "qps_batch": 250.0,
    } | changes  # fmt: skip


def test_known_rows_are_added_up() -> None:
    found = forecast([HNSW], TIMING, [row(16), row(32, latency_mean_ms=4.0)], SCAN)
    assert found.seconds == pytest.approx(3.0 + 2 * 500 / 250 + 6 * 500 * (0.002 + 0.004))
    assert found == Forecast(found.seconds, False, (), 1, 2, 5)


def test_a_build_grows_with_the_gallery_and_other_rows_tell_nothing() -> None:
    built = replace(HNSW, n_gallery=2000, lists=[], passes=[])
    assert forecast([built], TIMING, [row(16)], SCAN).seconds == 6.0
    for other in (row(16, index_params="{}"), row(16, n_gallery=100), row(16, index="ivf")):
        assert forecast([built], TIMING, [other], SCAN).unknown == ("hnsw",)


def test_what_is_not_known_is_bounded_and_named() -> None:
    found = forecast([HNSW], TIMING, [], SCAN)
    assert found == Forecast(2 * 24.0, True, ("hnsw",), 1, 2, 5)
    slow = forecast([replace(HNSW, builds=0, lists=[])], TIMING, [row(16, latency_mean_ms=1e4), row(32)], SCAN)
    assert slow.seconds == pytest.approx(24.0 + 6 * 500 * 0.002) and not slow.bounded


def test_exact_search_is_a_scan() -> None:
    exact = replace(HNSW, index="exact", exact=True, lists=[(None, 10)], passes=[(None, 10)])
    found = forecast([exact], TIMING, [], SCAN)
    assert found.seconds == pytest.approx(500 * 1000 * 1e-7 + 6 * 500 * 1000 * 1e-6) and not found.unknown
    speed = scan_speed(64)
    assert speed.batch > 0 and speed.single > 0


def test_one_line() -> None:
    known = Forecast(150.0, False, (), 3, 9, 5)
    assert sentence((16752, 80.0), known) == (
        "about 3 min 50 s: encode 16,752 items 1 min 20 s, build and measure 3 indexes (9 points × 5 passes) 2 min 30 s"
    )
    assert sentence(None, Forecast(48.0, True, ("hnsw",), 1, 1, 5)) == (
        "at most 50 s and the builds of hnsw, which no run here has timed yet: time 1 index (1 point × 5 passes)"
        " at most 50 s"
    )


def test_reads_runs_of_this_processor_only(tmp_path: Path) -> None:
    for name, cpu in (("a", "mine"), ("b", "other")):
        (tmp_path / "adhoc" / name).mkdir(parents=True)
        rows = [{"status": "ok", "half": "all", "index": name}, {"status": "ok", "half": "tune"}, {"status": "failed"}]
        text = json.dumps({"environment": {"cpu": cpu}, "rows": rows})
        (tmp_path / "adhoc" / name / "record.json").write_text(text)
    (tmp_path / "adhoc" / "c").mkdir()
    (tmp_path / "adhoc" / "c" / "record.json").write_text("{")
    assert [found["index"] for found in earlier_rows(tmp_path, "mine", 60.0)] == ["a"]
    assert earlier_rows(tmp_path / "none", "mine") == []


@pytest.mark.slow
def test_a_run_says_it_once_and_an_up_to_date_one_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    small = ["data=digits", "data.n_test=60", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none"]
    small += ["embed.engine=torch", "measure.max_queries=10", "measure.passes=2", "logger=[]", "search=[exact]"]

    def said(*more: str) -> list[str]:
        lines: list[str] = []
        run_experiment(experiment([*small, *more]), say=lines.append)
        return lines

    [first] = said()
    assert first.startswith("about ") and "build and measure 1 index (1 point × 2 passes)" in first
    assert "encode" not in first, "it is told as the only batch ends: nothing is left to encode"
    assert said() == []
    monkeypatch.setattr("retrieval_bench.foresight._ENOUGH_S", 0.0)
    [early] = said("data.n_test=50", "embed.batch_size=16")
    assert "encode 34 items" in early, "told after the first batch"
    [second] = said("k=[5]")
    assert "encode" not in second and "build and measure 1 index" in second
    [with_sizes] = said("target.ann_recall=0.9", "target.break_even=true", "data.n_test=800")
    assert "(3 points × 2 passes)" in with_sizes, "800 vectors, and a gallery of 800 and one of 400"
    [nothing_to_judge, _] = said("metric=[]")
    assert nothing_to_judge.endswith("type metric=[hit_rate,map_at_r]")


def test_times_of_moment_queries_tell_nothing_about_single_ones() -> None:
    moments = replace(HNSW, moments=20)
    assert (HNSW.timed, moments.timed) == (500, 20)
    ordinary, whole = ([row(effort, **more) for effort in (16, 32)] for more in ({}, {"n_moments": 72}))
    assert (
        forecast([HNSW], TIMING, whole, SCAN).unknown
        == ("hnsw",)
        == forecast([moments], TIMING, ordinary, SCAN).unknown
    )
    assert forecast([HNSW], TIMING, ordinary, SCAN).unknown == () == forecast([moments], TIMING, whole, SCAN).unknown
    exact = replace(moments, index="exact", exact=True, lists=[], passes=[(None, 10)])
    one = 500 / 20 * 1000 * SCAN.single  # 25 windows a query
    assert forecast([exact], TIMING, [], SCAN).seconds == pytest.approx(6 * 20 * one)
