"""What `measure` gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._messages import Served
from retrieval_bench._store import Clients, Point, Store
from retrieval_bench.choose import Choice
from retrieval_bench.types import SearchResult, Timing


@dataclass(frozen=True, eq=False)
class PointResult:
    """One operating point.

    Attributes:
        effort: as listed. Where it cannot be less than the asked depth, smaller ones share one measurement.
        result: lists of all queries, k + extra deep, at most the gallery's size.
        timed_ids: [m] ids of the timed queries, the columns of `timing`.
        batch_seconds: of searching all queries in batches with `batch_threads` threads.
        clients: who asked at once in `rounds`, each of them a closed loop; where nobody did to the end: none and empty.
    """

    effort: int | None
    k: int
    result: SearchResult
    timing: Timing | None
    timed_ids: NDArray[np.int64]
    batch_seconds: float | None
    batch_threads: int | None
    clients: Clients | None = None
    rounds: Sequence[Served] = ()


@dataclass(frozen=True)
class Points(Sequence[PointResult]):
    """Finished points, read from their files one at a time: lists of all points together can be large.

    Attributes:
        finished: listed effort, and the point that was measured for it.
    """

    store: Store
    finished: Sequence[tuple[int | None, Point]]
    passes: int
    build_s: float
    clients: Clients | None = None

    def __len__(self) -> int:
        return len(self.finished)

    @overload
    def __getitem__(self, at: int) -> PointResult: ...
    @overload
    def __getitem__(self, at: slice) -> Points: ...
    def __getitem__(self, at: int | slice) -> PointResult | Points:
        if isinstance(at, slice):
            return replace(self, finished=self.finished[at])
        effort, point = self.finished[at]
        result, batch = self.store.found(point)
        ids, ns = self.store.times(point, range(1, self.passes + 1))
        clients = self.clients or self.store.whole_rounds(point, self.passes)  # of an earlier command, as its rows
        numbers = [] if clients is None else self.store.rounds(point, clients, self.passes)
        whole = clients is not None and len(numbers) == self.passes
        rounds = self.store.read_rounds(point, clients, numbers) if whole and clients is not None else []
        return PointResult(
            effort,
            point.k,
            result,
            Timing(self.build_s, ns),
            ids,
            batch["seconds"],
            batch["threads"],
            clients if whole else None,
            rounds,
        )


@dataclass(frozen=True)
class IndexResult:
    """One index with one build seed.

    Attributes:
        build: what `build.json` holds. points: rising in k and effort.
        choices: k → the effort chosen for it, where efforts were chosen.
        collisions: arrow tables of pairs, one an effort, of backends with a theory of their candidates.
    """

    build: dict[str, Any]
    points: Sequence[PointResult]
    choices: Mapping[int, Choice] = field(default_factory=dict)
    collisions: Mapping[int | None, Any] = field(default_factory=dict)
