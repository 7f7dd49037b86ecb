"""What Lightning asks for batches: of the sampler in training, a share of the items in validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from retrieval_bench._learner import Batch
from retrieval_bench._stored import Loader, Stored
from retrieval_bench.sampler import BatchSampler

VALIDATION_BATCH = 128


class Feed(pl.LightningDataModule):
    """Batches of this process.

    Args:
        train, validation: what is read. classes: int64 [n] of what is trained on.
        sampler: completed with labels, seed, rank and world, which are known once Lightning has its processes.
    """

    def __init__(
        self,
        train: Stored,
        validation: Stored | None,
        classes: NDArray[np.int64],
        sampler: Callable[..., BatchSampler],
        seed: int,
    ) -> None:
        super().__init__()
        self._train, self._validation, self._classes = train, validation, classes
        self._sampler, self._seed = sampler, seed
        self._made: BatchSampler | None = None

    @property
    def validates(self) -> bool:
        """Whether there is something to validate on."""
        return self._validation is not None

    @property
    def sampler(self) -> BatchSampler:
        """Of this process."""
        if self._made is None:
            trainer = self._of_lightning()
            rank, world = trainer.global_rank, trainer.world_size
            self._made = self._sampler(labels=self._classes, seed=self._seed, rank=rank, world=world)
        return self._made

    def steps(self) -> int:
        """Of the optimizer, in all epochs.

        Lightning's own count (`estimated_stepping_batches`) asks for the loader before a checkpoint is restored, and
        the loader's place is then never restored.
        """
        trainer = self._of_lightning()
        return len(self.sampler) // trainer.accumulate_grad_batches * (trainer.max_epochs or 0)

    def train_dataloader(self) -> Loader:
        """Read by Lightning, once."""
        return Loader(self._train, self.sampler)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Inputs stay where they are until they are changed: what changes bytes has kernels for the CPU only."""
        del dataloader_idx
        return batch[0], batch[1].to(device)

    def val_dataloader(self) -> list[Batch] | ValidationBatches:
        """Read by Lightning before each validation; nothing where none is wanted."""
        if self._validation is None:
            return []
        trainer = self._of_lightning()
        return ValidationBatches(self._validation, trainer.global_rank, trainer.world_size)

    def _of_lightning(self) -> pl.Trainer:
        if self.trainer is None:
            raise RuntimeError("Lightning attaches its trainer before it asks for batches")
        return self.trainer


class ValidationBatches:
    """Every `world`th item from `rank` on; the last is repeated so that all processes have as many."""

    def __init__(self, items: Stored, rank: int, world: int) -> None:
        self._items = items
        count = math.ceil(len(items) / world)
        self._rows = np.minimum(rank + world * np.arange(count), len(items) - 1)

    def __len__(self) -> int:
        return math.ceil(len(self._rows) / VALIDATION_BATCH)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self._rows), VALIDATION_BATCH):
            rows = self._rows[start : start + VALIDATION_BATCH]
            yield self._items.batch(rows), torch.from_numpy(rows)
