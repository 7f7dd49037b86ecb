"""How often an LSTM over frames, optical flow, and both together tell a clip from the same clip backwards.

python experiments/sequence/motions.py     # nothing to download; three minutes on two cores

Trains the recipes that `choose.py` chose, with three seeds, and searches the test photographs: `motions.csv` gets
hit_rate@1 within pairs of every class and seed, with 95 % intervals over clips, and map_at_r of the whole test part.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from retrieval_bench import run

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)
ENCODERS = {"LSTM": "motions_lstm", "flow": "motions_flow", "both streams": "motions_two_stream"}


def told(encoder: str, seed: int, runs: Path) -> pd.DataFrame:
    """A row for each class of one run, and one for all."""
    record = run([f"experiment={ENCODERS[encoder]}", f"seed={seed}", "logger=[]", f"paths.runs={runs}"])
    by_class = pd.DataFrame(record.stages["trained"]["by_class"])
    points = record.points
    exact = points[(points["index"] == "exact") & (points["half"] == "all")].iloc[0]
    whole = {"classes": "all", "metric": by_class["metric"].iloc[0], "n_queries": by_class["n_queries"].sum()}
    names = {"value": "", "lo": "_lo", "hi": "_hi"}
    whole |= {column: exact[f"{whole['metric']}{end}"] for column, end in names.items()}
    mean = whole | {"metric": "map_at_r"} | {column: exact[f"map_at_r{end}"] for column, end in names.items()}
    rows = pd.concat([by_class, pd.DataFrame([whole, mean])])
    return rows[["metric", "classes", "n_queries", *names]].assign(encoder=encoder, seed=seed)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    args = parser.parse_args()
    table = pd.concat([told(encoder, seed, args.runs) for encoder in ENCODERS for seed in SEEDS])
    table.set_index(["encoder", "seed"]).round(4).to_csv(HERE / "motions.csv")


if __name__ == "__main__":
    main()
