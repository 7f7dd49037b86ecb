"""Chooses the recipe for Cars196 on its validation classes; the test classes are never read here.

python experiments/cars196/choose.py --data FOLDER [NAME …]     # FOLDER/cars196_112

Every candidate trains on classes 1 – 84 and is judged on 85 – 98, all from the same seed. `candidates.csv` gets a row
for each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from retrieval_bench.cli import experiment
from retrieval_bench.data.base import Dataset

HERE = Path(__file__).parent
CANDIDATES: dict[str, list[str]] = {
    "default": [],
    "backbone_lr=3e-4": ["optimizer.backbone_lr=3e-4"],
    "backbone_lr=5e-5": ["optimizer.backbone_lr=5e-5"],
    "layer norm before the head": ["head.normalise=true"],
    "gem": ["pool=gem"],
    "batch norm learns": ["trainer.freeze_batch_norm=false"],
    "long warm-up": ["optimizer.schedule.warm_up=0.25"],
    "32 classes x 2": ["sampler.classes=32", "sampler.per_class=2"],
    "multi_similarity": ["loss=multi_similarity"],
}


def validated(name: str, data: Path, epochs: int, seed: int) -> dict[str, object]:
    """Train one candidate, or take it from the cache; the last epoch's validation."""
    from retrieval_bench.train import Where, train

    overrides = ["data=cars196", f"data.root={data / 'cars196_112'}", "stage=[trained]", f"trainer.epochs={epochs}"]
    made = experiment([*overrides, f"seed={seed}", *CANDIDATES[name]])
    assert isinstance(made.data, Dataset) and made.recipe is not None

    def told(task: str, done: int, total: int) -> None:
        print(f"\r{name}: {task} {done}/{total}", end="\033[K", flush=True)

    where = Where(made.cache, made.seed, made.similarity, made.embed)
    _, outcome, _ = train(made.encoders["trained"](), made.recipe(), made.data, where, told)
    last = outcome.history[-1]
    names = ("loss", "val_map_at_r", "val_hit_rate@1", "val_hit_rate@1_lo", "val_hit_rate@1_hi")
    curve = " ".join(f"{row['val_hit_rate@1']:.3f}" for row in outcome.history)
    found = {key: round(last[key], 4) for key in names} | {"curve": curve}
    return {"candidate": name, "overrides": " ".join(CANDIDATES[name]), "epochs": epochs, "seed": seed, **found}


def main() -> None:
    """Train the candidates that are named, or all, and add them to the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("names", nargs="*", default=list(CANDIDATES))
    args = parser.parse_args()
    table = HERE / "candidates.csv"
    for name in args.names:
        row = validated(name, args.data, args.epochs, args.seed)
        print(f"\n{row}", flush=True)
        rows = [pd.read_csv(table), pd.DataFrame([row])] if table.is_file() else [pd.DataFrame([row])]
        pd.concat(rows).drop_duplicates(["candidate", "epochs", "seed"], keep="last").to_csv(table, index=False)


if __name__ == "__main__":
    main()
