"""What a training step costs beside a plain script, and beside the bare forward and backward pass.

python experiments/training_cost/run.py --data FOLDER        # FOLDER/cars196_112; about 10 minutes on two cores

EfficientNet-Lite0 at 112 px, 128-d head, Proxy-Anchor, 16 × 4 images a batch, frozen batch norm, float32. In turn,
`--rounds` times, each in a process of its own, after warm-up steps: (a) the plain script: pixels in memory, one random
crop and flip a batch, PyTorch's own loop; (b) retrieval_bench: pixel cache, sampler, a crop and flip an image, and
Lightning;
(c) forward and backward on random tensors, without optimizer; (d) as (c), with memory kept as (b) does
(`retrieval_bench/_heap.py`). Images a second, medians, in `table.csv`.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from retrieval_bench._heap import kept_heap
from retrieval_bench.cli import experiment
from retrieval_bench.data.base import Dataset

HERE = Path(__file__).parent
CLASSES, PER_CLASS, SIDE, WARM_UP = 16, 4, 112, 3
KINDS = ("plain script", "retrieval_bench", "forward and backward", "forward and backward, memory kept")


def settings(data: Path, batches: int, seed: int, cache: str) -> list[str]:
    """Our side, as on the command line."""
    return [
        *("data=cars196", f"data.root={data / 'cars196_112'}", "stage=[trained]", "trainer.validate=false"),
        *("trainer.epochs=1", f"sampler.batches={batches}", f"seed={seed}", f"paths.cache={cache}", "logger=[]"),
    ]


def plain(data: Path, batches: int) -> float:
    """Images a second of the plain script."""
    from pytorch_metric_learning.losses import ProxyAnchorLoss

    made = experiment(settings(data, batches, 0, tempfile.gettempdir()))
    assert isinstance(made.data, Dataset)
    items = made.data.train()
    images = np.stack([items.read(row)["image"] for row in range(len(items))])
    labels = np.unique(np.asarray(items.labels), return_inverse=True)[1]
    encoder, head = fresh()
    loss = ProxyAnchorLoss(len(np.unique(labels)), 128)
    rates = ((encoder, 1e-4), (head, 1e-3), (loss, 1e-2))
    optimizer = torch.optim.AdamW([{"params": m.parameters(), "lr": lr} for m, lr in rates], weight_decay=1e-4)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    frozen(encoder)

    def step() -> None:
        chosen = random.sample(range(len(members)), CLASSES)
        rows = np.concatenate([np.random.choice(members[c], PER_CLASS, replace=False) for c in chosen])
        batch = torch.from_numpy(images[rows]).permute(0, 3, 1, 2).float()
        side, flip = random.randint(80, SIDE), random.random() < 0.5
        top, left = random.randint(0, SIDE - side), random.randint(0, SIDE - side)
        batch = F.interpolate(batch[:, :, top : top + side, left : left + side], SIDE, mode="bilinear")
        batch = ((batch.flip(3) if flip else batch) - 127) / 128
        out = head(encoder(batch.contiguous(memory_format=torch.channels_last)))
        optimizer.zero_grad()
        loss(out, torch.from_numpy(labels[rows])).backward()
        optimizer.step()

    return rate(step, batches)


def bare(batches: int) -> float:
    """Images a second of forward and backward on random tensors."""
    encoder, head = fresh()
    frozen(encoder)
    batch = torch.randn(CLASSES * PER_CLASS, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        encoder.zero_grad()
        head(encoder(batch)).square().mean().backward()

    return rate(step, batches)


def ours(data: Path, batches: int, seed: int, cache: str) -> float:
    """Images a second of `stage=[trained]` between its batches, the first few left out as everywhere here."""
    from retrieval_bench.train import Where, train

    made = experiment(settings(data, batches + WARM_UP, seed, cache))
    assert isinstance(made.data, Dataset) and made.recipe is not None
    where = Where(made.cache, made.seed, made.similarity, made.embed)
    ends: list[float] = []

    def told(task: str, done: int, total: int) -> None:
        if task.startswith("train"):
            ends.append(time.perf_counter())

    train(made.encoders["trained"](), made.recipe(), made.data, where, told)
    return batches * CLASSES * PER_CLASS / (ends[-1] - ends[WARM_UP - 1])


def fresh() -> tuple[nn.Module, nn.Module]:
    """Pretrained encoder and a new head."""
    made = experiment(["data=digits", "stage=[trained]"]).encoders["trained"]()
    return Single(made).to(memory_format=torch.channels_last), nn.Linear(made.dim, 128)


class Single(nn.Module):
    """An encoder that takes a tensor."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[b, 3, size, size] → [b, dim]."""
        out: torch.Tensor = self.encoder({"image": images})
        return out


def frozen(model: nn.Module) -> None:
    """Batch norms in evaluation."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def rate(step: Callable[[], None], batches: int) -> float:
    """Images a second after warm-up steps."""
    for _ in range(WARM_UP):
        step()
    begin = time.perf_counter()
    for _ in range(batches):
        step()
    return batches * CLASSES * PER_CLASS / (time.perf_counter() - begin)


def one(kind: str, data: Path, batches: int, number: int, cache: str) -> float:
    """One measurement."""
    if kind == KINDS[0]:
        return plain(data, batches)
    if kind == KINDS[1]:
        return ours(data, batches, number, cache)
    if kind == KINDS[2]:
        return bare(batches)
    with kept_heap():
        return bare(batches)


def main() -> None:
    """Measure in turn and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("KIND", "NUMBER", "CACHE"), help="one measurement, for itself")
    args = parser.parse_args()
    if args.one:
        print(one(args.one[0], args.data, args.batches, int(args.one[1]), args.one[2]))
        return
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as cache:
        for number in range(args.rounds):
            for kind in KINDS:
                command = [sys.executable, __file__, "--data", str(args.data), "--batches", str(args.batches)]
                command += ["--one", kind, str(number), cache]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found[kind].append(float(done.stdout.split()[-1]))
                print(f"{kind}: {found[kind][-1]:.1f} images/s", flush=True)
    mine = median(found["retrieval_bench"])
    rows = [(kind, median(values), min(values), max(values), mine / median(values)) for kind, values in found.items()]
    table = pd.DataFrame(rows, columns=["what", "images_per_s", "lowest", "highest", "ours_over_it"])
    table.round(3).to_csv(HERE / "table.csv", index=False)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
