"""Says once, before long work, how long a run will take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter

from retrieval_bench._recipe import build_params
from retrieval_bench._store import Clients, Point, Store
from retrieval_bench.break_even import sizes
from retrieval_bench.data.base import MomentDataset
from retrieval_bench.environment import processor
from retrieval_bench.estimate import Timing, Work, earlier_rows, forecast, scan_speed, sentence, training_sentence
from retrieval_bench.experiment import Experiment
from retrieval_bench.measure import Candidate, result_folder
from retrieval_bench.points import Stage, most_ignored
from retrieval_bench.search.base import facts

_ENOUGH_S = 1.0  # of encoding, to tell its speed
_BATCHES_S = 5.0  # of training: its first batches are slower than the others
TRAINING = "train"  # begins the task of training's batches; images that are read before are another
Say = Callable[[str], None]
_Indexed = tuple[Candidate, int, str, list[tuple[int | None, int]]]  # and a build seed, its parameters, its points


def quiet(text: str) -> None:
    """For nobody."""


@dataclass(frozen=True)
class Sizes:
    """What a stage that is being encoded will search.

    Attributes:
        gallery, queries: items. later: items of parts that come after this one. stages: of the run.
        training: an encoder is trained after this stage.
    """

    gallery: int
    queries: int
    dim: int
    later: int
    stages: int
    training: bool = False


class Foresight:
    """Watches a run start, and says what it expects as soon as it can tell; nothing if nothing is to do.

    It says so once of training, where there is one, and once of everything else.
    """

    def __init__(self, experiment: Experiment, say: Say) -> None:
        self._experiment, self._say = experiment, say
        self._said = self._told_gone = False
        self._begun: tuple[int, float] | None = None  # items done, seconds
        self._said_training = False
        self._trained: tuple[int, float] | None = None  # batches done, seconds

    def encoding(self, done: int, total: int, told: Callable[[], Sizes]) -> None:
        """Told after every batch of a part; the speed of the first ones is that of all."""
        if done >= total and self._begun is None:
            return  # it came from the cache
        now = perf_counter()
        if self._begun is None:
            self._begun = done, now
        first, start = self._begun
        if self._said or done == first or (now - start < _ENOUGH_S and done < total):
            return
        size = told()
        each = (now - start) / (done - first)
        left = total - done + size.later
        if not left:
            return  # `measuring` tells the rest
        works = [work for _ in range(size.stages) for work in everything(self._experiment, size)]
        self._tell((left, left * each), works, size.dim, size.training)

    def training(self, task: str, done: int, total: int) -> None:
        """Told of everything that training does; the speed of the first seconds' batches is that of all.

        Args:
            task: only that of training's batches counts (see TRAINING). done, total: batches of all epochs.
        """
        if self._said_training or not task.startswith(TRAINING):
            return
        now = perf_counter()
        if self._trained is None:
            self._trained = done, now  # the first batch is no measure: it makes what the others use again
            return
        first, start = self._trained
        if done > first and now - start >= _BATCHES_S and done < total:
            self._said_training = True
            left = total - done
            epochs = int(self._experiment.config["trainer"]["epochs"])
            self._say(training_sentence(epochs, left, total, left * (now - start) / (done - first)))

    def gone(self, run: Path) -> None:
        """Told when a part of another run's embeddings has to be made again; says so once."""
        if not self._told_gone:
            self._told_gone = True
            self._say(f"the embeddings of {run} are no longer in {self._experiment.cache}: making them again")

    def measuring(self, stages: Sequence[Stage], results: Path) -> None:
        """Told before indexes are built or measured."""
        if not self._said:
            works = [work for stage in stages for work in _missing(self._experiment, stage, results / stage.name)]
            if works:
                self._tell(None, works, stages[0].gallery.dim)

    def _tell(self, encode: tuple[int, float] | None, works: Sequence[Work], dim: int, training: bool = False) -> None:
        settings = self._experiment.measure
        rows = earlier_rows(self._experiment.folder.parent, processor())
        served = 0.0 if settings.clients is None else settings.client_seconds
        timing = Timing(settings.passes, settings.max_queries, settings.max_seconds, served)
        self._said = True
        self._say(sentence(encode, forecast(works, timing, rows, scan_speed(dim)), training))


