"""One call of `measure`: which steps are missing, in which order they are done, and how far they are."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from retrieval_bench._job import Job
from retrieval_bench._results import IndexResult
from retrieval_bench._store import Clients, Point
from retrieval_bench.choose import Choice, Unknown, cheapest
from retrieval_bench.errors import MissingExtra, UnsupportedSimilarity, WorkerFailed
from retrieval_bench.machine import cores
from retrieval_bench.record import Progress
from retrieval_bench.turns import measuring

if TYPE_CHECKING:
    from retrieval_bench.measure import Plan

_log = logging.getLogger(__name__)


class Measurement:
    """The jobs of one plan: builds and searches one after another, single queries timed in interleaved passes."""

    def __init__(self, jobs: Sequence[Job], plan: Plan, progress: Progress) -> None:
        self._jobs, self._goal, self.settings, self._progress = jobs, plan.goal, plan.settings, progress
        self._depths = tuple(sorted(set(plan.depths)))
        self._qualities: dict[tuple[Job, Point], float] = {}
        self._choices: dict[tuple[str, int], Choice] = {}  # of an index at a depth: by its first build
        self._done, self._total = 0, 0

    def _say(self, job: Job, text: str) -> None:
        seed = f" (build seed {job.build['build_seed']})" if len(self.settings.build_seeds) > 1 else ""
        self._progress(f"{job.name}{seed}: {text}", self._done, max(1, self._total))

    def _listed(self, job: Job) -> list[Point]:
        """Efforts and depths to show. Where efforts are chosen and the choice is not made yet, nothing."""
        if self._goal is None or job.efforts == (None,):
            return [Point(effort, k) for k in self._depths for effort in job.efforts]
        chosen = ((k, self._choices.get((job.name, k))) for k in self._depths)
        return [Point(choice.effort, k) for k, choice in chosen if choice is not None]

    def _points(self, job: Job) -> list[Point]:
        """Everything that is measured of an index, the costliest effort first: it warms the memory for the others."""
        listed = self._listed(job)
        return list(dict.fromkeys(job.measured(p) for k in self._depths for p in reversed(listed) if p.k == k))

    def _choose(self, job: Job) -> None:
        """Choose an effort for every depth, of the first build of an index; others take what it chose.

        Raises:
            Unknown: an effort must be tried, and no worker runs.
        """
        if self._goal is None or job.efforts == (None,):
            return
        for k in self._depths:
            if (job.name, k) not in self._choices:
                quality = partial(self._quality, job, k)
                efforts = [effort for effort in job.efforts if effort is not None]
                choice = cheapest(quality, efforts, self._goal.needed, self._goal.highest)
                least = job.measured(Point(choice.effort, k)).effort or choice.effort  # HNSW: ef is never below k
                self._choices[job.name, k] = replace(choice, effort=least)

    def _quality(self, job: Job, k: int, effort: int) -> float:
        point = job.measured(Point(effort, k))
        if (job, point) not in self._qualities:
            if not job.has_lists(point):
                if not job.running:
                    raise Unknown
                job.search(point, self.settings.batch, partial(self._say, job))
            if self._goal is not None:
                self._qualities[job, point] = self._goal.quality(job.lists(point), k)
        return self._qualities[job, point]

    def _passes(self, job: Job) -> dict[Point, list[int]]:
        """The points that are not timed to the end, and their missing passes."""
        missing = {point: job.missing_passes(point, self.settings.passes) for point in self._points(job)}
        return {point: numbers for point, numbers in missing.items() if numbers}

    def _rounds(self, job: Job) -> dict[Point, list[int]]:
        """The points that clients have not asked to the end, and their missing rounds."""
        clients = self.settings.at_once
        if clients is None:
            return {}
        missing = {point: job.missing_rounds(point, clients, self.settings.passes) for point in self._points(job)}
        return {point: numbers for point, numbers in missing.items() if numbers}

    def _collisions(self, job: Job) -> list[Point]:
        efforts = {point.effort: point for point in self._points(job)}
        return [point for point in efforts.values() if job.lacks_collisions(point)]

    def _steps(self, job: Job) -> int:
        """What is left to do of an index; before an effort is chosen, as if one were to be measured at each depth."""
        try:
            self._choose(job)
        except Unknown:
            return len(self._depths) * (2 + self.settings.passes) + (not job.built)
        lists = sum(not job.has_lists(point) for point in self._points(job)) + len(self._collisions(job))
        rounds = sum(len(numbers) for numbers in self._rounds(job).values())
        return lists + (not job.built) + sum(1 + len(numbers) for numbers in self._passes(job).values()) + rounds

    def run(self) -> None:
        """Do what is missing."""
        for job in self._jobs:
            job.resume(self.settings.limits, self.settings.build_threads)
        todo = [job for job in self._jobs if not job.failed and self._steps(job)]
        if todo:
            with measuring(_log.warning):
                self._measure(todo)

    def _measure(self, todo: Sequence[Job]) -> None:
        self._total = sum(self._steps(job) for job in todo)
        try:
            self._load(todo)
            for job in todo:
                if not job.failed:
                    self._try(job, self._prepare)
            going = [job for job in todo if not job.failed]
            self._time(going)
            self._serve(going)
            for job in going:
                if not job.failed:
                    self._try(job, Job.finish)
        finally:
            for job in todo:
                job.end()
        self._progress("measured", self._total, self._total)

    def results(self) -> list[IndexResult]:
        """What is finished of every job."""
        found = []
        for job in self._jobs:
            choices = {k: c for (name, k), c in self._choices.items() if name == job.name}
            found.append(job.result(self._listed(job), self.settings.passes, self.settings.at_once, choices))
        return found

    def _try(self, job: Job, action: Callable[[Job], None]) -> None:
        """Do something with one index; if that fails, the index has failed and the others go on."""
        try:
            action(job)
        except (WorkerFailed, MissingExtra, UnsupportedSimilarity) as error:
            job.fail(error)
            self._say(job, f"failed: {error}")

    def _load(self, jobs: Sequence[Job]) -> None:
        """As many workers at once as there are cores, before anything is measured.

        Where nothing was compiled before, that takes ten seconds of each. Threads only wait: a worker ends with the
        thread that started it.
        """
        self._progress("loading search backends (code is compiled once a machine)", 0, max(1, self._total))
        waiting, loading = deque(jobs), dict[Future[None], Job]()
        pool = ThreadPoolExecutor(cores(), "load")
        try:
            while waiting or loading:
                while waiting and len(loading) < cores():
                    job = waiting.popleft()
                    self._try(job, partial(Job.spawn, limits=self.settings.limits))
                    if not job.failed:
                        loading[pool.submit(job.load)] = job
                for future in wait(loading, return_when=FIRST_COMPLETED).done:
                    self._try(loading.pop(future), partial(_taken, future))
        finally:
            pool.shutdown(wait=False)  # after an interruption threads wait until their workers are ended, which is next

    def _prepare(self, job: Job) -> None:
        """Build or load, choose efforts, then search everything."""
        fresh = not job.built
        self._say(job, "building" if fresh else "loading")
        job.start()
        self._done += fresh
        self._choose(job)
        for point in self._points(job):
            if not job.has_lists(point):
                job.search(point, self.settings.batch, partial(self._say, job))
                self._done += 1
        for point in self._collisions(job):
            self._say(job, f"comparing candidates with the theory{_knob(job, point)}")
            job.collide(point)
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
        where = f"{_knob(job, point)}, k {point.k}"
        if number == 0:
            self._say(job, f"warming up{where}")
            timed = job.warm_up(point, self.settings.max_queries, self.settings.max_seconds, self.settings.passes)
            self._done += 1
            self._say(job, f"timing {timed} queries a pass{where}")
            return
        self._say(job, f"pass {number} of {self.settings.passes}{where}")
        job.time_pass(point, number)
        self._done += 1

    def _serve(self, jobs: Sequence[Job]) -> None:
        """Round after round of concurrent clients, in each of them all points of all indexes in turn."""
        clients = self.settings.at_once
        if clients is None:
            return
        missing = {job: self._rounds(job) for job in jobs}
        for number in range(1, self.settings.passes + 1):
            for job in jobs:
                for point, numbers in missing[job].items():
                    if not job.failed and number in numbers:
                        self._try(job, partial(self._one_round, clients=clients, point=point, number=number))

    def _one_round(self, job: Job, clients: Clients, point: Point, number: int) -> None:
        self._say(job, f"{clients.count} clients at once, round {number}{_knob(job, point)}, k {point.k}")
        job.serve(point, clients, number)
        self._done += 1


def _taken(future: Future[None], _: Job) -> None:
    future.result()


def _knob(job: Job, point: Point) -> str:
    return f" at {job.build['knob']} {point.effort}" if point.effort is not None else ""
