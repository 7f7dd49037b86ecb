"""What is said before long work, by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from retrieval_bench import foresight
from retrieval_bench.estimate import Forecast
from retrieval_bench.foresight import Foresight, Sizes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [100.0]
    monkeypatch.setattr(foresight, "perf_counter", lambda: now[0])

    def to(seconds: float) -> None:
        now[0] = 100.0 + seconds

    return to


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def watch(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> Foresight:
    """Of a run whose measuring takes 150 s."""
    monkeypatch.setattr(foresight, "forecast", lambda *_: Forecast(150.0, False, (), 3, 9, 5))
    monkeypatch.setattr(foresight, "everything", lambda *_: iter(()))
    monkeypatch.setattr(foresight, "earlier_rows", lambda *_: [])
    settings = SimpleNamespace(passes=5, max_queries=10, max_seconds=1.0, clients=None)
    experiment: Any = SimpleNamespace(
        config={"trainer": {"epochs": 8}}, measure=settings, folder=SimpleNamespace(parent=None)
    )
    return Foresight(experiment, lines.append)


def test_training_is_told_once_from_the_speed_of_its_first_seconds(
    watch: Foresight, lines: list[str], clock: Callable[[float], None]
) -> None:
    watch.training("read training images", 50, 100)
    clock(10)
    watch.training("train · epoch 1 of 8", 1, 1000)  # whatever was done before it takes no part
    for second in range(1, 10):
        clock(10 + second)
        watch.training("train · epoch 1 of 8", 1 + second, 1000)
        assert bool(lines) == (second >= 5)
    assert lines == ["training: 8 epochs, 1,000 batches, about 17 min"], "a batch a second, 994 are left"


def test_a_training_that_goes_on_tells_what_is_left(
    watch: Foresight, lines: list[str], clock: Callable[[float], None]
) -> None:
    watch.training("train · epoch 6 of 8", 701, 1000)
    clock(8)
    watch.training("train · epoch 6 of 8", 705, 1000)
    assert lines == ["training: 8 epochs, 295 of 1,000 batches left, about 9 min 50 s"]


def test_a_short_training_says_nothing(watch: Foresight, lines: list[str], clock: Callable[[float], None]) -> None:
    for done, second in ((1, 0), (2, 4), (3, 7)):
        clock(second)
        watch.training("train · epoch 8 of 8", done, 3)
    assert lines == []


@pytest.mark.parametrize("later", [True, False])
def test_what_is_told_of_encoding_leaves_a_later_training_out_and_says_so(
    watch: Foresight, lines: list[str], clock: Callable[[float], None], later: bool
) -> None:
    size = Sizes(gallery=1000, queries=1000, dim=8, later=0, stages=2, training=later)
    watch.encoding(100, 1000, lambda: size)
    clock(2)
    watch.encoding(300, 1000, lambda: size)
    beside = " and the training, told when it has begun" if later else ""
    assert lines == [
        f"about 2 min 40 s{beside}: encode 700 items a few seconds, build and measure 3 indexes (9 points × 5 passes)"
        " 2 min 30 s"
    ]


def test_both_are_told(watch: Foresight, lines: list[str], clock: Callable[[float], None]) -> None:
    for task in (watch.training, lambda _, done, total: watch.encoding(done, total, lambda: Sizes(9, 9, 8, 0, 1))):
        for done in (1, 2, 3):
            clock(60 * done)
            task("train", done, 100)
    assert [line.partition(":")[0] for line in lines] == ["training", "about 1 h 40 min"]
