"""A small network from random weights on Omniglot's unseen alphabets, three training seeds, through three indexes.

python experiments/omniglot/run.py --data FOLDER     # holds omniglot or omniglot_small; under 10 minutes on two cores

Runs `experiment=omniglot` for each seed (a finished run is not redone) and writes `table.csv`: means over seeds with
95 % t-intervals.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd

from retrieval_bench import run
from retrieval_bench.runs import over_seeds

HERE = Path(__file__).parent
METRICS = ("exact_hit_rate@1", "exact_map_at_r", "hit_rate@1", "ann_recall", "latency_p50_ms")


def main() -> None:
    """Run all seeds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    root = next(path for path in (args.data / "omniglot", args.data / "omniglot_small") if path.is_dir())
    begin, found = time.perf_counter(), []
    for seed in args.seeds:
        record = run(["experiment=omniglot", f"data.root={root}", f"seed={seed}"])
        found.append(record.points)
        curve = record.stages["trained"]["training"]["history"]
        print(f"seed {seed}: validation hit_rate@1", *(f"{row['val_hit_rate@1']:.3f}" for row in curve))
    table = over_seeds(pd.concat(found), METRICS)
    table.round(5).to_csv(HERE / "table.csv", index=False)
    print(table.round(3).to_string(index=False))
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
