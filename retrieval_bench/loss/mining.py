"""Miners of pytorch-metric-learning behind one interface; the yaml names the library's class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from retrieval_bench.loss.base import Miner, Pairs


class LibraryMiner(Miner):
    """Rows chosen by a miner of the library, in float32 whatever autocast says.

    What is drawn at random hangs on the seed and on the number of batches mined so far, which is in the state: equal in
    all processes and after a resume. Torch's own generators are left as they were.

    Args:
        miner: completed with nothing: makes the library's miner.
        seed: of what the miner draws.
    """

    batches: Tensor  # mined so far, in training

    def __init__(self, miner: partial[nn.Module], seed: int = 0) -> None:
        super().__init__()
        self.miner: Any = miner()
        self.seed = seed
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Pairs:
        """As in `Miner`."""
        precise = embeddings.detach()
        precise = precise if precise.dtype == torch.float64 else precise.float()
        with torch.autocast(embeddings.device.type, enabled=False), self._drawing(embeddings.device):
            indices: tuple[Tensor, ...] = self.miner(precise, labels)
        if self.training:
            self.batches.add_(1)
        return Pairs.of(indices)

    @contextmanager
    def _drawing(self, device: torch.device) -> Iterator[None]:
        """Torch's generators at the place that belongs to this batch."""
        entropy = np.random.SeedSequence([self.seed % 2**63, int(self.batches)])
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(int(entropy.generate_state(1)[0]))
            yield
