"""`retrieval-bench query`: a user's own pictures against the gallery of a finished run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.text import Text

from retrieval_bench._recipe import rebuilt
from retrieval_bench.binding import nearest
from retrieval_bench.data.base import Dataset
from retrieval_bench.embed import embed, encode_one, fit_all, kept_vectors, query_engine
from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.experiment import Experiment, data_fingerprint
from retrieval_bench.measure import Candidate, open_index
from retrieval_bench.media.image import decode
from retrieval_bench.record import TRAINED, RunRecord
from retrieval_bench.report.contact_sheet import Neighbour, Verdict, contact_sheet, render_neighbours
from retrieval_bench.search.base import facts

if TYPE_CHECKING:
    from retrieval_bench.encoder.base import Encoder

_GONE = "(no longer among the data)"  # the key of an item that was there when the run was made
_CHANGED = (
    "is not what the run was made of any more (items were added, removed or changed): what is named or shown may not"
    " be what was found; run its command again"
)


@dataclass(frozen=True)
class Question:
    """What is asked: files, and through which of the run's indexes.

    Attributes:
        index, stage, effort: none = exact if the run has it, else its first index; its last stage; the highest effort.
        sheet: folder for the contact sheets.
    """

    files: Sequence[Path]
    index: str | None
    stage: str | None
    effort: int | None
    k: int
    sheet: Path


def answer(record: RunRecord, reopen: Callable[[], Experiment], question: Question) -> Iterator[RenderableType]:
    """One ranked list a file, with a contact sheet beside it.

    Args:
        reopen: opens the run's data; called once the question makes sense.

    Raises:
        BadConfig: the run has no such stage or index, or was made of vectors.
        CorruptInput: files cannot be read, a line for each; the others are answered before.
    """
    stage = _stage(record, question)
    experiment = reopen()
    choice = _chosen(record, experiment, stage, question)
    images, problems = _decoded(question.files)
    if images:  # wrong files alone are told before anything slow
        searcher = _Searcher(record, experiment, stage, choice)
        n = int(record.stages[stage]["n_gallery"])  # of the index, whatever has become of the data since
        depth = min(question.k, n)
        through = f"{choice.candidate.name}{_at(choice, depth)}"
        sheets = _sheets(question.sheet, list(images))
        for file, image in images.items():
            lists = searcher.index.search(searcher.encode(image), depth, choice.effort)
            found = searcher.neighbours(lists.ids[0], lists.scores[0])
            title = f"{file.name}: nearest of {n} through {through} ({stage} weights)"
            yield render_neighbours(title, found)
            sheets[file].parent.mkdir(parents=True, exist_ok=True)
            contact_sheet(image, file.name, found).save(sheets[file])
            yield Text(f"contact sheet: {sheets[file]}")
        if data_fingerprint(experiment.data) != record.data_fingerprint:  # last: it may read every item
            yield Text(f"warning: data={experiment.data.name} {_CHANGED}")
    if problems:
        raise CorruptInput("\n".join(problems))


def _stage(record: RunRecord, question: Question) -> str:
    """The stage that is asked, from the record alone."""
    stage = question.stage or list(record.stages)[-1]
    if stage not in record.stages:
        raise BadConfig(f"the run has no stage {stage!r}; {nearest(stage, record.stages)}")
    if "preprocessing" not in record.stages[stage]:
        raise BadConfig(
            f"this run searched given vectors (data={record.protocol['data']}): it has no encoder that could turn a"
            " picture into one; ask a run over images"
        )
    if question.k < 1:
        raise BadConfig(f"-k {question.k}: a whole number from 1 is needed")
    return stage


def _decoded(files: Sequence[Path]) -> tuple[dict[Path, NDArray[np.uint8]], list[str]]:
    """The pictures that can be read, and what is wrong with the others."""
    images, problems = {}, []
    for file in dict.fromkeys(files):
        try:
            images[file] = decode(file)
        except CorruptInput as error:
            problems.append(str(error))
    return images, problems


def _sheets(folder: Path, files: Sequence[Path]) -> dict[Path, Path]:
    """Where the contact sheet of each file goes: named after it, and numbered where two are named alike."""
    taken, sheets = Counter[str](), {}
    for file in files:
        taken[file.stem] += 1
        number = f"_{taken[file.stem]}" if taken[file.stem] > 1 else ""
        sheets[file] = folder / f"{file.stem}_neighbours{number}.png"
    return sheets


@dataclass(frozen=True)
class _Choice:
    """One measured operating point that can be asked: an index as it was built, and an effort."""

    candidate: Candidate
    build_seed: int
    effort: int | None


def _chosen(record: RunRecord, experiment: Experiment, stage: str, question: Question) -> _Choice:
    """The index to ask: what the user named, else exact, else the first that worked; at its highest effort."""
    worked = [row for row in record.rows if row["status"] == "ok" and row["index"] != "null" and row["stage"] == stage]
    names = [str(name) for name in dict.fromkeys(row["index"] for row in worked) if name in experiment.search]
    if not names:
        raise BadConfig(f"none of the indexes of stage {stage} worked; see its errors in record.json")
    name = question.index or ("exact" if "exact" in names else names[0])
    if name not in names:
        raise BadConfig(f"the run has no index {name!r}; {nearest(name, names)}")
    target = facts(experiment.search[name])
    if question.effort is not None and (target.knob is None or question.effort < 1):
        knob = "no knob" if target.knob is None else f"the knob {target.knob}, a whole number from 1"
        raise BadConfig(f"--effort {question.effort}: {name} has {knob}")
    row = max((row for row in worked if row["index"] == name), key=lambda row: row["effort"] or 0)
    effort = question.effort or row["effort"]
    factory = rebuilt(experiment.search[name], json.loads(row["index_params"]), [] if effort is None else [effort])
    return _Choice(Candidate(name, factory), int(row["build_seed"]), effort)


def _at(choice: _Choice, depth: int) -> str:
    """The index's knob and the effort that a list of this depth is searched with, for a title."""
    target = facts(choice.candidate.factory)
    if choice.effort is None:
        return ""
    return f", {target.knob} {max(choice.effort, depth) if target.effort_at_least_k else choice.effort}"


