"""One training through Lightning: loaders, checkpoints, what is kept at the end."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback, EarlyStopping, EMAWeightAveraging
from pytorch_lightning.utilities.exceptions import SIGTERMException

from retrieval_bench._checkpoint import BEST, CHOSEN_BY, LAST, Keeper, need_usable, take
from retrieval_bench._feed import Feed
from retrieval_bench._heap import kept_heap
from retrieval_bench._learner import Judge, Learner
from retrieval_bench._look import Look
from retrieval_bench._stored import Stored
from retrieval_bench.data.base import Items
from retrieval_bench.encoder.base import Device, Headed, Precision
from retrieval_bench.metric.hit_rate import hit_rate
from retrieval_bench.metric.map_at_r import map_at_r
from retrieval_bench.points import Stage, exact_search, most_ignored
from retrieval_bench.stats import bootstrap_columns
from retrieval_bench.types import Embeddings, GroundTruth

if TYPE_CHECKING:
    from retrieval_bench.train import Recipe, Where

_log = logging.getLogger(__name__)
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # its tips and device lists are not this program's
# Warnings of Lightning's that are wanted here, or of its own insides.
_LIGHTNING_SAYS = (r"Found \d+ module\(s\) in eval mode", ".*LeafSpec.*", ".*sync_dist=True.*")
_OF_PROCESSES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # set by Lightning's launcher
Told = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Part:
    """Items, and what is stored of those that could be read: `labels`, `groups` and `ids` are theirs, int64 [n]."""

    items: Items
    stored: Stored

    @property
    def labels(self) -> NDArray[np.int64]:
        return np.asarray(self.items.labels)[self.stored.kept]

    @property
    def groups(self) -> NDArray[np.int64] | None:
        return None if self.items.groups is None else np.asarray(self.items.groups)[self.stored.kept]

    @property
    def ids(self) -> NDArray[np.int64]:
        return self.items.ids[self.stored.kept]


@dataclass(frozen=True, eq=False)
class Fitting:
    """What is trained, on what, and where it is kept.

    Attributes:
        look: from what is stored to vectors. told: (task, done, total).
        remarks: what the user should know of the data.
    """

    model: Headed
    recipe: Recipe
    train: Part
    validation: Part | None
    look: Look
    where: Where
    folder: Path
    told: Told
    remarks: list[str]


@dataclass(frozen=True)
class Outcome:
    """What a training said.

    Attributes:
        history: a row an epoch: epoch, step, loss (mean), and val_… with intervals where it validates; epoch 0 is
            before any step.
        best: epoch whose weights are kept. images: trained on, in all epochs. seconds: they took.
        facts: classes, images, what the sampler reports, unreadable items: JSON values.
        key: folder of the training in the cache.
    """

    history: list[dict[str, float]]
    best: int
    images: int
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)
    key: str = ""


def fit(fitting: Fitting) -> Outcome:
    """Train to the end and leave the chosen weights in the model.

    Raises:
        TrainingDiverged, BadConfig, CorruptInput.
    """
    settings, validation = fitting.recipe.trainer, fitting.validation
    names, inverse = np.unique(fitting.train.labels, return_inverse=True)
    classes = inverse.astype(np.int64)
    check = None if validation is None else validation.stored
    feed = Feed(fitting.train.stored, check, classes, fitting.recipe.sampler, fitting.where.seed)
    learner = _learner(fitting, classes, len(names), lambda: feed.steps())  # noqa: PLW0108 (an average copies methods)
    last = fitting.folder / LAST
    if last.is_file():
        need_usable(last, learner)
    bar = _Told(fitting.told, settings.epochs)
    trainer = _trainer(fitting, bar)
    _run(trainer, learner, feed, last)
    if not trainer.is_global_zero:  # a helper process of this training: the first one goes on alone
        raise SystemExit(0)
    kept = fitting.folder / (LAST if validation is None else BEST)
    best = take(kept, learner)
    parts = [fitting.train.stored, *([] if check is None else [check])]
    facts = {
        "n_classes": len(names),
        "n_train": len(classes),
        "sampler": feed.sampler.report(),
        "remarks": [*fitting.remarks, *feed.sampler.remarks()],
        "unreadable": [bad for part in parts for bad in part.unreadable],
    }
    return Outcome(learner.history, best, learner.images, learner.seconds, facts)


def _run(trainer: pl.Trainer, learner: Learner, feed: Feed, last: Path) -> None:
    """From the first epoch, or from where a killed training stopped."""
    before = {name: os.environ.get(name) for name in _OF_PROCESSES}
    try:
        with warnings.catch_warnings(), kept_heap():
            for said in _LIGHTNING_SAYS:
                warnings.filterwarnings("ignore", message=said)
            if feed.validates and not last.is_file():  # where the curve begins: epoch 0
                trainer.validate(learner, datamodule=feed, verbose=False)
            trainer.fit(learner, datamodule=feed, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    except SystemExit as stop:
        raise _stopped(stop) from None
    finally:  # a second training in this process starts its own helpers
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _stopped(stop: SystemExit) -> BaseException:
    """What Lightning made of a signal, as the rest of the program expects it."""
    if isinstance(stop, SIGTERMException):
        return SystemExit(128 + signal.SIGTERM)
    if isinstance(stop.__context__, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning leaves it ignored
        return KeyboardInterrupt()
    return stop


def _learner(fitting: Fitting, classes: NDArray[np.int64], n_classes: int, steps: Callable[[], int]) -> Learner:
    recipe = fitting.recipe
    model: Headed = fitting.model.to(memory_format=torch.channels_last)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fitting.where.seed)
        loss = recipe.loss(dim=model.dim, n_classes=n_classes)
        miner = None if recipe.miner is None else recipe.miner()
    return Learner(
        model,
        loss,
        miner,
        recipe.optimizer,
        fitting.look,
        recipe.trainer.freeze_batch_norm,
        torch.from_numpy(classes),
        fitting.where.seed,
        _judge(fitting),
        steps,
    )


def _judge(fitting: Fitting) -> Judge:
    """map_at_r and hit_rate@1 of exact search among the validation items, with intervals over queries."""
    if fitting.validation is None:
        return lambda rows, vectors: {}
    labels, ids, groups = fitting.validation.labels, fitting.validation.ids, fitting.validation.groups
    similarity, seed = fitting.where.similarity, fitting.where.seed

    def judge(rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> dict[str, float]:
        mine, source = labels[rows], None if groups is None else groups[rows]
        some = Embeddings(ids[rows], vectors, mine, source, fingerprint="validation")
        truth = GroundTruth(
            some.ids,
            some.ids,
            query_labels=mine,
            gallery_labels=mine,
            query_groups=source,
            gallery_groups=source,
        )
        metrics = {"map_at_r": partial(map_at_r), "hit_rate": partial(hit_rate)}
        stage = Stage("validation", some, some, truth, similarity, metrics, (1,), seed, float("nan"))
        found: dict[str, float] = {}
        for name, interval in bootstrap_columns(exact_search(stage, 1, most_ignored(truth)).values, seed).items():
            found |= {name: interval.value, f"{name}_lo": interval.lo, f"{name}_hi": interval.hi}
        return found

    return judge


def _trainer(fitting: Fitting, bar: Callback) -> pl.Trainer:
    settings = fitting.recipe.trainer
    callbacks: list[Callback] = [bar, Keeper(fitting.folder, settings.checkpoint_minutes)]
    if settings.patience is not None:
        callbacks.append(EarlyStopping(CHOSEN_BY, mode="max", patience=settings.patience))
    if settings.ema is not None:
        callbacks.append(EMAWeightAveraging(decay=settings.ema))
    return pl.Trainer(
        max_epochs=settings.epochs,
        precision="bf16-mixed" if settings.precision is Precision.BFLOAT16 else "32-true",
        gradient_clip_val=settings.gradient_clip,
        accumulate_grad_batches=settings.accumulate,
        accelerator="cpu" if fitting.where.embed.device is Device.CPU else "auto",
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy=settings.strategy,
        callbacks=callbacks,
        default_root_dir=fitting.folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=0 if fitting.validation is None else None,
    )


class _Told(Callback):
    """Tells how far training is, with the last validation; counts images and the time that their batches take."""

    def __init__(self, told: Told, epochs: int) -> None:
        self._told, self._epochs = told, epochs
        self._begin = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin = perf_counter()  # a training that goes on in the middle of an epoch does not start one

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin = perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = perf_counter()
        if isinstance(pl_module, Learner):
            pl_module.images += len(batch[1]) * trainer.world_size
            pl_module.seconds += now - self._begin
        self._begin = now
        if trainer.is_global_zero:
            last = trainer.callback_metrics.get(CHOSEN_BY)
            so_far = "" if last is None else f", map_at_r {float(last):.3f}"
            task = f"train · epoch {trainer.current_epoch + 1} of {self._epochs}{so_far}"
            each = int(trainer.num_training_batches)
            self._told(task, trainer.current_epoch * each + batch_idx + 1, self._epochs * each)
