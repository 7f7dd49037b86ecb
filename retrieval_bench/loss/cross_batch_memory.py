"""Cross-batch memory: embeddings of past batches are compared with, too."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from retrieval_bench.errors import BadConfig
from retrieval_bench.loss.base import REFERRING, Batch, Loss, References


class CrossBatchMemory(Loss):
    """Another loss, of the batch compared with itself and with the newest embeddings of past batches.

    Wang, Zhang, Huang, Scott: Cross-Batch Memory for Embedding Learning, CVPR 2020. As if the batch were larger by the
    memory, with anchors and gradients of its own items alone; with an empty memory it is the other loss. An item is no
    positive of itself: its own row is left out by position, and its older copies in the memory by their id, where ids
    are given. The batch enters the memory after its loss, and in training mode only.

    All of the memory, with position, fill and steps, is in the state, so that a resumed run goes on as it would have.

    Args:
        loss: completed with `dim` and `n_classes`: the other loss, one that can refer to more than the batch.
        memory_size: embeddings kept, the oldest replaced first.
        start_step: steps of the other loss alone, before the memory is filled and used: embeddings change too fast
            at first.

    Raises:
        BadConfig: a loss that cannot refer, or a size or step out of range.
    """

    memory: Tensor  # [memory_size, dim]
    memory_labels: Tensor  # int64 [memory_size]
    memory_ids: Tensor  # int64 [memory_size], -1 where no id was given
    position: Tensor  # row that is written next
    fill: Tensor  # rows that hold something: the first ones
    step: Tensor  # training steps so far

    def __init__(
        self, dim: int, n_classes: int | None, loss: partial[Loss], memory_size: int = 1024, start_step: int = 100
    ) -> None:
        super().__init__(dim, n_classes)
        if memory_size < 1 or start_step < 0:
            raise BadConfig(
                f"loss.memory_size={memory_size} loss.start_step={start_step}: type a size of 1 or more and a step of "
                f"0 or more"
            )
        self.loss = loss(dim=dim, n_classes=n_classes)
        if not self.loss.refers:
            raise BadConfig(
                f"{type(self.loss).__name__}, as configured, cannot compare a batch with a memory; type one of "
                f"loss@loss.loss={', loss@loss.loss='.join(REFERRING)}"
            )
        self.memory_size, self.start_step = memory_size, start_step
        self.register_buffer("memory", torch.zeros(memory_size, dim))
        self.register_buffer("memory_labels", torch.zeros(memory_size, dtype=torch.int64))
        self.register_buffer("memory_ids", torch.full((memory_size,), -1))
        for name in ("position", "fill", "step"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    def compute(self, batch: Batch) -> Tensor:
        """As in `Loss`; in training mode the batch then enters the memory."""
        started = int(self.step) >= self.start_step
        value = self.loss.against(batch, self._references(batch)) if started else self.loss.compute(batch)
        if self.training:
            self.step.add_(1)
            if started:
                self._enqueue(batch)
        return value

    def _references(self, batch: Batch) -> References:
        """The batch itself, then the memory."""
        fill = int(self.fill)
        own = torch.eye(len(batch.labels), dtype=torch.bool, device=batch.labels.device)
        ids = torch.full_like(batch.labels, -1) if batch.ids is None else batch.ids
        copies = (ids[:, None] == self.memory_ids[:fill]) & (ids[:, None] >= 0)
        return References(
            torch.cat([batch.embeddings, self.memory[:fill].to(batch.embeddings.dtype)]),
            torch.cat([batch.labels, self.memory_labels[:fill]]),
            torch.cat([own, copies], dim=1),
        )

    @torch.no_grad()
    def _enqueue(self, batch: Batch) -> None:
        """Write the batch over the oldest rows; of one larger than the memory, its last rows."""
        newest = slice(-self.memory_size, None)
        labels = batch.labels[newest]
        rows = (self.position + torch.arange(len(labels), device=labels.device)) % self.memory_size
        self.memory[rows] = batch.embeddings[newest].to(self.memory.dtype)
        self.memory_labels[rows] = labels
        self.memory_ids[rows] = -1 if batch.ids is None else batch.ids[newest]
        self.position.copy_((self.position + len(labels)) % self.memory_size)
        self.fill.copy_(torch.clamp(self.fill + len(labels), max=self.memory_size))
