"""At which size the validation classes are best searched, whatever size the encoder was trained at.

python experiments/cars196/sizes.py --data FOLDER     # FOLDER/cars196_112; trains the candidate `default` if it has to

Images of 112 px are enlarged. Writes `sizes.csv`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import pandas as pd

from retrieval_bench._headed import headed
from retrieval_bench.cli import experiment
from retrieval_bench.data.base import Dataset
from retrieval_bench.embed import embed
from retrieval_bench.metric.hit_rate import hit_rate
from retrieval_bench.metric.map_at_r import map_at_r
from retrieval_bench.points import Stage, exact_search
from retrieval_bench.stats import bootstrap_columns
from retrieval_bench.train import Where, train
from retrieval_bench.types import GroundTruth

HERE = Path(__file__).parent
SIZES = (112, 120, 128, 144, 160, 176, 192, 224)


def main() -> None:
    """Train or take the candidate, search at each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    common = ["data=cars196", f"data.root={args.data / 'cars196_112'}", f"trainer.epochs={args.epochs}"]
    made = experiment([*common, "stage=[trained]"])
    assert isinstance(made.data, Dataset) and made.recipe is not None
    where = Where(made.cache, made.seed, made.similarity, made.embed)
    folder = train(made.encoders["trained"](), made.recipe(), made.data, where, lambda *_: None)[2]
    rows = []
    for size in SIZES:
        at = experiment([*common, f"encoder.weights={folder / 'weights.safetensors'}", f"encoder.input_size={size}"])
        assert isinstance(at.data, Dataset) and at.head is not None
        model = headed(at.encoders["pretrained"](), at.head(), 0)
        found = embed(at.data.validation(), model, at.data.image_size, at.embed, at.cache, lambda *_: None).embeddings
        truth = GroundTruth(found.ids, found.ids, query_labels=found.labels, gallery_labels=found.labels)
        metrics = {"hit_rate": partial(hit_rate), "map_at_r": partial(map_at_r)}
        stage = Stage("validation", found, found, truth, at.similarity, metrics, (1,), 0, float("nan"))
        row: dict[str, float] = {"size": size}
        for name, value in bootstrap_columns(exact_search(stage, 1, 2).values, 0).items():
            row |= {name: value.value, f"{name}_lo": value.lo, f"{name}_hi": value.hi}
        print(row, flush=True)
        rows.append(row)
    pd.DataFrame(rows).round(4).to_csv(HERE / "sizes.csv", index=False)


if __name__ == "__main__":
    main()
