"""Epochs of batches that any number of processes share, and that go on where a checkpoint was taken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig


class BatchSampler(ABC):
    """Endless epochs of batches; iterating gives one process's part of the batches of the current epoch.

    For Lightning this is the `sampler` of a loader (not its `batch_sampler`, whose epoch Lightning does not set), with
    `Trainer(use_distributed_sampler=False)`. Iterating twice without `set_epoch` gives the same batches twice.

    Args:
        order: what decides the batches, as JSON values; kept in the state, so that another order is refused.
        batches: batches of an epoch.
        rank, world: which of how many processes this is.

    Attributes:
        epoch: as last set.
        position: how many batches of this epoch were given out. A loader that reads ahead keeps its own count.
    """

    def __init__(self, order: Mapping[str, Any], batches: int, rank: int, world: int) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"process {rank} of {world}")
        self._order, self._batches, self._rank, self._world = dict(order), batches, rank, world
        self.epoch = self.position = self._resume_at = 0

    @abstractmethod
    def plan(self, epoch: int) -> NDArray[np.int64]:
        """Rows of all batches of an epoch, for all processes: [batches, images of a batch]."""

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """What the batches are made of, as JSON values for the record."""

    def remarks(self) -> list[str]:
        """Sentences for the user about classes that cannot be drawn as asked."""
        return []

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[int]]:
        """Rows of each batch [images / world]; after `load_state_dict`, those that were left, once."""
        self.position, self._resume_at = self._resume_at, 0
        parts = self.plan(self.epoch).reshape(self._batches, self._world, -1)[:, self._rank]
        for i in range(self.position, self._batches):
            self.position = i + 1
            yield parts[i].tolist()

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration gives. Setting the current one again changes nothing."""
        if epoch != self.epoch:
            self.epoch, self.position, self._resume_at = epoch, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Epoch, position in it and what decides the batches, as JSON values; the same in every process."""
        return {"epoch": self.epoch, "position": self.position, "order": self._order}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken; the number of processes may be another one now.

        Raises:
            BadConfig: the state is of other batches: other data, settings or seed.
        """
        then, now = dict(state["order"]), self._order
        other = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
        if other:
            raise BadConfig(
                "the checkpoint was made with other batches: "
                + ", ".join(f"{name} {then.get(name)} (now {now.get(name)})" for name in other)
                + "; type the data, sampler and seed of then to go on, or start from the beginning"
            )
        if not 0 <= state["position"] <= self._batches:
            raise BadConfig(f"the checkpoint is damaged: it is at batch {state['position']} of {self._batches}")
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
        self._resume_at = self.position


def need_whole(settings: Mapping[str, int]) -> None:
    """Numbers of 1 or more, or BadConfig."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise BadConfig(f"sampler.{name}={value}: type a whole number of 1 or more")


def multiple(most: int, of: int) -> int:
    """The largest multiple of `of` up to `most`."""
    return most - most % of


def need_shared(name: str, value: int, world: int) -> None:
    """A setting that the number of processes divides, or BadConfig."""
    if value % world:
        raise BadConfig(
            f"sampler.{name}={value} cannot be shared alike by {world} processes; type"
            f" sampler.{name}={max(world, multiple(value, world))}"
        )


def origin(labels: NDArray[np.int64], seed: int) -> dict[str, Any]:
    """What every order of batches hangs on."""
    digest = blake2b(np.ascontiguousarray(labels, np.int64).tobytes(), digest_size=8)
    return {"seed": seed, "labels": digest.hexdigest()}
