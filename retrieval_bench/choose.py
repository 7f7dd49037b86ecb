"""Chooses efforts: for each index the cheapest one that meets a target, found on one half of the queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retrieval_bench.errors import BadConfig
from retrieval_bench.types import SearchResult

PLATEAU = 2  # doublings beyond the listed efforts without gain, after which more is not tried
GAIN = 1e-4
RESOLUTION = 0.05  # neighbouring efforts closer than this are alike


@dataclass(frozen=True)
class Target:
    """What an index has to reach (see `conf/target/default.yaml`): nothing, an ann_recall, or an ANN loss at most.

    Args:
        ann_recall: mean ann_recall@k at least, in (0, 1].
        metric: a label metric as its column is named: map_at_r, hit_rate@1, …
        loss: ANN loss of that metric at most: metric through exact search minus metric through the index, absolute.
        break_even: also measure smaller galleries, to tell from which size each index beats exact search.
    """

    ann_recall: float | None = None
    metric: str | None = None
    loss: float | None = None
    break_even: bool = False

    def __post_init__(self) -> None:
        if self.ann_recall is not None and (self.metric is not None or self.loss is not None):
            raise BadConfig("either target.ann_recall=0.95 or target.metric=map_at_r target.loss=0.01, not both")
        if (self.metric is None) != (self.loss is None):
            raise BadConfig(
                f"target.metric={self.metric}, target.loss={self.loss}: both are needed, for instance"
                " target.metric=map_at_r target.loss=0.01"
            )
        if self.ann_recall is not None and not 0 < self.ann_recall <= 1:
            raise BadConfig(f"target.ann_recall={self.ann_recall}: a share above 0 and up to 1 is needed, e.g. 0.95")
        if self.loss is not None and not 0 <= self.loss < 1:
            raise BadConfig(f"target.loss={self.loss}: a loss from 0 and below 1 is needed, e.g. 0.01")
        if self.break_even and self.ann_recall is None:
            raise BadConfig("target.break_even=true needs target.ann_recall=0.95, for instance: speed at which recall?")

    def __bool__(self) -> bool:
        return self.ann_recall is not None or self.metric is not None

    def __str__(self) -> str:
        """In words.

        >>> str(Target(ann_recall=0.95)), str(Target(metric="map_at_r", loss=0.01)), str(Target())
        ('ann_recall ≥ 0.95', 'ANN loss of map_at_r ≤ 0.01', '')
        """
        if self.ann_recall is not None:
            return f"ann_recall ≥ {self.ann_recall:g}"
        return f"ANN loss of {self.metric} ≤ {self.loss:g}" if self.metric is not None else ""


@dataclass(frozen=True)
class Goal:
    """A target made answerable for one stage.

    Attributes:
        quality: (lists of all queries, k) → a number on the tuning half of the queries that rises with effort.
        needed: the least such number.
        highest: no effort beyond this is tried: the gallery's size.
    """

    quality: Callable[[SearchResult, int], float]
    needed: float
    highest: int


@dataclass(frozen=True)
class Choice:
    """An effort, and what is known of it.

    Attributes:
        reached: the target is met on the tuning half; otherwise this is the best effort that was tried.
        tried: effort → quality on the tuning half.
    """

    effort: int
    reached: bool
    tried: dict[int, float]


class Unknown(Exception):
    """The quality of an effort is not known and cannot be found out now."""


def cheapest(quality: Callable[[int], float], efforts: Sequence[int], needed: float, highest: int) -> Choice:
    """The smallest effort of at least the needed quality, by bisection: quality must not fall as effort rises.

    First among `efforts` (rising), then, if none of them is enough, by doubling up to `highest`, at last between the
    best that fails and the cheapest that meets, until they are within 5 % or adjacent. What is dominated (dearer than
    an effort that meets the target, or cheaper than one that fails) is never tried.

    >>> choice = cheapest(lambda effort: effort / (effort + 10), [1, 4, 16, 64, 256], 0.75, 1000)
    >>> choice.effort, choice.reached, list(choice.tried)
    (30, True, [16, 256, 64, 40, 28, 34, 31, 29, 30])
    """
    tried: dict[int, float] = {}

    def meets(effort: int) -> bool:
        if effort not in tried:
            tried[effort] = quality(effort)
        return tried[effort] >= needed

    low, high = 0, len(efforts)  # efforts[:low] fail, efforts[high:] meet
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if meets(efforts[middle]) else (middle + 1, high)
    failing = efforts[low - 1] if low else 0
    meeting = efforts[low] if low < len(efforts) else _doubled(meets, tried, efforts[-1], highest)
    if meeting is None:
        best = max(tried, key=lambda effort: (tried[effort], -effort))
        return Choice(best, False, tried)
    while meeting - failing > max(1, RESOLUTION * meeting):
        middle = (failing + meeting) // 2
        failing, meeting = (failing, middle) if meets(middle) else (middle, meeting)
    return Choice(meeting, True, tried)


def _doubled(meets: Callable[[int], bool], tried: dict[int, float], effort: int, highest: int) -> int | None:
    """The first of effort·2, effort·4, … that meets; none if they end, or gain nothing more, before."""
    idle = 0
    while effort < highest and idle < PLATEAU:
        before, effort = tried[effort], min(2 * effort, highest)
        if meets(effort):
            return effort
        idle = idle + 1 if tried[effort] < before + GAIN else 0
    return None
