"""`retrieval-bench query`: a user's own pictures or videos against the gallery of a finished run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from retrieval_bench._asking import Asked, Asking
from retrieval_bench._opened import Opened, chosen
from retrieval_bench.binding import nearest
from retrieval_bench.data.base import MomentDataset
from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.experiment import Experiment, data_fingerprint
from retrieval_bench.record import RunRecord

_CHANGED = (
    "is not what the run was made of any more (items were added, removed or changed): what is named or shown may not"
    " be what was found; run its command again"
)


@dataclass(frozen=True)
class Question:
    """What is asked: files, and through which of the run's indexes.

    Attributes:
        index, stage, effort: none = exact if the run has it, else its first index; its last stage; the highest effort.
        k: answers wanted. sheet: folder for the contact sheets.
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
    choice = chosen(record, experiment, stage, question.index, question.effort)
    asking = _asking(Opened(record, experiment, stage, choice))
    contents, problems = _read(asking, question.files)
    if contents:  # wrong files alone are told before anything slow
        sheets = _sheets(question.sheet, list(contents), asking.answers)
        for file, content in contents.items():
            yield from asking.answer(Asked(file, content, question.k, sheets[file]))
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
            " picture or a video into one; ask a run over images or videos"
        )
    if question.k < 1:
        raise BadConfig(f"-k {question.k}: a whole number from 1 is needed")
    return stage


def _asking(opened: Opened) -> Asking[Any]:
    """How this run is asked. Questions to images import nothing that only videos need."""
    if "size" in opened.facts["preprocessing"]:  # of clips, a preprocessing by input
        from retrieval_bench._ask_images import AskImages

        return AskImages(opened)
    if isinstance(opened.data, MomentDataset):
        from retrieval_bench._ask_moments import AskMoments

        return AskMoments(opened)
    from retrieval_bench._ask_clips import AskClips

    return AskClips(opened)


def _read(asking: Asking[Any], files: Sequence[Path]) -> tuple[dict[Path, Any], list[str]]:
    """What of the files can be read, and what is wrong with the others."""
    contents, problems = {}, []
    for file in dict.fromkeys(files):
        try:
            contents[file] = asking.read(file)
        except CorruptInput as error:
            problems.append(str(error))
    return contents, problems


def _sheets(folder: Path, files: Sequence[Path], answers: str) -> dict[Path, Path]:
    """Where the contact sheet of each file goes: named after it, and numbered where two are named alike."""
    taken, sheets = Counter[str](), {}
    for file in files:
        taken[file.stem] += 1
        number = f"_{taken[file.stem]}" if taken[file.stem] > 1 else ""
        sheets[file] = folder / f"{file.stem}_{answers}{number}.png"
    return sheets
