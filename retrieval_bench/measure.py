"""Measures indexes: builds one after another, searches for quality, and times single queries in interleaved passes."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._job import Job, Recipe
from retrieval_bench._results import IndexResult, PointResult
from retrieval_bench._scene import Scene
from retrieval_bench._store import Point, Store
from retrieval_bench._workers import Limits
from retrieval_bench.errors import BadConfig, MissingExtra, UnsupportedSimilarity, WorkerFailed
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
        timeout_s: seconds that a worker may take for one request. memory_limit_gb: its memory; none = no limit.
    """

    passes: int = 5
    max_queries: int = 1000
    max_seconds: float = 20.0
    build_seeds: Sequence[int] = (0,)
    build_threads: int = 1
    batch_threads: int | None = None
    timeout_s: float = 3600.0
    memory_limit_gb: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "build_seeds", tuple(self.build_seeds))
        for name, least in (("passes", 1), ("max_queries", 1), ("build_threads", 1), ("batch_threads", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadConfig(f"measure.{name}={value}: at least {least} is needed")
        for name in ("max_seconds", "timeout_s", "memory_limit_gb"):
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
        return Limits(self.timeout_s, self.memory_limit_gb, max(self.build_threads, self.batch))

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
    """

    similarity: Similarity
    depths: Sequence[int]
    extra: int
    seed: int
    settings: Measure


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


class _Measurement:
    """One call of `measure`: the jobs, and how far they are."""

    def __init__(self, candidates: Sequence[Candidate], scene: Scene, plan: Plan, progress: Progress) -> None:
        self.settings, self._scene, self._progress = plan.settings, scene, progress
        self.jobs: list[Job] = []
        floor = Candidate(FLOOR, partial(pkgutil.resolve_name(FLOOR_TARGET)))
        for candidate in (floor, *(c for c in candidates if c.name != FLOOR)):
            recipe = _recipe(candidate)
            for seed in self.settings.build_seeds[: 1 if recipe.target.floor else None]:
                store = _store(scene.folder, candidate.name, recipe, seed)
                self.jobs.append(Job(candidate.name, recipe, seed, scene, store))
        self._depths = tuple(sorted(set(plan.depths)))
        self._done, self._total = 0, 0

    def _say(self, job: Job, text: str) -> None:
        seed = f" (build seed {job.build['build_seed']})" if len(self.settings.build_seeds) > 1 else ""
        self._progress(f"{job.name}{seed}: {text}", self._done, max(1, self._total))

    def points(self, job: Job) -> list[Point]:
        return job.points(self._depths)

    def _passes(self, job: Job) -> dict[Point, list[int]]:
        """The points that are not timed to the end, and their missing passes."""
        missing = {point: job.missing_passes(point, self.settings.passes) for point in self.points(job)}
        return {point: numbers for point, numbers in missing.items() if numbers}

    def _steps(self, job: Job) -> int:
        lists = sum(not job.has_lists(point) for point in self.points(job))
        return lists + (not job.built) + sum(1 + len(numbers) for numbers in self._passes(job).values())

    def run(self) -> None:
        """Do what is missing."""
        for job in self.jobs:
            job.resume(self.settings.limits, self.settings.build_threads)
        todo = [job for job in self.jobs if not job.failed and self._steps(job)]
        self._total = sum(self._steps(job) for job in todo)
        try:
            for job in todo:
                self._try(job, self._prepare)
            self._time([job for job in todo if not job.failed])
            for job in todo:
                if not job.failed:
                    self._try(job, Job.finish)
        finally:
            for job in todo:
                job.end()
            self._scene.remove_written()
        if todo:
            self._progress("measured", self._total, self._total)

    def _try(self, job: Job, action: Callable[[Job], None]) -> None:
        """Do something with one index; if that fails, the index has failed and the others go on."""
        try:
            action(job)
        except (WorkerFailed, MissingExtra, UnsupportedSimilarity) as error:
            job.fail(error)
            self._say(job, f"failed: {error}")

    def _prepare(self, job: Job) -> None:
        """Build or load, then search everything."""
        fresh = not job.built
        self._say(job, "building" if fresh else "loading")
        job.start(self.settings.limits)
        self._done += fresh
        for point in self.points(job):
            if not job.has_lists(point):
                job.search(point, self.settings.batch, partial(self._say, job))
                self._done += 1

    def _time(self, jobs: Sequence[Job]) -> None:
        """A discarded pass, then pass after pass, in each of them all points of all indexes in turn."""
        missing = {job: self._passes(job) for job in jobs}
        for number in range(self.settings.passes + 1):
            for job in jobs:
                for point, numbers in missing[job].items():
                    if not job.failed and (number == 0 or number in numbers):
                        self._try(job, partial(self._one_pass, point=point, number=number))

    def _one_pass(self, job: Job, point: Point, number: int) -> None:
        knob = f" at {job.build['knob']} {point.effort}" if point.effort is not None else ""
        if number == 0:
            self._say(job, f"warming up{knob}, k {point.k}")
            timed = job.warm_up(point, self.settings.max_queries, self.settings.max_seconds, self.settings.passes)
            self._done += 1
            self._say(job, f"timing {timed} queries a pass{knob}, k {point.k}")
            return
        self._say(job, f"pass {number} of {self.settings.passes}{knob}, k {point.k}")
        job.time_pass(point, number)
        self._done += 1


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
    scene = Scene(queries, gallery, plan.similarity, plan.extra, plan.seed, folder)
    run = _Measurement(candidates, scene, plan, progress)
    run.run()
    return [job.result(sorted(set(plan.depths)), plan.settings.passes) for job in run.jobs]
