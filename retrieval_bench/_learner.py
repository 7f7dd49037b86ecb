"""Encoder, head and loss as Lightning sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from retrieval_bench._look import Inputs, Look
from retrieval_bench.encoder.base import Headed
from retrieval_bench.errors import TrainingDiverged
from retrieval_bench.loss.base import Loss, Miner, gathered
from retrieval_bench.optimizer import Optimizer

Judge = Callable[[NDArray[np.int64], NDArray[np.float32]], Mapping[str, float]]


# What is stored of some items, on the CPU; and their rows in it, int64 [b], on the device.
Batch = tuple[Inputs, Tensor]


class Learner(pl.LightningModule):
    """One step: look (augment, encode, project), gather from all processes, mine, lose.

    Args:
        model: encoder with its head. loss, miner: see `retrieval_bench.loss.base`.
        optimizer: learning rates and schedule. look: from what is stored to vectors.
        freeze_batch_norm: leave running statistics as they are.
        classes: int64 [n], 0 … n_classes - 1, of each row that is trained on. seed: of everything random in a step.
        judge: what validation says of vectors [n, dim] of rows [n]. steps: of the optimizer, in all epochs.
    """

    def __init__(  # noqa: PLR0917
        self,
        model: Headed,
        loss: Loss,
        miner: Miner | None,
        optimizer: Optimizer,
        look: Look,
        freeze_batch_norm: bool,
        classes: Tensor,
        seed: int,
        judge: Judge,
        steps: Callable[[], int],
    ) -> None:
        super().__init__()
        self.model, self.loss, self.miner, self.look = model, loss, miner, look
        self.history: list[dict[str, float]] = []
        self.images, self.seconds = 0, 0.0  # trained on, in all processes; that took
        self._rates, self._judge, self._steps = optimizer, judge, steps
        self._freeze_batch_norm, self._seed = freeze_batch_norm, seed
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._losses: list[float] = []
        self._rows: list[int] = []  # of the last batch
        self._inputs: Inputs | None = None  # of this process
        self.classes: Tensor
        self.register_buffer("classes", classes, persistent=False)

    def train(self, mode: bool = True) -> Learner:
        """As in torch; batch norms may stay in evaluation."""
        super().train(mode)
        for module in self.model.modules() if mode else ():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                still = not any(parameter.requires_grad for parameter in module.parameters(recurse=False))
                if self._freeze_batch_norm or still:  # what is not trained stays as it is
                    module.eval()
        return self

    def on_train_start(self) -> None:
        """Lightning leaves modules in the mode that it finds them in."""
        self.train()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch, over the embeddings of all processes."""
        inputs, mine = batch
        vectors = self.look(self.model, inputs, self._seeded(batch_idx))
        vectors, rows = gathered(vectors.float(), mine)
        labels = self.classes[rows]
        finite = torch.isfinite(vectors).all(dim=1)
        if not finite.all():  # not left to the loss: some leave such terms out, and miners fail on them
            # Where nothing is finite the weights are not, and it was the step before that made them so.
            before = self._rows if self._rows and not finite.any() else rows.tolist()
            raise TrainingDiverged("embeddings are not finite numbers", before)
        pairs = None if self.miner is None else self.miner(vectors, labels)
        loss: Tensor = self.loss(vectors, labels, pairs, rows)
        if not torch.isfinite(loss):
            raise TrainingDiverged(f"the loss is {float(loss.detach())}", rows.tolist())
        self._losses.append(float(loss.detach()))
        self._rows, self._inputs = rows.tolist(), inputs
        return loss

    def _seeded(self, batch_idx: int) -> torch.Generator:
        """Everything random of a step hangs on its place alone, so that a resumed training repeats it."""
        place = [self._seed % 2**32, self.global_rank, self.current_epoch, batch_idx]
        drawn = np.random.SeedSequence(place).generate_state(2, np.uint32).astype(np.int64)
        torch.manual_seed(int(drawn[0]))  # of dropout, say
        return torch.Generator().manual_seed(int(drawn[1]))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect the embeddings of the validation items."""
        del batch_idx
        inputs, rows = batch
        self._seen.append((rows, self.look(self.model, inputs, None).float()))

    def on_validation_epoch_end(self) -> None:
        """Exact retrieval among the validation items, each counted once, however many processes saw it."""
        mine = (torch.cat([rows for rows, _ in self._seen]), torch.cat([vectors for _, vectors in self._seen]))
        rows, vectors = (values.detach().cpu().numpy() for values in gathered(*mine))
        self._seen = []
        if self._rows and not np.isfinite(vectors).all():
            raise TrainingDiverged("embeddings of validation items are not finite numbers", self._rows)
        rows, first = np.unique(rows, return_index=True)
        found = self._judge(rows, vectors[first])
        self.log_dict({f"val_{name}": value for name, value in found.items()}, rank_zero_only=False, sync_dist=False)
        if not self.trainer.sanity_checking:
            self._note({f"val_{name}": value for name, value in found.items()})

    def on_train_epoch_end(self) -> None:
        """Where nothing validates, the history still has a line an epoch.

        Raises:
            TrainingDiverged: the last step has made the weights useless; no loss tells of it.
        """
        if not self.history or self.history[-1]["epoch"] != self.current_epoch + 1:
            self._need_use()
            self._note({})

    def _need_use(self) -> None:
        if self._inputs is None:
            return
        self.eval()
        with torch.no_grad():
            wrong = not bool(torch.isfinite(self.look(self.model, self._inputs, None)).all())
        self.train()
        if self.trainer.strategy.reduce_boolean_decision(wrong, all=False):
            raise TrainingDiverged("embeddings are not finite numbers after the last step", self._rows)

    def _note(self, found: Mapping[str, float]) -> None:
        mean = float(np.mean(self._losses)) if self._losses else float("nan")
        epoch = self.current_epoch + 1 if self.trainer.state.fn == "fit" else 0
        self.history.append({"epoch": epoch, "step": self.global_step, "loss": mean, **found})
        self._losses = []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the history, and what was counted so far."""
        checkpoint["history"], checkpoint["losses"] = list(self.history), list(self._losses)
        checkpoint["counted"] = {"images": self.images, "seconds": self.seconds}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them up again."""
        self.history, self._losses = list(checkpoint["history"]), list(checkpoint["losses"])
        self.images, self.seconds = checkpoint["counted"]["images"], checkpoint["counted"]["seconds"]

    def configure_optimizers(self) -> Any:
        """The optimizer, its rates multiplied by the schedule after every step."""
        optimizer = self._rates.over(self.model.encoder, self.model.head, self.loss)
        steps = self._steps()
        schedule = LambdaLR(optimizer, lambda step: self._rates.schedule.factor(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
