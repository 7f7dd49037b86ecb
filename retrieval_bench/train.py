"""Trains an encoder with its head, once: what a recipe gives on a data set is kept in the cache."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pytorch_lightning.utilities import rank_zero_only

from retrieval_bench._fit import Fitting, Outcome, Part, fit
from retrieval_bench._item_batches import Embed, Reading
from retrieval_bench._pixels import pixels
from retrieval_bench._trained_files import WEIGHTS, fill, outcome_of, write_trained
from retrieval_bench.augment import Augmentation
from retrieval_bench.data.base import Dataset, Items
from retrieval_bench.encoder.base import Encoder, Headed, Precision, Preprocessing, fill_named
from retrieval_bench.errors import BadConfig, RetrievalBenchError, TrainingDiverged
from retrieval_bench.hashing import json_digest
from retrieval_bench.head.base import Head
from retrieval_bench.loss.base import Loss, Miner
from retrieval_bench.optimizer import Optimizer
from retrieval_bench.sampler import BatchSampler
from retrieval_bench.types import Similarity

_log = logging.getLogger(__name__)
_SCHEMA = 1  # part of every key
_FREE = ("checkpoint_minutes", "devices", "nodes", "strategy")  # of `Trainer`, decide no numbers
Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Trainer:
    """How long and how exactly weights are trained (see `conf/trainer/default.yaml`).

    Args:
        epochs: passes over the training items.
        validate: the best epoch is chosen on the data's validation classes; else these are trained on, too, and the
            last epoch is taken.
        precision: float32 or bfloat16.
        freeze_batch_norm: running statistics stay as they are.
        frozen: prefixes of the backbone's parameters that are not trained.
        gradient_clip: norm of all gradients at most. accumulate: batches a step.
        ema: decay of the moving average of the weights. patience: epochs without a better validation before it stops.
        checkpoint_minutes: between two checkpoints; each epoch ends with one as well.
        devices, nodes, strategy: Lightning's.
    """

    epochs: int = 8
    validate: bool = True
    precision: Precision = Precision.FLOAT32
    freeze_batch_norm: bool = True
    frozen: tuple[str, ...] = ()
    gradient_clip: float | None = None
    accumulate: int = 1
    ema: float | None = None
    patience: int | None = None
    checkpoint_minutes: float = 5.0
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"

    def __post_init__(self) -> None:
        if self.precision not in list(Precision):
            raise BadConfig(f"trainer.precision={self.precision}: type one of {', '.join(Precision)}")
        object.__setattr__(self, "precision", Precision(self.precision))
        object.__setattr__(self, "frozen", tuple(self.frozen))
        for name in ("epochs", "accumulate", "patience", "devices", "nodes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadConfig(f"trainer.{name}={value}: a whole number from 1 is needed")
        for name in ("gradient_clip", "checkpoint_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadConfig(f"trainer.{name}={value}: more than 0 is needed")
        if self.ema is not None and not 0 < self.ema < 1:
            raise BadConfig(f"trainer.ema={self.ema}: a decay above 0 and below 1 is needed, e.g. 0.999")
        if self.patience is not None and not self.validate:
            raise BadConfig("trainer.patience needs trainer.validate=true: without validation no epoch is better")

    def science(self) -> dict[str, Any]:
        """What decides numbers, as JSON values."""
        return {key: value for key, value in asdict(self).items() if key not in _FREE}


@dataclass(frozen=True, eq=False)
class Recipe:
    """The parts of training, as the configuration gives them.

    Attributes:
        head: completed with `dim`. loss: with `dim` and `n_classes`. sampler: with labels, seed, rank and world.
        nodes: the configuration of all of them, for keys and records.
    """

    head: Callable[..., Head]
    loss: Callable[..., Loss]
    miner: Callable[[], Miner] | None
    sampler: Callable[..., BatchSampler]
    optimizer: Optimizer
    augment: Augmentation
    trainer: Trainer
    nodes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Where:
    """Whose numbers these are.

    Attributes:
        cache: folder of all caches. seed: of everything random. similarity: that validation searches by.
        embed: how items are read, and how many may be unreadable.
        waiting: told in a line when another process trains the same.
    """

    cache: Path
    seed: int
    similarity: Similarity
    embed: Embed
    waiting: Callable[[str], None] = _log.warning


def headed(encoder: Encoder, head: Callable[..., Head], seed: int) -> Headed:
    """An encoder with a head: the trained one that came with its weights, or a fresh one that the seed decides.

    Raises:
        CorruptInput: the trained head is of another architecture.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = head(dim=encoder.dim)
    if encoder.head_weights:
        fill_named(made, encoder.head_weights, Path("encoder.weights"))
    return Headed(encoder, made, made.out, {})


