"""Trains an encoder with its head, once: what a recipe gives on a data set is kept in the cache."""

from __future__ import annotations

import csv
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from pytorch_lightning.utilities import rank_zero_only

from retrieval_bench._fit import Fitting, Outcome, fit
from retrieval_bench._headed import freeze, to_train
from retrieval_bench._item_batches import Embed
from retrieval_bench._look import look_of
from retrieval_bench._material import need_pairs, part_of, parts_of, prints, seen_by
from retrieval_bench._trained_files import WEIGHTS, fill, outcome_of, write_trained
from retrieval_bench.augment import Augmentation, ClipAugmentation
from retrieval_bench.data.base import Dataset
from retrieval_bench.encoder.base import Encoder, Headed, Precision
from retrieval_bench.errors import BadConfig, RetrievalBenchError, TrainingDiverged
from retrieval_bench.hashing import json_digest
from retrieval_bench.head.base import Head
from retrieval_bench.loss.base import MINING, Loss, Miner
from retrieval_bench.optimizer import Optimizer
from retrieval_bench.sampler import BatchSampler
from retrieval_bench.turns import working
from retrieval_bench.types import Similarity

_log = logging.getLogger(__name__)
_SCHEMA = 1  # part of every key
_FREE = ("checkpoint_minutes", "strategy")  # of `Trainer`, decide no numbers
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
        devices, nodes, strategy: Lightning's. All machines share one cache.
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
        if self.devices * self.nodes > 1 and getattr(sys, "ps1", None):
            raise BadConfig("trainer.devices > 1 starts processes, which a notebook cannot; type it as a command")
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
    augment: Augmentation | ClipAugmentation
    trainer: Trainer
    nodes: Mapping[str, Any] = field(default_factory=dict)

    def check(self, data: Dataset, encoder: Encoder) -> None:
        """Tell before anything is encoded or read that the parts do not fit the data.

        Raises:
            BadConfig: no labels, nothing to validate on, fewer classes than a batch holds, a loss or head that cannot
            be made, a miner for a loss that uses none, batches that `accumulate` does not divide, a part to freeze that
            the encoder does not have, changes of images for an encoder of clips or the other way round.
        """
        freeze(encoder, self.trainer.frozen, self.optimizer.backbone_lr)
        look_of(to_train(encoder, self.head, 0), data.image_size, self.augment)
        labels = np.asarray(parts_of(data, self.trainer)[0].labels)
        world = self.trainer.devices * self.trainer.nodes
        sampler = self.sampler(labels=labels, seed=0, rank=0, world=world)
        if len(sampler) % self.trainer.accumulate:
            fits = max(1, len(sampler) // self.trainer.accumulate) * self.trainer.accumulate
            raise BadConfig(
                f"trainer.accumulate={self.trainer.accumulate} does not divide the {len(sampler)} batches of an epoch;"
                f" type sampler.batches={fits}"
            )
        with torch.random.fork_rng(devices=[]):
            self.head(dim=2)
            loss = self.loss(dim=2, n_classes=len(np.unique(labels)))
        if self.miner is not None and not loss.mines:
            raise BadConfig(
                f"loss={type(loss).__name__} has no use for a miner; type miner=null or loss={' or '.join(MINING)}"
            )


@dataclass(frozen=True)
class Where:
    """Whose numbers these are.

    Attributes:
        cache: folder of all caches. seed: of everything random. similarity: that validation searches by.
        embed: how items are read, and how many may be unreadable.
        say: told in a line what the user should know.
    """

    cache: Path
    seed: int
    similarity: Similarity
    embed: Embed
    say: Callable[[str], None] = _log.warning


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
    items, check, remarks = parts_of(data, recipe.trainer)
    remarks += _doubts(encoder, recipe, where)
    for remark in remarks:
        where.say(remark)
    model = to_train(encoder, recipe.head, where.seed)
    freeze(model.encoder, recipe.trainer.frozen, recipe.optimizer.backbone_lr)
    seen = [seen_by(encoder, data.image_size, where.embed), prints(items, check)]
    folder = where.cache / "trained" / _key(encoder, recipe, seen, where)
    with _alone(folder, where.say):
        if not (folder / WEIGHTS).is_file():
            look = look_of(model, data.image_size, recipe.augment)
            read = partial(part_of, model.encoder, data.image_size, where)
            kept = None if check is None else read(check, "validation", told)
            if kept is not None:
                need_pairs(kept, data.name)
            part = read(items, "training", told)
            fitting = Fitting(model, recipe, part, kept, look, where, folder, told, remarks)
            write_trained(folder, model, _fitted(fitting), recipe.nodes, data.protocol)
        fill(model, folder / WEIGHTS)
    outcome = outcome_of(folder)
    model.origin = {"trained": folder.name}
    return model, outcome, folder


def _fitted(fitting: Fitting) -> Outcome:
    try:
        with working(_log.warning):
            return fit(fitting)
    except TrainingDiverged as error:
        file = fitting.folder / "diverged.csv"
        with file.open("w", newline="", encoding="utf-8") as out:
            names, kept = fitting.train.items.keys, fitting.train.stored.kept
            csv.writer(out).writerows([["item"], *([names[kept[row]]] for row in error.rows)])
        raise RetrievalBenchError(
            f"{error}: the items of its batch are listed in {file}. Type a lower optimizer.backbone_lr or"
            " optimizer.head_lr, or trainer.gradient_clip=1; training then starts anew"
        ) from error


def _doubts(encoder: Encoder, recipe: Recipe, where: Where) -> list[str]:
    """Choices that train well alone, and badly together."""
    said = []
    if where.similarity is not Similarity.COSINE:
        said.append(f"losses compare directions, but similarity={where.similarity} also looks at lengths")
    norms = any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in encoder.modules())
    if norms and recipe.trainer.freeze_batch_norm and encoder.describe().get("weights") == "none":
        said.append(
            "batch norms of random weights are frozen, so nothing is normalised: trainer.freeze_batch_norm=false"
        )
    return said


def _key(encoder: Encoder, recipe: Recipe, seen: list[Any], where: Where) -> str:
    """Of everything that decides numbers; `seen` is what is read, and how."""
    start = [encoder.weights_fingerprint(), encoder.describe()]
    nodes = {name: node for name, node in recipe.nodes.items() if name != "trainer"}
    libraries = [version(name) for name in ("torch", "pytorch-lightning")] + [_version_of_losses()]
    how = [recipe.trainer.science(), where.seed, str(where.similarity), libraries]
    return json_digest([_SCHEMA, start, nodes, seen, how])


def _version_of_losses() -> str | None:
    try:
        return version("pytorch-metric-learning")
    except PackageNotFoundError:
        return None  # a loss of our own needs none


@contextmanager
def _alone(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """One process trains, others wait for it; processes that train together do not wait for one another."""
    folder.mkdir(parents=True, exist_ok=True)
    if rank_zero_only.rank:  # type: ignore[attr-defined]  # Lightning sets it; not 0: the lock is held by process 0
        yield
        return
    lock = FileLock(str(folder) + ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("another process trains the same; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
