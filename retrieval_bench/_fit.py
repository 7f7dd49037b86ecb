"""One training through Lightning: loaders, checkpoints, what is kept at the end."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback, EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from retrieval_bench._feed import Feed
from retrieval_bench._heap import kept_heap
from retrieval_bench._learner import Judge, Learner
from retrieval_bench._pixels import Pixels
from retrieval_bench.data.base import Items
from retrieval_bench.encoder.base import Encoder, Headed, Precision, Preprocessing
from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.loss.base import MINING
from retrieval_bench.metric.hit_rate import hit_rate
from retrieval_bench.metric.map_at_r import map_at_r
from retrieval_bench.points import Stage, exact_search
from retrieval_bench.stats import bootstrap_columns
from retrieval_bench.types import Embeddings, GroundTruth

if TYPE_CHECKING:
    from retrieval_bench.train import Recipe, Where

_log = logging.getLogger(__name__)
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # its tips and device lists are not this program's
CHOSEN_BY = "val_map_at_r"
LAST, BEST = "last", "best"
# Warnings of Lightning's that are wanted here, or of its own insides.
_LIGHTNING_SAYS = ("Checkpoint directory .* exists", r"Found \d+ module\(s\) in eval mode", ".*LeafSpec.*")
Told = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Part:
    """Items, and the pixels of those that could be read.

    Attributes:
        labels: int64 [n] of the pixels. size: side of the images.
    """

    items: Items
    pixels: Pixels

    @property
    def labels(self) -> NDArray[np.int64]:
        return np.asarray(self.items.labels)[self.pixels.kept]

    @property
    def ids(self) -> NDArray[np.int64]:
        return self.items.ids[self.pixels.kept]


@dataclass(frozen=True, eq=False)
class Fitting:
    """What is trained, on what, and where it is kept.

    Attributes:
        preprocessing: of the pixels. told: (task, done, total).
    """

    model: Headed
    recipe: Recipe
    train: Part
    validation: Part | None
    preprocessing: Preprocessing
    where: Where
    folder: Path
    told: Told


@dataclass(frozen=True)
class Outcome:
    """What a training said.

    Attributes:
        history: a row an epoch: epoch, step, loss (mean), and val_… with intervals where it validates; epoch 0 is
            before any step.
        best: epoch whose weights are kept. images: trained on, in all epochs of this process. seconds: they took.
        facts: classes, images, what the sampler reports, unreadable items: JSON values.
    """

    history: list[dict[str, float]]
    best: int
    images: int
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)


def fit(fitting: Fitting) -> Outcome:
    """Train to the end and leave the chosen weights in the model.

    Raises:
        TrainingDiverged, BadConfig, CorruptInput.
    """
    _freeze(fitting.model.encoder, fitting.recipe.trainer.frozen)
    names, classes = np.unique(fitting.train.labels, return_inverse=True)
    check = None if fitting.validation is None else fitting.validation.pixels
    feed = Feed(fitting.train.pixels, check, classes.astype(np.int64), fitting.recipe.sampler, fitting.where.seed)
    learner = _learner(fitting, classes.astype(np.int64), len(names), feed.steps)
    bar = _Told(fitting.told, fitting.recipe.trainer.epochs)
    trainer = _trainer(fitting, bar)
    last = fitting.folder / f"{LAST}.ckpt"
    try:
        with warnings.catch_warnings(), kept_heap():
            for said in _LIGHTNING_SAYS:
                warnings.filterwarnings("ignore", message=said)
            if fitting.validation is not None and not last.is_file():  # where the curve begins: epoch 0
                trainer.validate(learner, datamodule=feed, verbose=False)
            trainer.fit(learner, datamodule=feed, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    except SystemExit as stop:
        raise _stopped(stop) from None
    except (RuntimeError, KeyError, EOFError) as error:
        if last.is_file() and ("state_dict" in str(error) or "size mismatch" in str(error) or "Weights" in str(error)):
            told = str(error).splitlines()[0]
            raise CorruptInput(f"{last} cannot be taken up ({told}); delete {fitting.folder} and train anew") from error
        raise
    if not trainer.is_global_zero:  # a helper process of this training: the first one goes on alone
        raise SystemExit(0)
    remarks = feed.sampler.remarks()
    for remark in remarks:
        _log.warning(remark)
    unreadable = [bad for part in (fitting.train.pixels, check) if part is not None for bad in part.unreadable]
    facts = {"n_classes": len(names), "n_train": len(classes), "sampler": feed.sampler.report(), "remarks": remarks}
    best = _take_best(fitting, learner)
    return Outcome(learner.history, best, bar.images, bar.seconds, facts | {"unreadable": unreadable})


def _stopped(stop: SystemExit) -> BaseException:
    """What Lightning made of a signal, as the rest of the program expects it."""
    if isinstance(stop, SIGTERMException):
        return SystemExit(128 + signal.SIGTERM)
    if isinstance(stop.__context__, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning leaves it ignored
        return KeyboardInterrupt()
    return stop


def _freeze(encoder: Encoder, prefixes: tuple[str, ...]) -> None:
    names = [name for name, _ in encoder.named_parameters()]
    for prefix in prefixes:
        held = [name for name in names if name.removeprefix("backbone.").startswith(prefix)]
        if not held:
            parts = sorted({name.removeprefix("backbone.").split(".")[0] for name in names})
            raise BadConfig(f"trainer.frozen: the encoder has no part {prefix!r}; its parts are {', '.join(parts)}")
        for name in held:
            encoder.get_parameter(name).requires_grad_(False)


def _learner(fitting: Fitting, classes: NDArray[np.int64], n_classes: int, steps: Callable[[], int]) -> Learner:
    recipe = fitting.recipe
    model: Headed = fitting.model.to(memory_format=torch.channels_last)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fitting.where.seed)
        loss = recipe.loss(dim=model.dim, n_classes=n_classes)
        miner = None if recipe.miner is None else recipe.miner()
    if miner is not None and not loss.mines:
        raise BadConfig(
            f"loss={type(loss).__name__} has no use for a miner; type miner=null or loss={' or '.join(MINING)}"
        )
    return Learner(
        model,
        loss,
        miner,
        recipe.optimizer,
        recipe.augment,
        fitting.preprocessing,
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
    labels, ids = fitting.validation.labels, fitting.validation.ids
    similarity, seed = fitting.where.similarity, fitting.where.seed

    def judge(rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> dict[str, float]:
        some = Embeddings(ids[rows], vectors, labels[rows], fingerprint="validation")
        truth = GroundTruth(some.ids, some.ids, query_labels=labels[rows], gallery_labels=labels[rows])
        metrics = {"map_at_r": partial(map_at_r), "hit_rate": partial(hit_rate)}
        stage = Stage("validation", some, some, truth, similarity, metrics, (1,), seed, float("nan"))
        found: dict[str, float] = {}
        for name, interval in bootstrap_columns(exact_search(stage, 1, 1).values, seed).items():
            found |= {name: interval.value, f"{name}_lo": interval.lo, f"{name}_hi": interval.hi}
        return found

    return judge


def _trainer(fitting: Fitting, bar: Callback) -> pl.Trainer:
    settings = fitting.recipe.trainer
    keep = partial(ModelCheckpoint, dirpath=fitting.folder, enable_version_counter=False, save_on_exception=False)
    interval = timedelta(minutes=settings.checkpoint_minutes)
    callbacks: list[Callback] = [
        bar,
        _OnSignal(fitting.folder / f"{LAST}.ckpt"),
        keep(filename=LAST, train_time_interval=interval),
        keep(filename=LAST, every_n_epochs=1, save_on_train_epoch_end=True),
    ]
    if fitting.validation is not None:
        callbacks.append(keep(filename=BEST, monitor=CHOSEN_BY, mode="max", save_weights_only=True))
    if settings.patience is not None:
        callbacks.append(EarlyStopping(CHOSEN_BY, mode="max", patience=settings.patience))
    if settings.ema is not None:
        callbacks.append(EMAWeightAveraging(decay=settings.ema))
    return pl.Trainer(
        max_epochs=settings.epochs,
        precision="bf16-mixed" if settings.precision is Precision.BFLOAT16 else "32-true",
        gradient_clip_val=settings.gradient_clip,
        accumulate_grad_batches=settings.accumulate,
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


def _take_best(fitting: Fitting, learner: Learner) -> int:
    """Fill the model with the chosen epoch's weights; returns that epoch."""
    best = fitting.folder / f"{BEST}.ckpt"
    if fitting.validation is None or not best.is_file():
        return int(learner.history[-1]["epoch"])
    kept = torch.load(best, map_location="cpu", weights_only=True)
    learner.load_state_dict(kept["state_dict"], strict=False)
    return int(kept["epoch"]) + 1


class _OnSignal(Callback):
    """Where the system asks to stop, between two batches, a checkpoint is left."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, SIGTERMException):
            trainer.save_checkpoint(self._file)


class _Told(Callback):
    """Tells how far training is, with the last validation; counts images and the time that their batches take."""

    def __init__(self, told: Told, epochs: int) -> None:
        self.images, self.seconds = 0, 0.0
        self._told, self._epochs = told, epochs
        self._begin = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin = perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = perf_counter()
        self.images += len(batch[1]) * trainer.world_size
        self.seconds, self._begin = self.seconds + now - self._begin, now
        if trainer.is_global_zero:
            last = trainer.callback_metrics.get(CHOSEN_BY)
            so_far = "" if last is None else f" (map_at_r {float(last):.3f})"
            task = f"train, epoch {trainer.current_epoch + 1} of {self._epochs}{so_far}"
            self._told(task, batch_idx + 1, int(trainer.num_training_batches))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin = perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin = perf_counter()