def restored(encoder: Encoder, head: Callable[..., Head], folder: Path) -> Headed:
    """A model that was trained before, from the folder that keeps its files. Raises CorruptInput."""
    model = headed(encoder, head, 0)
    fill(model, folder / WEIGHTS)
    return model


def train(encoder: Encoder, recipe: Recipe, data: Dataset, where: Where, told: Told) -> tuple[Headed, Outcome, Path]:
    """Train, go on where a killed run stopped, or take what was trained before.

    Args:
        encoder: the weights to start from. told: (task, done, total).

    Returns:
        The trained model, what training said, and the folder that keeps both.

    Raises:
        BadConfig: the parts do not fit the data. CorruptInput: a checkpoint is damaged or of other parts.
        TooManyUnreadable: items. RetrievalBenchError: the loss is no finite number; names the file with its items.
    """
    items, check = _parts(data, recipe.trainer)
    model = headed(encoder, recipe.head, where.seed)
    folder = where.cache / "trained" / _key(encoder, recipe, (items, check), where)
    with _alone(folder, where.waiting):
        if not (folder / WEIGHTS).is_file():
            how = encoder.preprocessing(data.image_size)
            kept = None if check is None else _part(check, "validation", how, where, told)
            fitting = Fitting(model, recipe, _part(items, "training", how, where, told), kept, how, where, folder, told)
            write_trained(folder, model, _fitted(fitting), recipe.nodes, data.protocol)
        fill(model, folder / WEIGHTS)
    outcome = outcome_of(folder)
    model.origin = {"trained": folder.name}
    return model, outcome, folder


def _fitted(fitting: Fitting) -> Outcome:
    try:
        return fit(fitting)
    except TrainingDiverged as error:
        file = fitting.folder / "diverged.csv"
        with file.open("w", newline="", encoding="utf-8") as out:
            names, kept = fitting.train.items.keys, fitting.train.pixels.kept
            csv.writer(out).writerows([["item"], *([names[kept[row]]] for row in error.rows)])
        raise RetrievalBenchError(
            f"{error}: the items of its batch are listed in {file}. Type a lower optimizer.backbone_lr or"
            " optimizer.head_lr, or trainer.gradient_clip=1; training then starts anew"
        ) from error


def _parts(data: Dataset, settings: Trainer) -> tuple[Items, Items | None]:
    """Training items, and validation items where an epoch is chosen."""
    items, check = data.train(), data.validation()
    for name, part in (("training", items), ("validation", check)):
        if part.labels is None:
            raise BadConfig(f"data={data.name} has no labels of its {name} items; training needs classes")
    if not settings.validate:
        return _joined(items, check), None
    if not len(check):
        raise BadConfig(f"data={data.name} has no validation items; type trainer.validate=false to train without")
    return items, check


def _joined(a: Items, b: Items) -> Items:
    def read(row: int) -> dict[str, NDArray[np.uint8]]:
        return a.read(row) if row < len(a) else b.read(row - len(a))

    return Items(
        [*a.keys, *b.keys],
        read,
        lambda: json_digest([a.fingerprint, b.fingerprint]),
        np.concatenate([np.asarray(a.labels), np.asarray(b.labels)]),
    )


def _key(encoder: Encoder, recipe: Recipe, parts: tuple[Items, Items | None], where: Where) -> str:
    prints = [None if part is None else part.fingerprint for part in parts]
    start = [encoder.weights_fingerprint(), encoder.describe()]
    nodes = {name: node for name, node in recipe.nodes.items() if name != "trainer"}
    return json_digest([_SCHEMA, start, nodes, recipe.trainer.science(), prints, where.seed, str(where.similarity)])


def _part(items: Items, name: str, preprocessing: Preprocessing, where: Where, told: Told) -> Part:
    reading = Reading(items, "image", preprocessing, where.embed)
    return Part(items, pixels(reading, where.cache, lambda done, total: told(f"read {name} images", done, total)))


@contextmanager
def _alone(folder: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """One process trains, others wait for it; processes that train together do not wait for one another."""
    folder.mkdir(parents=True, exist_ok=True)
    if rank_zero_only.rank:  # type: ignore[attr-defined]  # Lightning sets it; not 0: the lock is held by process 0
        yield
        return
    lock = FileLock(str(folder) + ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting("another process trains the same; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
