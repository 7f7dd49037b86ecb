"""Measures indexes: builds one after another, searches for quality, and times single queries in interleaved passes."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._job import Job
from retrieval_bench._measurement import Measurement
from retrieval_bench._moments import MomentSearch
from retrieval_bench._recipe import Recipe
from retrieval_bench._results import IndexResult, PointResult
from retrieval_bench._scene import Pairs, Scene
from retrieval_bench._store import Clients, Store
from retrieval_bench._workers import Limits
from retrieval_bench.choose import Goal
from retrieval_bench.errors import BadConfig
from retrieval_bench.machine import cores
from retrieval_bench.record import Progress
from retrieval_bench.search.base import Index
from retrieval_bench.types import Embeddings, SearchResult, Similarity
from retrieval_bench.worker import prepared

__all__ = [
    "Candidate",
    "IndexResult",
    "Measure",
    "OpenIndex",
    "Plan",
    "PointResult",
    "forget",
    "measure",
    "open_index",
    "result_folder",
]

FLOOR = "null"
FLOOR_TARGET = "retrieval_bench.search.null:Null"  # named like a `_target_`: this module knows no backend


@dataclass(frozen=True)
class Measure:
    """How time and memory are measured (see `conf/measure/default.yaml`).

    Args:
        passes: timed passes over the sampled queries; one more is discarded first.
        max_queries: timed single queries at most, a sample seeded by their ids. Quality takes all queries.
        max_seconds: seconds of timed queries a point; a slow point times fewer queries, but 20 at least.
        build_seeds: each index is built once with each.
        build_threads: threads of a build. batch_threads: of the batch search; none = all processors.
        clients: threads that ask at once, each its next single query when it has its answer, for `client_seconds` a
            point in as many rounds as there are passes; none = this is not measured.
        timeout_s: seconds that a worker may take for one request. memory_limit_gb: its memory; none = no limit.
    """

    passes: int = 5
    max_queries: int = 1000
    max_seconds: float = 20.0
    build_seeds: Sequence[int] = (0,)
    build_threads: int = 1
    batch_threads: int | None = None
    clients: int | None = None
    client_seconds: float = 2.0
    timeout_s: float = 3600.0
    memory_limit_gb: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "build_seeds", tuple(self.build_seeds))
        for name, least in (
            ("passes", 1),
            ("max_queries", 1),
            ("build_threads", 1),
            ("batch_threads", 1),
            ("clients", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadConfig(f"measure.{name}={value}: at least {least} is needed")
        for name in ("max_seconds", "client_seconds", "timeout_s", "memory_limit_gb"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadConfig(f"measure.{name}={value}: more than 0 is needed")
        seeds = self.build_seeds
        if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise BadConfig(
                f"measure.build_seeds={list(seeds)}: different whole numbers from 0 are needed, e.g. [0,1,2]"
            )

    @property
    def limits(self) -> Limits:
        """What a worker may take."""
        return Limits(self.timeout_s, self.memory_limit_gb, max(self.build_threads, self.batch, self.clients or 1))

    @property
    def at_once(self) -> Clients | None:
        """Concurrent clients of a round; there are as many rounds as passes."""
        return None if self.clients is None else Clients(self.clients, self.client_seconds / self.passes)

    @property
    def batch(self) -> int:
        """Threads of the batch search."""
        if self.batch_threads is not None:
            return self.batch_threads
        return cores()


@dataclass(frozen=True)
class Candidate:
    """An index to measure: a partial of its class. Its name stands in the table."""

    name: str
    factory: partial[Any]


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        depths: values of k. extra: ignored ids that may stand in a list, asked for on top of every k.
        seed: of the gallery's order, the timed sample and the order of its passes.
        goal: what efforts are chosen by, in place of the listed ones; none = all listed ones are measured.
        pairs: query rows [q] and gallery rows [q, m] of which LSH backends say whether they collide.
        moments: what queries and gallery are windows of: then whole moment queries are timed.
    """

    similarity: Similarity
    depths: Sequence[int]
    extra: int
    seed: int
    settings: Measure
    goal: Goal | None = None
    pairs: Pairs | None = None
    moments: MomentSearch | None = None


