"""What is trained on, and what an epoch is chosen by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval_bench._fit import Part
from retrieval_bench._item_batches import Embed
from retrieval_bench._stored import Told, stored, trained_above
from retrieval_bench.data.base import Arrays, Dataset, Items
from retrieval_bench.encoder.base import Encoder, engine_choices
from retrieval_bench.errors import BadConfig
from retrieval_bench.hashing import json_digest

if TYPE_CHECKING:
    from retrieval_bench.train import Trainer, Where


def parts_of(data: Dataset, settings: Trainer) -> tuple[Items, Items | None, list[str]]:
    """Training items, validation items where an epoch is chosen, and what the user should know of them."""
    items, check = data.train(), data.validation()
    for name, part in (("training", items), ("validation", check)):
        if part.labels is None:
            raise BadConfig(f"data={data.name} has no labels of its {name} items; training needs classes")
    remarks = []
    tested = [part.labels for part in (data.queries(), data.gallery()) if part.labels is not None]
    test = np.concatenate(tested) if tested else np.empty(0, np.int64)
    trained, chosen = np.asarray(items.labels), np.asarray(check.labels)
    if not settings.validate:  # all of them are trained on
        trained, chosen = np.concatenate([trained, chosen]), chosen[:0]
    for how, seen in (("training on", trained), ("the epoch is chosen by", chosen)):
        both = np.intersect1d(seen, test)
        if len(both):
            remarks.append(f"{how} {len(both)} of the test's classes, so its metrics are not of unseen classes")
    if not settings.validate:
        return _joined(items, check), None, remarks
    if not len(check):
        raise BadConfig(f"data={data.name} has no validation items; type trainer.validate=false to train without")
    both = np.intersect1d(trained, chosen)
    if len(both):
        remarks.append(
            f"the epoch is chosen by {len(both)} of the classes that are trained on, so they are not unseen ones"
        )
    return items, check, remarks


def _joined(a: Items, b: Items) -> Items:
    def read(row: int) -> Arrays:
        return a.read(row) if row < len(a) else b.read(row - len(a))

    return Items(
        [*a.keys, *b.keys],
        read,
        lambda: json_digest([a.fingerprint, b.fingerprint]),
        np.concatenate([np.asarray(a.labels), np.asarray(b.labels)]),
    )


def need_pairs(part: Part, data: str) -> None:
    """Validation asks for another item of a class. Raises BadConfig: none has one, outside its own group."""
    label, group = part.labels, np.arange(len(part.labels)) if part.groups is None else part.groups
    places = np.unique(np.stack([label, group]), axis=1)[0]  # each class once for every group that it is in
    if not len(places) or np.bincount(np.unique(places, return_inverse=True)[1]).max() < 2:
        raise BadConfig(
            f"data={data}: no validation item that can be read has another of its class to find; type"
            " trainer.validate=false to train without validation"
        )


def prints(*parts: Items | None) -> list[str | None]:
    return [None if part is None else part.fingerprint for part in parts]


def seen_by(encoder: Encoder, native_size: int | None, settings: Embed) -> Any:
    """How what is read becomes inputs; where these are vectors of frames, by what they are computed, too."""
    frames = encoder.frames()
    if not frames:
        return encoder.preprocessing(native_size).describe()
    how: dict[str, Any] = {name: frame.preprocessing(native_size).describe() for name, frame in frames.items()}
    if trained_above(encoder):
        choices = engine_choices(settings.engine, settings.precision, settings.device)
        how["vectors"] = [choice.describe() for choice in choices]
    return how


def part_of(  # noqa: PLR0917  (six: the ceiling)
    encoder: Encoder, native_size: int | None, where: Where, items: Items, name: str, told: Told
) -> Part:
    """Read some items for an encoder; raises as `stored`."""

    def named(task: str, done: int, total: int) -> None:
        told(f"{task} for {name}", done, total)

    return Part(items, stored(items, encoder, native_size, where.embed, where.cache, named))