def _indexes(experiment: Experiment) -> Iterator[_Indexed]:
    """Each index with each build seed, its parameters, and its points (effort, k); the floor takes no time."""
    for name, factory in experiment.search.items():
        efforts = experiment.efforts(name)
        if experiment.target:  # one of them will be chosen; the dearest is the bound
            efforts = efforts[-1:]
        points = [(effort, k) for k in experiment.k for effort in efforts]
        for seed in experiment.measure.build_seeds if name != "null" else ():
            yield Candidate(name, factory), seed, json.dumps(build_params(factory), sort_keys=True), points


def _moments(experiment: Experiment) -> int:
    """Moment queries, where these are what is timed."""
    return len(experiment.data.moments()) if isinstance(experiment.data, MomentDataset) else 0


def _exact(candidate: Candidate) -> bool:
    return bool(getattr(candidate.factory.func, "exact", False))  # a target that is no index is told by `measure`


def _smaller(experiment: Experiment, gallery: int) -> list[int]:
    """Sizes of the galleries that tell from where an index pays; none where that is not asked for."""
    return [size for size in sizes(gallery) if size >= min(experiment.k)] if experiment.target.break_even else []


def everything(experiment: Experiment, size: Sizes) -> Iterator[Work]:
    """All that one stage of this size takes, as if nothing of it were finished."""
    for candidate, _, params, points in _indexes(experiment):
        asked = points if experiment.measure.clients is not None else []
        shape = size.gallery, size.queries, size.dim
        work = Work(candidate.name, params, _exact(candidate), *shape, 1, points, points, asked)
        yield replace(work, moments=_moments(experiment))
    for gallery in _smaller(experiment, size.gallery):
        for candidate, params, points in _once(experiment):
            yield Work(candidate.name, params, _exact(candidate), gallery, size.queries, size.dim, 1, points, points)


def _once(experiment: Experiment) -> Iterator[tuple[Candidate, str, list[tuple[int | None, int]]]]:
    """What is measured of a smaller gallery: each index with its first build seed, at the smallest depth."""
    k = min(experiment.k)
    for candidate, seed, params, points in _indexes(experiment):
        if seed == experiment.measure.build_seeds[0]:
            yield candidate, params, [point for point in points if point[1] == k]


def _missing(experiment: Experiment, stage: Stage, place: Path) -> Iterator[Work]:
    """What does not lie below `place` yet."""
    clients = experiment.measure.at_once
    yield from _missing_of(experiment, stage, place, (len(stage.gallery), clients), list(_indexes(experiment)))
    first = experiment.measure.build_seeds[0]
    once = [(candidate, first, params, points) for candidate, params, points in _once(experiment)]
    for gallery in _smaller(experiment, len(stage.gallery)):
        yield from _missing_of(experiment, stage, place / "sizes" / f"n{gallery}", (gallery, None), once)


def _missing_of(
    experiment: Experiment,
    stage: Stage,
    place: Path,
    what: tuple[int, Clients | None],
    indexes: Sequence[_Indexed],
) -> Iterator[Work]:
    extra = most_ignored(stage.truth)
    gallery, clients = what
    shape = gallery, len(stage.queries), stage.gallery.dim
    for candidate, seed, params, points in indexes:
        store = Store(result_folder(place, candidate, seed))
        target = facts(candidate.factory)

        def measured(point: tuple[int | None, int], deep: bool = target.effort_at_least_k) -> Point:
            effort, k = point
            return Point(max(effort, min(k + extra, shape[0])) if deep and effort is not None else effort, k)

        passes = experiment.measure.passes
        lists = [point for point in points if not store.has_found(measured(point))]
        timed = [point for point in points if len(store.passes(measured(point), passes)) < passes]
        whole = partial(store.rounds, clients=clients, wanted=passes) if clients is not None else None
        asked = [] if whole is None else [point for point in points if len(whole(measured(point))) < passes]
        builds = int(not store.index.exists())
        if builds or lists or timed or asked:
            work = Work(candidate.name, params, _exact(candidate), *shape, builds, lists, timed, asked)
            yield replace(work, moments=_moments(experiment))