def _encoder(record: RunRecord, experiment: Experiment, stage: str) -> Encoder:
    """The encoder of a stage, a trained one from the run's own files."""
    encoder = experiment.encoders[stage]()
    if experiment.head is None or (stage != "trained" and not encoder.head_weights):
        return encoder
    from retrieval_bench._headed import headed, restored

    head = experiment.head()
    return restored(encoder, head, record.folder / TRAINED) if stage == "trained" else headed(encoder, head, 0)


class _Searcher:
    """An opened stage: the encoder's engine, the gallery's items and a loaded index."""

    def __init__(self, record: RunRecord, experiment: Experiment, stage: str, choice: _Choice) -> None:
        data = experiment.data
        if not isinstance(data, Dataset):
            raise BadConfig("no items to show")
        self.items = data.gallery()
        self.rows = {int(item): row for row, item in enumerate(self.items.ids)}
        facts = record.stages[stage]
        make = cache(partial(_encoder, record, experiment, stage))  # made at most once, and only where it is needed
        self.engine = query_engine(make, facts["engine"], facts["preprocessing"], experiment.cache)
        self.transforms = list(experiment.transforms.values())
        if self.transforms:
            vectors = kept_vectors(data.train(), facts["engine"], experiment.cache)
            fit_all(
                self.transforms, self._train(experiment, make(), data) if vectors is None else vectors, experiment.seed
            )
        self.index = open_index(record.folder / "results" / stage, choice.candidate, choice.build_seed)

    @staticmethod
    def _train(experiment: Experiment, encoder: Encoder, data: Dataset) -> NDArray[np.generic]:
        """The training vectors that the transforms of the run were fitted on, where its cache is gone."""
        items, cache = data.train(), experiment.cache
        train = embed(items, encoder, data.image_size, experiment.embed, cache, lambda done, total: None)
        return train.embeddings.vectors

    def encode(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[1, dim], like the gallery's vectors."""
        vector = encode_one(self.engine, image)[None]
        for transform in self.transforms:
            vector = np.asarray(transform.apply(vector))
        return np.ascontiguousarray(vector, np.float32)

    def neighbours(self, ids: NDArray[np.int64], scores: NDArray[np.float32]) -> list[Neighbour]:
        """What the gallery knows of the answers; a picture that cannot be read any more is left out of the sheet."""
        found = []
        for item, score in zip(ids[ids >= 0], scores, strict=False):
            row = self.rows.get(int(item))
            if row is None:
                found.append(Neighbour(_GONE, float(score), "", Verdict.UNKNOWN, None))
                continue
            label = "" if self.items.labels is None else self.items.labels[row]
            name = str(self.items.label_names.get(int(label), label)) if label != "" else ""
            found.append(Neighbour(str(self.items.keys[row]), float(score), name, Verdict.UNKNOWN, self._image(row)))
        return found

    def _image(self, row: int) -> NDArray[np.uint8] | None:
        try:
            return self.items.read(row)["image"]
        except CorruptInput:
            return None
