"""One index through one measurement: built or loaded, searched, timed; what is finished is never done again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from retrieval_bench._messages import (
    Build,
    Built,
    Collide,
    Collided,
    Found,
    Load,
    Request,
    Search,
    Serve,
    Start,
    TimePass,
)
from retrieval_bench._recipe import Recipe
from retrieval_bench._results import IndexResult, Points
from retrieval_bench._scene import Scene, sample_of
from retrieval_bench._store import Clients, Point, Store
from retrieval_bench._workers import LimitExceeded, Limits, WorkerProcess
from retrieval_bench.choose import Choice
from retrieval_bench.errors import IndexGone, OutOfSpace, UnsupportedSimilarity, WorkerFailed
from retrieval_bench.search.base import Family
from retrieval_bench.secrecy import hidden, without_places
from retrieval_bench.types import SearchResult

BLOCK_QUERIES = 4096
EMPTY = {"build_s": None, "index_bytes": None, "peak_rss_bytes": None, "functional": None}


class Job:
    """One index with one build seed.

    Attributes:
        build: what `build.json` holds.
    """

    def __init__(self, name: str, recipe: Recipe, build_seed: int, scene: Scene, store: Store) -> None:
        self.name, self._recipe, self._seed = name, recipe, build_seed
        self._scene, self._store = scene, store
        self._worker: WorkerProcess | None = None
        self._samples: dict[Point, Any] = {}
        self.build: dict[str, Any] = self._facts() | EMPTY | {"status": "new", "error": None}

    def _facts(self) -> dict[str, Any]:
        target = self._recipe.target
        return {
            "index": self.name,
            "target": f"{target.__module__}.{target.__qualname__}",
            "params": self._recipe.params,
            "library": target.library,
            "library_version": self._recipe.version,
            "family": str(target.family),
            "knob": target.knob,
            "effort_at_least_k": target.effort_at_least_k,
            "exact": target.exact,
            "approximate_scores": target.approximate_scores,
            "build_seed": self._seed,
            "similarity": str(self._scene.similarity),
            "protocol": self._scene.protocol,
        }

    @property
    def efforts(self) -> tuple[int | None, ...]:
        """The listed efforts, rising; one none where there is no knob."""
        return self._recipe.efforts

    def measured(self, point: Point) -> Point:
        """What is measured for a listed effort: where it cannot be less than the asked depth, that depth."""
        if point.effort is None or not self._recipe.target.effort_at_least_k:
            return point
        return Point(max(point.effort, self._depth(point.k)), point.k)

    def _depth(self, k: int) -> int:
        """How long a list is asked for: ignored ids may stand in it, but it never has more rows than the gallery."""
        return min(k + self._scene.extra, len(self._scene.gallery))

    def resume(self, limits: Limits, build_threads: int) -> None:
        """Take over what an earlier call finished under the same protocol; forget everything else."""
        old = self._store.build()
        allowed = {"timeout_s": limits.timeout_s, "memory_limit_gb": limits.memory_gb}
        if old is not None and (old["protocol"], old["threads"]) != (self._scene.protocol, build_threads):
            self._store.clear()
            old = None
        # A crash or a missing library is tried again; what was too slow or too large stays so under the same limits.
        given_up = old is not None and old["status"] == "failed" and old["limit_exceeded"] and old["limits"] == allowed
        self.build |= {key: None if old is None else old.get(key) for key in EMPTY}
        self.build |= {"threads": build_threads, "limits": allowed, "limit_exceeded": given_up}
        self.build |= {"status": "failed" if given_up else "ok", "error": old["error"] if old and given_up else None}

    @property
    def failed(self) -> bool:
        """This index is given up."""
        return bool(self.build["status"] == "failed")

    @property
    def built(self) -> bool:
        """The finished index lies on the disk."""
        return self.build["build_s"] is not None and self._store.index.exists()

    def fail(self, error: Exception) -> None:
        """Give this index up and say why; what it finished stays.

        A server's collection is dropped, as nobody else would, and measured anew when it is tried again. One whose
        worker had to be killed keeps its collection, named as its library names them.
        """
        ended = isinstance(error, LimitExceeded)  # with its worker
        if not ended and self._recipe.target.family is Family.SERVER:
            with contextlib.suppress(WorkerFailed, OutOfSpace, IndexGone):
                self.finish()
        self.end()
        self.build |= {
            "status": "failed",
            "error": self._told(error),
            "limit_exceeded": isinstance(error, LimitExceeded),
        }
        self._store.write_build(self.build)

    def _told(self, error: Exception) -> str:
        """As a record keeps it: without the paths of this machine, and without secrets."""
        folder = self._store.folder
        run = next((place.parent for place in folder.parents if place.name == "results"), folder)
        return hidden(without_places(str(error), run))

    def spawn(self, limits: Limits) -> None:
        """Start the worker, and wait for nothing; it ends with this thread. May raise UnsupportedSimilarity."""
        target = self._recipe.target
        if self._scene.similarity not in target.similarities:
            allowed = " or ".join(f"similarity={s}" for s in sorted(target.similarities))
            raise UnsupportedSimilarity(
                f"{self.name}: {target.__name__} cannot search by {self._scene.similarity}; type {allowed},"
                " or leave it out"
            )
        self._worker = WorkerProcess(self.name, limits)

    def load(self) -> None:
        """Have the worker construct the index: it imports the library, and compiles what was not compiled before.

        Raises:
            WorkerFailed, OutOfSpace.
        """
        scene = self._scene
        dtype = scene.gallery.vectors.dtype.str
        self._ask(Start(self._recipe.factory, scene.query_file, scene.similarity, scene.moment_parts, dtype))

    def start(self) -> None:
        """Have it build, or read what was built.

        Raises:
            WorkerFailed, OutOfSpace.
        """
        if self.built and self._loaded():
            return
        part = self._store.fresh_index()
        scene, threads = self._scene, int(self.build["threads"])
        request = Build(scene.gallery_file, scene.order, self._seed, threads, str(part), scene.gallery.blocks)
        built: Built = self._ask(request)
        self._store.write_ids(self._scene.index_ids)
        self._store.adopt_index(part)
        self.build |= {
            "build_s": built.seconds,
            "index_bytes": built.index_bytes,
            "peak_rss_bytes": built.peak_rss_bytes,
            "functional": built.functional,
        }
        self._store.write_build(self.build)

    def _loaded(self) -> bool:
        """Load what was built. A database that no longer has it leaves nothing to trust: all is measured anew."""
        try:
            self._ask(Load(str(self._store.index)))
        except IndexGone:
            self._store.clear()
            self.build |= EMPTY
            return False
        return True

    def _ask(self, request: Request) -> Any:
        if self._worker is None:
            raise WorkerFailed(f"{self.name}: its worker is not running")
        return self._worker.ask(request)

    def has_lists(self, point: Point) -> bool:
        """The lists of this point are on the disk."""
        return self._store.has_found(point)

    def search(self, point: Point, threads: int, told: Callable[[str], None]) -> None:
        """Search all queries in batches, check the answers, keep them and the time that the batches took."""
        depth, count = self._depth(point.k), len(self._scene.queries)
        parts: list[Found] = []
        for start in range(0, count, BLOCK_QUERIES):
            stop = min(count, start + BLOCK_QUERIES)
            told(f"searching, query {start + 1} of {count}")
            found: Found = self._ask(Search(start, stop, depth, point.effort, threads))
            if found.rows.shape != (stop - start, depth) or found.scores.shape != found.rows.shape:
                raise WorkerFailed(
                    f"{self.name}: rows and scores must be {(stop - start, depth)}, not {found.rows.shape} and"
                    f" {found.scores.shape}"
                )
            parts.append(found)
        rows, scores = np.concatenate([p.rows for p in parts]), np.concatenate([p.scores for p in parts])
        counted = [p.candidates for p in parts if p.candidates is not None]
        candidates = np.concatenate(counted) if len(counted) == len(parts) else None
        try:
            result = self._scene.result(rows, scores, candidates)
            if not self._recipe.target.approximate_scores:
                self._scene.check_scores(rows, scores)
        except ValueError as error:
            raise WorkerFailed(f"{self.name} at {point}: {error}") from error
        if (before := self.build["peak_rss_bytes"]) is not None:
            self.build["peak_rss_bytes"] = max(before, *(p.peak_rss_bytes for p in parts))
            self._store.write_build(self.build)
        batch = {"seconds": sum(p.seconds for p in parts), "threads": threads, "n_queries": count}
        self._store.write_found(point, self._scene.queries.ids, result, batch)

    def missing_passes(self, point: Point, wanted: int) -> list[int]:
        """Numbers of the passes that are still to be timed."""
        done = self._store.passes(point, wanted)
        return [i for i in range(1, wanted + 1) if i not in done]

    def warm_up(self, point: Point, at_most: int, seconds: float, passes: int) -> int:
        """One pass that is thrown away; it decides how many queries this point times (or an earlier call did)."""
        asked = self._scene.asked
        times = self._ask(TimePass(asked[:at_most], self._depth(point.k), point.effort, seconds / passes))
        done = self._store.passes(point, passes)
        if done:
            ids, _ = self._store.times(point, done[:1])
            self._samples[point] = np.flatnonzero(np.isin(self._scene.timed_ids, ids))
        else:
            self._samples[point] = np.sort(sample_of(asked, times, seconds, at_most, passes))
        return len(self._samples[point])

    def time_pass(self, point: Point, number: int) -> None:
        """Time the sample once, in an order that only the run's seed and the number of the pass decide."""
        rows = np.random.default_rng([self._scene.seed % 2**63, number]).permutation(self._samples[point])
        ns = self._ask(TimePass(rows, self._depth(point.k), point.effort, float("inf")))
        self._store.write_times(point, number, self._scene.timed_ids[rows], ns)

    def result(
        self, listed: Sequence[Point], passes: int, clients: Clients | None, choices: Mapping[int, Choice]
    ) -> IndexResult:
        """What is finished, a point for every listed one; points of which something is missing are left out."""
        pairs = [(point.effort, self.measured(point)) for point in listed]
        whole = [(e, p) for e, p in pairs if self.has_lists(p) and not self.missing_passes(p, passes)]
        collisions = {e: self._store.collided(p) for e, p in pairs if self._store.has_collided(p)}
        points = Points(self._store, whole, passes, self.build["build_s"] or 0.0, clients)
        return IndexResult(self.build, points, choices, {e: t for e, t in collisions.items() if len(t)})

    def missing_rounds(self, point: Point, clients: Clients, wanted: int) -> list[int]:
        """Numbers of the rounds of these clients that are still to be done."""
        done = self._store.rounds(point, clients, wanted)
        return [i for i in range(1, wanted + 1) if i not in done]

    def serve(self, point: Point, clients: Clients, number: int) -> None:
        """One round of clients that ask at once, all in the order of the timed sample."""
        request = Serve(self._scene.asked, self._depth(point.k), point.effort, clients.count, clients.seconds)
        self._store.write_round(point, clients, number, self._ask(request))

    @property
    def running(self) -> bool:
        """A worker answers."""
        return self._worker is not None

    def lists(self, point: Point) -> SearchResult:
        """The lists of a point that has them."""
        return self._store.found(point)[0]

    def lacks_collisions(self, point: Point) -> bool:
        """Pairs of this effort are still to be asked for."""
        return self._scene.pairs is not None and self._recipe.has_theory and not self._store.has_collided(point)

    def collide(self, point: Point) -> None:
        """Ask which of the scene's pairs are candidates, and what the theory says of them."""
        queries, rows = self._scene.index_pairs
        asked: Collided | None = self._ask(Collide(queries, rows, point.effort))
        found = Collided(np.empty(0), np.empty(0), np.empty(0, bool)) if asked is None else asked
        names = ("similarity", "predicted", "candidate")
        self._store.write_collided(point, {name: getattr(found, name).ravel() for name in names})

    def finish(self) -> None:
        """Everything is measured: close the index, keep the verdict."""
        if self._worker is not None:
            self._worker.finish()
            self._worker = None
        self._store.write_build(self.build)

    def end(self) -> None:
        """End the worker at once, if there is one."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None