def _store(folder: Path, name: str, recipe: Recipe, build_seed: int) -> Store:
    return Store(folder / f"{name}-{recipe.key}-s{build_seed}")


def _recipe(candidate: Candidate) -> Recipe:
    try:
        return Recipe.of(candidate.factory)
    except TypeError as error:
        raise BadConfig(f"search.{candidate.name}: {error}") from error


def result_folder(folder: Path, candidate: Candidate, build_seed: int) -> Path:
    """Where `measure` keeps one index: below `folder`, by name, code, build parameters (not efforts), build seed."""
    return _store(folder, candidate.name, _recipe(candidate), build_seed).folder


def forget(folder: Path, candidates: Sequence[Candidate], build_seeds: Sequence[int]) -> None:
    """Delete what `measure` keeps of these indexes below `folder`; others stay, and so does the floor unless named.

    Raises:
        BadConfig: a candidate is no index class, or its parameters do not fit.
    """
    for candidate in candidates:
        recipe = _recipe(candidate)
        for seed in build_seeds:
            _store(folder, candidate.name, recipe, seed).clear()


@dataclass(frozen=True)
class OpenIndex:
    """A finished index in this process, answering with gallery ids."""

    index: Index
    ids: NDArray[np.int64]
    similarity: Similarity

    def search(self, queries: NDArray[np.generic], k: int, effort: int | None) -> SearchResult:
        """Nearest gallery ids of queries [q, dim], k deep; normalised here under cosine."""
        rows, scores = self.index.search(prepared(queries, self.similarity), k, effort)
        return SearchResult(np.where(rows < 0, -1, self.ids[rows]), np.array(scores))


def open_index(folder: Path, candidate: Candidate, build_seed: int = 0) -> OpenIndex:
    """Load an index that `measure` finished below `folder`, be it with an older version of its code.

    Raises:
        BadConfig: there is none. CorruptInput: a file of it is damaged.
    """
    recipe = _recipe(candidate)
    store = _store(folder, candidate.name, recipe, build_seed)
    for other in sorted(folder.glob(f"{candidate.name}-*-s{build_seed}")):
        if store.build() is None and (Store(other).build() or {}).get("params") == recipe.params:
            store = Store(other)
    build = store.build()
    if build is None or build["build_s"] is None or not store.index.exists():
        reason = "it was never built; run again" if build is None or build["error"] is None else build["error"]
        raise BadConfig(f"no finished index {candidate.name} with build seed {build_seed} in {folder}: {reason}")
    index: Index = candidate.factory()
    store.load_into(index)
    return OpenIndex(index, store.ids(), Similarity(build["similarity"]))


def measure(  # noqa: PLR0917
    candidates: Sequence[Candidate],
    queries: Embeddings,
    gallery: Embeddings,
    plan: Plan,
    folder: Path,
    progress: Progress,
) -> list[IndexResult]:
    """Measure every candidate, and the floor as index `null`, each in a worker process of its own.

    What an earlier call finished in `folder` is kept: builds, lists and passes. Where nothing is missing, no worker
    starts. `progress` is told what is being done, steps done, and steps in all.

    Returns:
        One result for each index and build seed, the floor first. A failed index has `build["status"] == "failed"`,
        `build["error"]` and the points that it finished.

    Raises:
        BadConfig: a candidate is no index class, or its parameters do not fit. OutOfSpace: the disk is full; what is
        finished is kept.
    """
    scene = Scene(queries, gallery, plan.similarity, plan.extra, plan.seed, folder, plan.pairs, plan.moments)
    jobs = []
    floor = Candidate(FLOOR, partial(pkgutil.resolve_name(FLOOR_TARGET)))
    for candidate in (floor, *(c for c in candidates if c.name != FLOOR)):
        recipe = _recipe(candidate)
        for seed in plan.settings.build_seeds[: 1 if recipe.target.floor else None]:
            jobs.append(Job(candidate.name, recipe, seed, scene, _store(folder, candidate.name, recipe, seed)))
    run = Measurement(jobs, plan, progress)
    try:
        run.run()
    finally:
        scene.remove_written()
    return run.results()
