"""Bisection finds the cheapest effort that meets a target, and tries nothing that it dominates."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_bench.choose import Choice, Target, cheapest
from retrieval_bench.errors import BadConfig

LISTED = [1, 2, 4, 8, 16, 32]


@given(
    threshold=st.integers(1, 2000),
    efforts=st.lists(st.integers(1, 64), min_size=1, max_size=6, unique=True).map(sorted),
)
def test_the_cheapest_effort_within_resolution(threshold: int, efforts: list[int]) -> None:
    """A backend that is good enough from `threshold` on: what is chosen is, and 5 % less would not be."""
    choice = cheapest(lambda effort: effort / threshold, efforts, 1.0, 10_000)
    assert choice.reached and choice.effort >= threshold
    assert choice.effort <= max(threshold + 1, threshold / 0.95 + 1)
    failing = max((e for e, quality in choice.tried.items() if quality < 1.0), default=0)
    assert failing < threshold


def test_equal_to_trying_everything_on_small_knobs() -> None:
    for threshold, step in itertools.product(range(1, 33), (1, 3)):
        every = next(e for e in range(1, 100) if e // step * step >= threshold)
        assert cheapest(lambda e, s=step: e // s * s, LISTED, threshold, 99).effort in {every, every + 1}


def test_dominated_efforts_are_not_tried() -> None:
    asked: list[int] = []
    choice = cheapest(lambda effort: asked.append(effort) or effort, LISTED, 4, 1000)  # type: ignore[func-returns-value]
    assert choice == Choice(4, True, {8: 8, 2: 2, 4: 4, 3: 3})
    assert asked == [8, 2, 4, 3], "no effort twice, neither the costliest nor the cheapest"


def test_a_target_out_of_reach_gives_the_best_that_was_tried() -> None:
    choice = cheapest(lambda effort: min(effort, 20) / 100, LISTED, 0.9, 10_000)
    assert (choice.effort, choice.reached) == (32, False)
    assert sorted(choice.tried) == [8, 32, 64, 128], "two doublings without gain, then no more"
    assert cheapest(lambda effort: effort / 9, [1], 1.0, 5).tried == {1: 1 / 9, 2: 2 / 9, 4: 4 / 9, 5: 5 / 9}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ann_recall": 0.0}, r"target.ann_recall=0.0: a share above 0"),
        ({"ann_recall": 1.5}, r"target.ann_recall=1.5"),
        ({"metric": "map_at_r"}, r"both are needed, for instance target.metric=map_at_r target.loss=0.01"),
        ({"loss": 0.01}, r"both are needed"),
        ({"metric": "map_at_r", "loss": 1.0}, r"target.loss=1.0"),
        ({"ann_recall": 0.9, "metric": "map_at_r", "loss": 0.1}, r"not both"),
    ],
)
def test_a_target_that_cannot_be(given: dict, says: str) -> None:
    with pytest.raises(BadConfig, match=says):
        Target(**given)


def test_no_target_is_false() -> None:
    assert not Target() and Target(ann_recall=0.9) and Target(metric="map_at_r", loss=0.0)
