"""What a search is for, and what it chooses from: objectives, limits, parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, isnan
from typing import Any

from retrieval_bench.binding import nearest
from retrieval_bench.errors import BadConfig

# Columns of which less is better; of all other numbers more is.
LESS = (
    *("latency_", "build_s", "index_bytes", "peak_rss_bytes", "encode_ms"),
    *("candidate_fraction", "ann_loss_", "empty_rate"),
)
COSTS = ("latency_", "candidate_fraction")  # do not fall with effort
BUILT = ("build_s", "index_bytes", "peak_rss_bytes", "encode_ms")  # nor depend on it


@dataclass(frozen=True)
class Choice:
    """A parameter with listed values, as they are typed; `ordered` where they rise.

    effort: the knob of an index: with it, neither costs nor quality fall.
    """

    values: tuple[str, ...]
    ordered: bool = False
    effort: bool = False


@dataclass(frozen=True)
class Interval:
    """A parameter between two numbers, both included; whole numbers; drawn by its logarithm."""

    low: float
    high: float
    whole: bool = False
    log: bool = False


Space = Mapping[str, Choice | Interval]


def effort_key(space: Space) -> str | None:
    """The parameter of a space that is the knob of an index, if there is one."""
    return next((key for key, each in space.items() if isinstance(each, Choice) and each.effort), None)


def measured(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The operating points of indexes; the floor alone tells nothing of the settings."""
    return [row for row in rows if row.get("status", "ok") == "ok" and row.get("index") != "null"]


def surpasses(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is better in some value and worse in none; smaller is better."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


# Values of the points that keep the limits; the least violation; the least first value, whatever the limits.
Worth = tuple[list[tuple[float, ...]], float, float]


@dataclass(frozen=True)
class Objective:
    """What is wanted of an operating point, by columns of `points.parquet`.

    Attributes:
        columns: one or two, each as small as can be, or as large where more is better.
        at_most, at_least: limits that come first.
    """

    columns: tuple[str, ...]
    at_most: Mapping[str, float] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= len(self.columns) <= 2 or len(set(self.columns)) < len(self.columns):
            raise BadConfig(
                f"objective={list(self.columns)}: one or two different columns are needed, for instance"
                " hydra.sweeper.objective=[latency_p50_ms]"
            )

    @property
    def settles_effort(self) -> bool:
        """Only costs are wanted, only quality is limited: of an index, the cheapest effort within the limits is it."""
        limited = [*self.at_most, *self.at_least]
        return all(name.startswith((*COSTS, *BUILT)) for name in self.columns) and not any(
            name.startswith((*COSTS, *BUILT)) for name in limited
        )

    def same(self, one: Worth, other: Worth) -> bool:
        """Whether two efforts of an index are one measurement, as that of HNSW is below k: clocks do not repeat.

        What is no time may well repeat, such as the candidates of two efforts that both reach all of them.
        """
        return one == other and any(name.startswith("latency_") for name in self.columns)

    def worth(self, rows: Sequence[Mapping[str, Any]]) -> Worth:
        """Of a trial's operating points, as `Worth`; smaller is better, and a violation of 0 means that some keep all.

        Raises:
            BadConfig: a column is not there.
        """
        points = measured(rows)
        for name in (*self.columns, *self.at_most, *self.at_least):
            if points and not any(name in row for row in points):
                known = sorted({key for row in points for key in row})
                raise BadConfig(f"objective: no operating point has a column {name!r}; {nearest(name, known)}")
        kept, least, cost = [], inf, inf
        for row in points:
            values = tuple(self._value(row, name) for name in self.columns)
            beyond = self._beyond(row)
            least, cost = min(least, beyond), min(cost, values[0])
            if beyond == 0 and all(map(isfinite, values)):
                kept.append(values)
        return kept, least, cost

    def _value(self, row: Mapping[str, Any], name: str) -> float:
        value = row.get(name)
        if value is None:
            return inf
        return float(value) if name.startswith(LESS) else -float(value)

    def _beyond(self, row: Mapping[str, Any]) -> float:
        found = 0.0
        for limits, sign in ((self.at_most, 1.0), (self.at_least, -1.0)):
            for name, limit in limits.items():
                value = row.get(name)
                found += inf if value is None or isnan(value) else max(0.0, sign * (float(value) - limit))
        return found
