"""The chosen recipe on Cars196: exact hit_rate@1 on the test classes after every epoch, several training seeds.

python experiments/cars196/curve.py --data FOLDER --epochs 8 --seeds 0 1 2     # FOLDER/cars196_112; 15 min a seed

`experiment=cars196` holds the recipe, which was chosen on validation classes (`choose.py`) before the test classes were
looked at. Here it is trained on all classes 1 – 98. The test classes are read after each epoch for the sake of the
curve; nothing is chosen by them: the result is that of the last epoch. Adds to `curve.csv` and prints the mean over
seeds with its 95 % t-interval.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from retrieval_bench.cli import experiment
from retrieval_bench.data.base import Dataset, Items
from retrieval_bench.seeds import t_interval
from retrieval_bench.types import GroundTruth

HERE = Path(__file__).parent
COLUMNS = ["epoch", "loss", "val_hit_rate@1", "val_hit_rate@1_lo", "val_hit_rate@1_hi", "val_map_at_r"]


class Watched(Dataset):
    """A data set whose test part is looked at after every epoch."""

    def __init__(self, data: Dataset) -> None:
        self._data, self.name, self.image_size = data, data.name, data.image_size

    def train(self) -> Items:
        """All training classes."""
        return self._data.train()

    def validation(self) -> Items:
        """The test part."""
        return self._data.gallery()

    def queries(self) -> Items:
        """As it is."""
        return self._data.queries()

    def gallery(self) -> Items:
        """As it is."""
        return self._data.gallery()

    def truth(self) -> GroundTruth | None:
        """As it is."""
        return self._data.truth()

    @property
    def protocol(self) -> dict[str, Any]:
        """Says that the test part was looked at."""
        return self._data.protocol | {"curve": "test classes after every epoch"}


def curve(data: Path, epochs: int, seed: int) -> pd.DataFrame:
    """Train once, or take it from the cache; one row an epoch."""
    from retrieval_bench.train import Where, train

    overrides = ["experiment=cars196", f"data.root={data / 'cars196_112'}", "data.validation_classes=0"]
    made = experiment([*overrides, f"trainer.epochs={epochs}", "trainer.validate=true", f"seed={seed}"])
    assert isinstance(made.data, Dataset) and made.recipe is not None

    def told(task: str, done: int, total: int) -> None:
        print(f"\rseed {seed}: {task} {done}/{total}", end="\033[K", flush=True)

    where = Where(made.cache, made.seed, made.similarity, made.embed)
    _, outcome, _ = train(made.encoders["trained"](), made.recipe(), Watched(made.data), where, told)
    print(f"\nseed {seed}:", *(f"{row['val_hit_rate@1']:.3f}" for row in outcome.history), flush=True)
    print(f"{outcome.images / outcome.seconds:.1f} images/s", flush=True)
    rows = pd.DataFrame(outcome.history)[COLUMNS]
    rows.columns = [name.removeprefix("val_") for name in rows.columns]
    return rows.assign(epochs=epochs, seed=seed)


def main() -> None:
    """Train the seeds and add to the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    table = HERE / "curve.csv"
    for seed in args.seeds:
        new = curve(args.data, args.epochs, seed)
        rows = pd.concat([pd.read_csv(table), new]) if table.is_file() else new
        rows = rows.drop_duplicates(["epochs", "seed", "epoch"], keep="last")
        rows.round(5).to_csv(table, index=False)
    last = rows[(rows["epochs"] == args.epochs) & (rows["epoch"] == args.epochs)]
    for metric in ("hit_rate@1", "map_at_r"):
        mean = t_interval(last[metric].to_numpy())
        print(
            f"{metric} after {args.epochs} epochs, {len(last)} seeds: {mean.value:.4f} [{mean.lo:.4f}, {mean.hi:.4f}]"
        )


if __name__ == "__main__":
    main()
