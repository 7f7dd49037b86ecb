"""Three losses × two dimensions × three training seeds on Cars196 at one fixed budget, through exact, HNSW and MinHash.

python experiments/cars196/losses.py --data FOLDER     # FOLDER/cars196_112; about 40 minutes on two idle cores

Every run is trained on 6,400 images of classes 1 – 98 (100 batches of 16 × 4, cosine schedule), with the stem and the
first two blocks frozen, and searched at the size of the images, 112 px; everything else as in `experiment=cars196`:
rates were chosen for Proxy-Anchor and not tuned for the others. The test classes are read once, after the last step.
`losses.csv`: means over seeds with 95 % t-intervals. A finished run is not redone.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import pandas as pd

from retrieval_bench import run
from retrieval_bench.runs import over_seeds

HERE = Path(__file__).parent
METRICS = ("exact_hit_rate@1", "exact_map_at_r", "hit_rate@1", "ann_recall", "latency_p50_ms", "index_bytes")
LOSSES = {
    "proxy_anchor": ["loss=proxy_anchor"],
    "multi_similarity": ["loss=multi_similarity", "miner=multi_similarity"],
    "smooth_ap": ["loss=smooth_ap"],
}
DIMS = (64, 256)
BUDGET = [
    "trainer.epochs=1",
    "sampler.batches=100",
    "encoder.input_size=112",
    "trainer.frozen=[conv_stem,bn1,blocks.0,blocks.1]",
]
READ = ["stage=[trained]", "k=[10]", "search.hnsw.efforts=[16,64]", "search.minhash_lsh.efforts=[4,16]"]


def points(data: Path, loss: str, dim: int, seed: int) -> pd.DataFrame:
    """The points of one run."""
    fixed = ["experiment=cars196", f"data.root={data / 'cars196_112'}", "data.validation_classes=0", *BUDGET, *READ]
    record = run([*fixed, *LOSSES[loss], f"head.out={dim}", f"seed={seed}", "name=cars196_losses"])
    training = record.stages["trained"]["training"]
    rate = training["images"] / training["seconds"]
    found = record.points
    best = found["exact_hit_rate@1"].max()  # the same in all rows that tell it
    print(f"{loss} {dim} seed {seed}: hit_rate@1 {best:.4f}, {rate:.1f} images/s in training", flush=True)
    return found


def main() -> None:
    """Run everything and write the table after each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    found: dict[tuple[str, int], list[pd.DataFrame]] = {parts: [] for parts in product(LOSSES, DIMS)}
    for seed in args.seeds:
        for (loss, dim), tables in found.items():
            tables.append(points(args.data, loss, dim, seed))
        means = []
        for (loss, dim), tables in found.items():
            table = over_seeds(pd.concat(tables), METRICS)
            table.insert(0, "dim", dim)
            table.insert(0, "loss", loss)
            means.append(table)
        whole = pd.concat(means)
        whole.round(5).to_csv(HERE / "losses.csv", index=False)
        print(whole.round(4).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
