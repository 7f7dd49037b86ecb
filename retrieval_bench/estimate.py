"""How long work will take, from what earlier runs and this machine have shown: pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

# A run tells about this one only if n · dim is at most by this factor larger here.
_ALIKE = 4.0
_READ_S = 0.1  # how long reading earlier records may take
_BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Work:
    """What is missing of one index in one stage.

    Attributes:
        params: build parameters as in `index_params`. exact: it compares every vector.
        builds: how often it is built.
        lists: (effort, k) of each batch search over all queries. passes: (effort, k) of each point that is timed.
        rounds: (effort, k) of each point that concurrent clients ask.
        moments: moment queries, whose windows the queries are and which are timed in their place; 0 = single queries.
    """

    index: str
    params: str
    exact: bool
    n_gallery: int
    n_queries: int
    dim: int
    builds: int
    lists: Sequence[tuple[int | None, int]]
    passes: Sequence[tuple[int | None, int]]
    rounds: Sequence[tuple[int | None, int]] = ()
    moments: int = 0

    @property
    def timed(self) -> int:
        """Queries that can be timed."""
        return self.moments or self.n_queries


@dataclass(frozen=True)
class Timing:
    """Rules of timing a point: `passes` and a discarded one, over at most `queries`, for at most `seconds`.

    Attributes:
        clients: seconds that concurrent clients take a point.
    """

    passes: int
    queries: int
    seconds: float
    clients: float = 0.0

    @property
    def bound(self) -> float:
        """Seconds that timing one point takes at most; the discarded pass has the time of one more."""
        return self.seconds * (1 + 1 / self.passes)


@dataclass(frozen=True)
class Scan:
    """Seconds that comparing one query with one vector takes: alone, and within a batch."""

    single: float
    batch: float


@dataclass(frozen=True)
class Forecast:
    """Seconds of a measurement.

    Attributes:
        bounded: some of it is an upper bound. unknown: indexes whose builds and batches are not in it.
    """

    seconds: float
    bounded: bool
    unknown: tuple[str, ...]
    indexes: int
    points: int
    passes: int


def earlier_rows(runs: Path, cpu: str, within_s: float = _READ_S) -> list[dict[str, Any]]:
    """Rows of the runs below `runs` on the same processor, the newest run first, as far as the time allows."""
    start, rows = perf_counter(), []
    files = sorted(runs.glob("*/*/record.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        if perf_counter() - start > within_s:
            break
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            if record["environment"]["cpu"] == cpu:
                rows += [row for row in record["rows"] if row["status"] == "ok" and row["half"] == "all"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return rows


def scan_speed(dim: int) -> Scan:
    """Measured here and now, in a few milliseconds."""
    rows = max(64, _BLOCK_BYTES // (4 * dim))
    block, queries = np.ones((rows, dim), np.float32), np.ones((dim, 64), np.float32)

    def seconds(factor: np.ndarray[Any, np.dtype[np.float32]]) -> float:
        times = []
        for _ in range(3):
            begin = perf_counter()
            block @ factor
            times.append(perf_counter() - begin)
        return min(times) / rows

    return Scan(seconds(queries[:, 0].copy()), seconds(queries) / queries.shape[1])


def _alike(work: Work, row: Mapping[str, Any]) -> float | None:
    """How much larger this work's gallery is than the row's, or none if the row tells nothing about it."""
    if (row["index"], row["index_params"]) != (work.index, work.params):
        return None
    if bool(row.get("n_moments")) != bool(work.moments):  # times of another thing
        return None
    ratio = work.n_gallery * work.dim / (row["n_gallery"] * row["dim"])
    return ratio if ratio <= _ALIKE else None  # of a much larger gallery it is a bound


def _nearest(work: Work, rows: Iterable[Mapping[str, Any]]) -> list[tuple[float, Mapping[str, Any]]]:
    """Rows about the same index, those of the most alike size first."""
    known = [(ratio, row) for row in rows if (ratio := _alike(work, row)) is not None]
    return sorted(known, key=lambda pair: abs(np.log(pair[0])))


def forecast(works: Sequence[Work], timing: Timing, rows: Sequence[Mapping[str, Any]], scan: Scan) -> Forecast:
    """Seconds that a measurement takes: as earlier rows of the same index took; an exact one by the speed of a scan.

    The timing of an index that no row knows counts with its bound; its builds and batch searches are unknown.
    """
    seconds, bounded, unknown = 0.0, False, []
    for work in works:
        known = _nearest(work, rows)
        sampled = min(timing.queries, work.timed)
        if work.builds and not work.exact:
            built = next((row["build_s"] * ratio for ratio, row in known if row["build_s"] is not None), None)
            if built is None:
                unknown.append(work.index)
            else:
                seconds += work.builds * built
        for points, timed in ((work.lists, False), (work.passes, True)):
            for effort, k in points:
                single, batch = _speed(work, effort, k, known, scan)
                if timed:
                    bounded |= single is None
                    took = timing.bound if single is None else (timing.passes + 1) * sampled * single
                    seconds += min(timing.bound, took)
                elif batch is not None:
                    seconds += work.n_queries * batch
                elif work.index not in unknown:
                    unknown.append(work.index)
        seconds += len(work.rounds) * timing.clients
    count = sum(len({*work.lists, *work.passes, *work.rounds}) for work in works)
    names = {work.index for work in works}
    return Forecast(seconds, bounded, tuple(dict.fromkeys(unknown)), len(names), count, timing.passes)


def _speed(
    work: Work, effort: int | None, k: int, known: Sequence[tuple[float, Mapping[str, Any]]], scan: Scan
) -> tuple[float | None, float | None]:
    """Seconds a query alone and in a batch, or none where they are not known."""
    same = [(ratio, row) for ratio, row in known if row["effort"] == effort]
    if same:
        ratio, row = min(same, key=lambda pair: abs(pair[1]["k"] - k))
        factor = ratio if work.exact else 1.0
        alone, many = row.get("latency_mean_ms"), row.get("qps_batch")
        return alone and factor * alone / 1e3, many and factor / many
    windows = work.n_queries / work.timed  # of a moment query; voting takes more, which no scan tells
    return (windows * work.n_gallery * scan.single, work.n_gallery * scan.batch) if work.exact else (None, None)


def duration(seconds: float) -> str:
    """In words that promise no more than is known.

    >>> [duration(s) for s in (3, 42, 81, 1000, 8000)]
    ['a few seconds', '40 s', '1 min 20 s', '17 min', '2 h 15 min']
    """
    if seconds < 10:
        return "a few seconds"
    if seconds < 57.5:
        return f"{round(seconds / 5) * 5} s"
    if seconds < 595:
        minutes, rest = divmod(round(seconds / 10) * 10, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(round(seconds / 300) * 5, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def training_sentence(epochs: int, left: int, total: int, seconds: float) -> str:
    """One line about a training that has begun.

    Args:
        left, total: batches that are to come, and those of all epochs. seconds: all batches that are to come.

    >>> training_sentence(8, 992, 1000, 840.0), training_sentence(1, 300, 1000, 42.0)
    ('training: 8 epochs, 1,000 batches, about 14 min', 'training: 1 epoch, 300 of 1,000 batches left, about 40 s')
    """
    batches = f"{total:,} batches" if left > 0.9 * total else f"{left:,} of {total:,} batches left"
    return f"training: {epochs} {'epoch' if epochs == 1 else 'epochs'}, {batches}, about {duration(seconds)}"


def sentence(encode: tuple[int, float] | None, measuring: Forecast, training: bool = False) -> str:
    """One line before long work.

    Args:
        encode: items that are still to be encoded, and their seconds.
        training: an encoder is trained in between; how long that takes is told when it has begun.
    """
    parts = [] if encode is None else [f"encode {encode[0]:,} items {duration(encode[1])}"]
    many = "index" if measuring.indexes == 1 else "indexes"
    points = "point" if measuring.points == 1 else "points"
    verb, most = ("time" if measuring.unknown else "build and measure"), ("at most " if measuring.bounded else "")
    parts.append(
        f"{verb} {measuring.indexes} {many} ({measuring.points} {points} × {measuring.passes} passes)"
        f" {most}{duration(measuring.seconds)}"
    )
    total = duration(measuring.seconds + (0.0 if encode is None else encode[1]))
    head = f"{'at most' if measuring.bounded else 'about'} {total}"
    if measuring.unknown:
        head += f" and the builds of {', '.join(measuring.unknown)}, which no run here has timed yet"
    if training:
        head += " and the training, told when it has begun"
    return f"{head}: {', '.join(parts)}"
