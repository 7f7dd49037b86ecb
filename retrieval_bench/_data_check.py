"""Reading a data set whole: what of it cannot be read or answered, and what it leaves out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from retrieval_bench.data.base import Dataset, Items, VectorDataset
from retrieval_bench.errors import CorruptInput
from retrieval_bench.record import Progress
from retrieval_bench.truth import relevant_counts
from retrieval_bench.types import Similarity

SHOWN = 20


@dataclass(frozen=True)
class Checked:
    """What a check of a data set found; rich prints it.

    Attributes:
        wrong: items that cannot be read, or parts whose vectors cannot be searched.
    """

    lines: Sequence[Text]
    wrong: int

    def __rich__(self) -> RenderableType:
        return Group(*self.lines)


def check_data(data: Dataset | VectorDataset, progress: Progress) -> Checked:
    """Read every item of a data set once, and say what is wrong with it and what it leaves out."""
    head = Text(f"{data.name}: " + ", ".join(f"{key}={value}" for key, value in data.protocol.items()))
    found = _check_vectors(data) if isinstance(data, VectorDataset) else _check_items(data, progress)
    return Checked([head, *found.lines], found.wrong)


def _check_vectors(data: VectorDataset) -> Checked:
    lines, wrong = list[Text](), 0
    parts = {"train": data.train(), "queries": data.queries(), "gallery": data.gallery()}
    for part, vectors in parts.items():
        if part != "gallery" and vectors is parts["gallery"]:
            lines.append(Text(f"{part}: the gallery's"))
            continue
        lines.append(Text(f"{part}: {len(vectors)} × {vectors.dim} {vectors.vectors.dtype}"))
        for similarity, style in ((Similarity.DOT, "red"), (Similarity.COSINE, "yellow")):  # another may do instead
            try:
                vectors.check(similarity)
            except CorruptInput as error:
                lines.append(Text(f"  {error}", style=style))
                wrong += similarity is Similarity.DOT
                break
    return Checked(lines, wrong)


def _check_items(data: Dataset, progress: Progress) -> Checked:
    parts = {"train": data.train(), "validation": data.validation(), "queries": data.queries()}
    parts["gallery"] = data.gallery()
    lines, bad, seen = list[Text](), list[tuple[str, str]](), set[str]()
    for part, items in parts.items():
        same = next((name for name, other in parts.items() if other is items))
        if same != part:
            lines.append(Text(f"{part}: the same items as {same}"))
            continue
        classes = Counter(items.labels.tolist()) if items.labels is not None else None
        told = f", {len(classes)} classes of {min(classes.values())}–{max(classes.values())}" if classes else ""
        lines.append(Text(f"{part}: {len(items)} items{told}"))
        bad += _unreadable(items, part, progress, seen)
    lines += _unanswerable(data)
    lines += _list("unreadable", bad, "red" if bad else "green")
    if data.left_out or data.hidden_files:
        lines += _list("left out, for they are no items", data.left_out, "yellow" if data.left_out else "")
        lines.append(Text(f"hidden names (.…), not looked at: {data.hidden_files}"))
    return Checked(lines, len(bad))


def _list(title: str, pairs: Sequence[tuple[str, str]], style: str) -> list[Text]:
    """How many, and the first of them, a line each."""
    lines = [Text(f"{title}: {len(pairs)}", style=style)]
    lines += [Text(f"  {key if key.isprintable() else ascii(key)}: {reason}") for key, reason in pairs[:SHOWN]]
    return lines + ([Text(f"  … and {len(pairs) - SHOWN} more")] if len(pairs) > SHOWN else [])


def _unanswerable(data: Dataset) -> list[Text]:
    """Queries of classes that the gallery lacks: counted, their classes named."""
    truth, queries = data.truth(), data.queries()
    lost = np.empty(0, np.int64) if truth is None else np.flatnonzero(relevant_counts(truth) == 0)
    if not len(lost):
        return []
    labels = [] if queries.labels is None else np.unique(queries.labels[lost]).tolist()
    names = [str(queries.label_names.get(label, label)) for label in labels[:SHOWN]]
    told = f" (classes {', '.join(names)}{', …' if len(labels) > SHOWN else ''})" if names else ""
    return [Text(f"queries with nothing relevant in the gallery: {len(lost)}{told}; left out of the means", "yellow")]


def _unreadable(items: Items, part: str, progress: Progress, seen: set[str]) -> Iterable[tuple[str, str]]:
    """Reads what was not seen yet: the same key in another part (a gallery that is trained on) is the same item."""
    for row, key in enumerate(items.keys):
        progress(f"read {part}", row + 1, len(items))
        if key in seen:
            continue
        seen.add(key)
        try:
            items.read(row)
        except CorruptInput as error:
            yield key, str(error)
