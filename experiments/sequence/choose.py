"""What an LSTM over frames, optical flow, and both together need to tell a clip from the same clip backwards.

python experiments/sequence/choose.py [NAME …]     # nothing to download; the test photographs are never read here

Every candidate trains on the training photographs of `motions` and is judged on the validation ones: hit_rate@1 of each
clip among those of its own class and of the reversed one, its own photograph left out. `candidates.csv` gets a row for
each; 95 % intervals are over clips. `margin` tells candidates apart that find everything: by how much the nearest clip
of the right class is nearer than the nearest of the reversed one (cosine, the 5th percentile of the clips).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval_bench.cli import experiment
from retrieval_bench.data.base import Dataset, Items
from retrieval_bench.stats import bootstrap_columns

HERE = Path(__file__).parent
PAIRS = ("pan x", "pan y", "zoom", "rotate", "fade", "enters or leaves", "crosses")
LSTM, FLOW, BOTH = "experiment=motions_lstm", "experiment=motions_flow", "experiment=motions_two_stream"
CANDIDATES: dict[str, list[str]] = {  # each differs from the first of its kind in what it is named by
    "lstm": [LSTM],
    "not centred": [LSTM, "encoder.over.centre=false"],
    "added to the mean": [LSTM, "encoder.over.residual=true"],
    "last layer": [LSTM, "encoder.frame.layer=null"],
    "layer blocks.1": [LSTM, "encoder.frame.layer=blocks.1"],
    "layer blocks.4": [LSTM, "encoder.frame.layer=blocks.4"],
    "no grid": [LSTM, "pool=average"],
    "no layer norm": [LSTM, "encoder.over.normalise=false"],
    "32 cells": [LSTM, "encoder.over.hidden=32"],
    "both directions": [LSTM, "encoder.over.bidirectional=true"],
    "classification": [LSTM, "loss=classification"],
    "as it was": [
        *(LSTM, "encoder.frame.layer=null", "encoder.over.centre=false", "encoder.over.residual=true"),
        *("encoder.over.hidden=256", "head.out=128"),
    ],
    "flow": [FLOW],
    "flow, one pair": [FLOW, "flow.pairs=1", "encoder.frame.channels=2"],
    "flow, no grid": [FLOW, "pool=average"],
    "flow, last layer": [FLOW, "encoder.frame.layer=null"],
    "both streams, half each": [BOTH, "encoder.rgb_weight=0.5"],
    "both streams, frames 0.35": [BOTH, "encoder.rgb_weight=0.35"],
    "both streams, frames 0.25": [BOTH, "encoder.rgb_weight=0.25"],
    "both streams, frames 0.15": [BOTH, "encoder.rgb_weight=0.15"],
    "both streams, frames 0.08": [BOTH, "encoder.rgb_weight=0.08"],
    "both streams, frames 0.04": [BOTH, "encoder.rgb_weight=0.04"],
}


def validated(name: str, seed: int) -> dict[str, object]:
    """Train one candidate, or take it from the cache, and search the validation clips with it."""
    from retrieval_bench.embed import embed
    from retrieval_bench.train import Where, train

    made = experiment([*CANDIDATES[name], "stage=[trained]", f"seed={seed}"])
    data: Any = made.data
    assert isinstance(data, Dataset) and made.recipe is not None

    def told(task: str, done: int, total: int) -> None:
        print(f"\r{name}: {task} {done}/{total}", end="\033[K", flush=True)

    where = Where(made.cache, made.seed, made.similarity, made.embed)
    model, outcome, _ = train(made.encoders["trained"](), made.recipe(), data, where, told)
    items = data.validation()
    found = embed(items, model, data.image_size, made.embed, made.cache, lambda done, total: None)
    margins = margins_within_pairs(np.asarray(found.embeddings.vectors), items)
    hits = (margins > 0).astype(np.float64)
    pairs = np.asarray(items.labels) // 2
    columns = {pair: np.where(pairs == i, hits, np.nan) for i, pair in enumerate(PAIRS)} | {"all": hits}
    row: dict[str, object] = {"candidate": name, "overrides": " ".join(CANDIDATES[name][1:]), "seed": seed}
    row |= {"epoch": outcome.best, "loss": round(float(outcome.history[-1]["loss"]), 3)}
    row["margin"] = round(float(np.quantile(margins, 0.05)), 3)
    for column, interval in bootstrap_columns(columns, seed).items():
        row |= {column: round(interval.value, 3), f"{column}_lo": round(interval.lo, 3)}
        row |= {f"{column}_hi": round(interval.hi, 3)}
    return row


def margins_within_pairs(vectors: NDArray[np.float32], items: Items) -> NDArray[np.float64]:
    """Cosine of the nearest clip of the query's class less that of the reversed class, other photographs only: [n]."""
    labels, groups = np.asarray(items.labels), np.asarray(items.groups)
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    candidates = (labels[:, None] // 2 == labels // 2) & (groups[:, None] != groups)
    cosines, own = unit @ unit.T, labels[:, None] == labels
    right, wrong = (np.where(candidates & same, cosines, -np.inf).max(axis=1) for same in (own, ~own))
    margins: NDArray[np.float64] = right - wrong
    return margins


def main() -> None:
    """Train the candidates that are named, or all, and add them to the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("names", nargs="*", default=list(CANDIDATES))
    args = parser.parse_args()
    table = HERE / "candidates.csv"
    for name in args.names:
        row = validated(name, args.seed)
        print(f"\n{row}", flush=True)
        before = [pd.read_csv(table, keep_default_na=False)] if table.is_file() else []
        pd.concat([*before, pd.DataFrame([row])]).drop_duplicates(["candidate", "seed"], keep="last").to_csv(
            table, index=False
        )


if __name__ == "__main__":
    main()
