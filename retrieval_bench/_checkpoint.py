"""Checkpoints of a training: taken only where going on from them is exact, and read with care."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping
from pytorch_lightning.utilities.exceptions import SIGTERMException

from retrieval_bench.encoder.base import differences, read_torch
from retrieval_bench.errors import CorruptInput

CHOSEN_BY = "val_map_at_r"
LAST, BEST = "last.ckpt", "best.ckpt"


class Keeper(Checkpoint):
    """Leaves the last state of a training, and that of the epoch with the best validation.

    In the middle of an epoch only after a step of the optimizer, and not after the last batch: between it and the end
    of the epoch there is a validation, which Lightning would skip when it goes on from there. On SIGTERM likewise.
    Lightning calls this after all other callbacks, so that the state of an early stop is in it.

    Args:
        folder: where the two files lie. minutes: between two states within an epoch.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        self._last, self._best = folder / LAST, folder / BEST
        self._period, self._since = 60 * minutes, 0.0
        self._exact_here = False
        self._highest = float("-inf")

    def state_dict(self) -> dict[str, Any]:
        """What the best epoch reached."""
        return {"highest": self._highest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up again."""
        self._highest = float(state_dict["highest"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A training that stopped early, and was killed before its end, is at its end."""
        self._since = perf_counter()
        stops = [callback for callback in trainer.callbacks if isinstance(callback, EarlyStopping)]  # type: ignore[attr-defined]
        trainer.should_stop = trainer.should_stop or any(stop.stopped_epoch for stop in stops)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """From here to the end of the step nothing can be kept."""
        self._exact_here = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the state where the time has come."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        self._exact_here = stepped and batch_idx + 1 < trainer.num_training_batches
        if self._exact_here and self._due(trainer):
            self._keep(trainer)

    def _due(self, trainer: pl.Trainer) -> bool:
        """The same in all processes, whose clocks differ: one that kept alone would wait for the others for ever."""
        due = perf_counter() - self._since >= self._period
        return bool(trainer.strategy.reduce_boolean_decision(due, all=False))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the epoch if it is the best, then the state."""
        value = trainer.callback_metrics.get(CHOSEN_BY)
        if value is not None and float(value) > self._highest:
            self._highest = float(value)
            trainer.save_checkpoint(self._best)
        self._keep(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Where the system asks to stop, a state is left if it can be."""
        if isinstance(exception, SIGTERMException) and self._exact_here:
            self._keep(trainer)

    def _keep(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self._last)
        self._since = perf_counter()


def need_usable(file: Path, module: pl.LightningModule) -> None:
    """Look at a checkpoint before Lightning takes it.

    Raises:
        CorruptInput: it is damaged, holds pickled objects, or is of another architecture (names the first tensors).
    """
    try:
        wrong = differences(module.state_dict(), read_torch(file))
        if wrong:
            raise CorruptInput(f"it is of another architecture: {wrong}")
    except CorruptInput as error:
        raise CorruptInput(f"{file} cannot be taken up ({error}); delete {file.parent} and train anew") from error


def take(file: Path, module: pl.LightningModule) -> int:
    """Fill a module with what a checkpoint keeps for use (with a moving average, that); returns the epochs it took."""
    kept = torch.load(file, map_location="cpu", weights_only=True)
    module.load_state_dict(kept["state_dict"])
    return int(kept["epoch"]) + 1
