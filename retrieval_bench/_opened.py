"""A stage of a finished run, opened to be asked: one of its indexes, its transforms, what encodes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._recipe import rebuilt
from retrieval_bench.binding import nearest
from retrieval_bench.data.base import Dataset, Items
from retrieval_bench.embed import embed, fit_all, kept_vectors, query_engine
from retrieval_bench.errors import BadConfig
from retrieval_bench.experiment import Experiment
from retrieval_bench.measure import Candidate, OpenIndex, open_index
from retrieval_bench.record import TRAINED, RunRecord
from retrieval_bench.search.base import facts
from retrieval_bench.types import Embeddings, SearchResult

if TYPE_CHECKING:
    from retrieval_bench.encoder.base import Encoder, Engine
    from retrieval_bench.transform.base import Transform

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """One measured operating point that can be asked: an index as it was built, and an effort."""

    candidate: Candidate
    build_seed: int
    effort: int | None

    def at(self, depth: int) -> str:
        """The index, its knob and the effort that a list of this depth is searched with, for a title."""
        target = facts(self.candidate.factory)
        if self.effort is None:
            return self.candidate.name
        effort = max(self.effort, depth) if target.effort_at_least_k else self.effort
        return f"{self.candidate.name}, {target.knob} {effort}"


def chosen(record: RunRecord, experiment: Experiment, stage: str, index: str | None, effort: int | None) -> Choice:
    """The index to ask: what the user named, else exact, else the first that worked; at its highest effort.

    Raises:
        BadConfig: the run has no such index or none that worked, or the index no such effort.
    """
    worked = [row for row in record.rows if row["status"] == "ok" and row["index"] != "null" and row["stage"] == stage]
    names = [str(name) for name in dict.fromkeys(row["index"] for row in worked) if name in experiment.search]
    if not names:
        raise BadConfig(f"none of the indexes of stage {stage} worked; see its errors in record.json")
    name = index or ("exact" if "exact" in names else names[0])
    if name not in names:
        raise BadConfig(f"the run has no index {name!r}; {nearest(name, names)}")
    target = facts(experiment.search[name])
    if effort is not None and (target.knob is None or effort < 1):
        knob = "no knob" if target.knob is None else f"the knob {target.knob}, a whole number from 1"
        raise BadConfig(f"--effort {effort}: {name} has {knob}")
    row = max((row for row in worked if row["index"] == name), key=lambda row: row["effort"] or 0)
    effort = effort or row["effort"]
    factory = rebuilt(experiment.search[name], json.loads(row["index_params"]), [] if effort is None else [effort])
    return Choice(Candidate(name, factory), int(row["build_seed"]), effort)


class Opened:
    """What is asked. Each part is opened when it is first needed.

    Attributes:
        data: of the run. stage: its name. facts: what the record tells of it. n: size of the index's gallery, whatever
            has become of the data since.
    """

    def __init__(self, record: RunRecord, experiment: Experiment, stage: str, choice: Choice) -> None:
        if not isinstance(experiment.data, Dataset):
            raise BadConfig("no items to show")
        self.data, self.stage, self.experiment, self.choice = experiment.data, stage, experiment, choice
        self.facts = record.stages[stage]
        self.n = int(self.facts["n_gallery"])
        self._record = record

    @cached_property
    def items(self) -> Items:
        """The gallery."""
        return self.data.gallery()

    @cached_property
    def rows(self) -> dict[int, int]:
        """Id of a gallery item → its row."""
        return {int(item): row for row, item in enumerate(self.items.ids)}

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder of the stage, a trained one from the run's own files; imports torch."""
        encoder, head = self.experiment.encoders[self.stage](), self.experiment.head
        if head is None or (self.stage != "trained" and not encoder.head_weights):
            return encoder
        from retrieval_bench._headed import headed, restored

        trained = self.stage == "trained"
        return restored(encoder, head(), self._record.folder / TRAINED) if trained else headed(encoder, head(), 0)

    def engine(self) -> Engine:
        """Of images. Where the cache keeps its graph, there is no need for the encoder."""
        return self._engine(lambda: self.encoder, self.facts["engine"], self.facts["preprocessing"])

    def engines(self) -> dict[str, Engine]:
        """Of the frames of clips, by input."""
        engines, how = self.facts["engine"], self.facts["preprocessing"]
        return {name: self._engine(partial(self._frame, name), engines[name], how[name]) for name in how}

    def _frame(self, name: str) -> Encoder:
        return self.encoder.frames()[name]

    def _engine(self, make: Callable[[], Encoder], facts: dict[str, Any], how: dict[str, Any]) -> Engine:
        return query_engine(make, facts, how, self.experiment.cache)

    @cached_property
    def _transforms(self) -> list[Transform]:
        """Fitted on the training vectors of the run; these are encoded again where its cache is gone."""
        transforms = list(self.experiment.transforms.values())
        if transforms:
            kept = kept_vectors(self.data.train(), self.facts["engine"], self.experiment.cache)
            fit_all(
                transforms, self._embedded(self.data.train()).vectors if kept is None else kept, self.experiment.seed
            )
        return transforms

    def _embedded(self, items: Items) -> Embeddings:
        def told(done: int, total: int) -> None:
            if not done and total:
                _log.warning("%d items are encoded again, for the cache does not keep their vectors any more", total)

        experiment = self.experiment
        found = embed(items, self.encoder, self.data.image_size, experiment.embed, experiment.cache, told)
        return found.embeddings

    def gallery(self) -> Embeddings:
        """The gallery's embeddings as the index has them."""
        found = self._embedded(self.items)
        return Embeddings(found.ids, self._transformed(found.vectors), fingerprint=found.fingerprint)

    def _transformed(self, vectors: NDArray[np.generic]) -> NDArray[np.generic]:
        for transform in self._transforms:
            vectors = np.asarray(transform.apply(np.asarray(vectors, np.float32)))
        return vectors

    @cached_property
    def index(self) -> OpenIndex:
        """Raises BadConfig, CorruptInput."""
        return open_index(self._record.folder / "results" / self.stage, self.choice.candidate, self.choice.build_seed)

    def like_gallery(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors as the encoder gives them → as those of the index: [q, dim]."""
        return np.ascontiguousarray(self._transformed(vectors), np.float32)

    def search(self, vectors: NDArray[np.float32], depth: int) -> SearchResult:
        """Nearest gallery ids of vectors like the gallery's [q, dim]."""
        return self.index.search(vectors, depth, self.choice.effort)
