"""Chooses how the flow stream is trained and how much each stream weighs, on validation sources of UCF101's split 1.

python experiments/two_stream/choose.py --data FOLDER     # FOLDER/ucf101_6class_160
python experiments/two_stream/choose.py --data FOLDER "rgb" "flow, rate 3e-4"     # these candidates alone

Of the 18 training sources of each class three are kept to validate on (their clips search one another, without those
of the same source); the test clips are never read. `candidates.csv`: the last epoch of every candidate, one seed.
`weights.csv`: the first candidate of each stream, fused by several weights. What is chosen is written into `run.py`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from run import DATA, STREAMS, TRAINED, fused, sized

from retrieval_bench.cli import experiment
from retrieval_bench.data.base import Dataset
from retrieval_bench.embed import embed
from retrieval_bench.metric.hit_rate import hit_rate
from retrieval_bench.metric.map_at_r import map_at_r
from retrieval_bench.points import Stage, exact_search, most_ignored
from retrieval_bench.stats import bootstrap_columns
from retrieval_bench.types import Embeddings, GroundTruth

HERE = Path(__file__).parent
FLOW = STREAMS["flow"]
CANDIDATES: dict[str, list[str]] = {  # the first of each stream is that of run.py
    "rgb": STREAMS["rgb"],
    "flow": FLOW,
    "rgb, 60 epochs": [*STREAMS["rgb"], "trainer.epochs=60"],
    "rgb, normalized softmax": [*STREAMS["rgb"], "loss=normalized_softmax"],
    "flow, rate 3e-4": [*FLOW, "optimizer.backbone_lr=3e-4"],
    "flow, normalized softmax": [*FLOW, "loss=normalized_softmax"],
}
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)


def trained(fixed: list[str], name: str, more: list[str]) -> tuple[dict[str, object], Path]:
    """Train one candidate, or take it from the cache: its row, and its weights."""
    from retrieval_bench.train import Where, train

    made = experiment([*fixed, *TRAINED, *CANDIDATES[name], *sized("frame"), "stage=[trained]", *more])
    assert isinstance(made.data, Dataset) and made.recipe is not None

    def told(task: str, done: int, total: int) -> None:
        print(f"\r{name}: {task} {done}/{total}", end="\033[K", flush=True)

    where = Where(made.cache, made.seed, made.similarity, made.embed)
    _, outcome, folder = train(made.encoders["trained"](), made.recipe(), made.data, where, told)
    last = outcome.history[-1]
    names = [f"val_{metric}{end}" for metric in ("map_at_r", "hit_rate@1") for end in ("", "_lo", "_hi")]
    curve = " ".join(f"{row['val_map_at_r']:.3f}" for row in outcome.history)
    found = {key: round(last[key], 4) for key in names} | {"curve_map_at_r": curve}
    row = {"candidate": name, "overrides": " ".join(CANDIDATES[name]), "seconds": round(outcome.seconds)}
    return row | found, folder / "weights.safetensors"


def validated(overrides: list[str]) -> dict[str, float]:
    """Metrics of an encoder with given weights among the validation clips."""
    made = experiment(overrides)
    assert isinstance(made.data, Dataset)
    encoder = made.encoders["pretrained"]()
    found: Embeddings = embed(
        made.data.validation(), encoder, made.data.image_size, made.embed, made.cache, lambda *_: None
    ).embeddings
    labels, groups = found.labels, found.groups
    truth = GroundTruth(
        found.ids,
        found.ids,
        query_labels=labels,
        gallery_labels=labels,
        query_groups=groups,
        gallery_groups=groups,
    )
    metrics: dict[str, Any] = {"hit_rate": partial(hit_rate), "map_at_r": partial(map_at_r)}
    stage = Stage("validation", found, found, truth, made.similarity, metrics, (1,), 0, float("nan"))
    values = bootstrap_columns(exact_search(stage, 1, most_ignored(truth)).values, 0)
    row: dict[str, float] = {}
    for name, value in values.items():
        row |= {name: value.value, f"{name}_lo": value.lo, f"{name}_hi": value.hi}
    return row


def main() -> None:
    """Train the candidates that are named, or all, then weigh the streams."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the tables")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overrides", nargs="*", default=[], help="of every run, such as trainer.epochs=1")
    parser.add_argument("names", nargs="*", default=list(CANDIDATES))
    args = parser.parse_args()
    fixed = [*DATA, f"data.root={args.data / 'ucf101_6class_160'}", f"seed={args.seed}"]
    rows, files = [], {}
    for name in args.names:
        row, files[name] = trained(fixed, name, args.overrides)
        rows.append(row)
        print(f"\n{row}", flush=True)
        pd.DataFrame(rows).to_csv(args.out / "candidates.csv", index=False)
    if set(STREAMS) <= set(files):
        both = {name: files[name] for name in STREAMS}
        weighed = [{"rgb_weight": w, **validated([*fixed, *fused(both, w), *args.overrides])} for w in WEIGHTS]
        pd.DataFrame(weighed).round(4).to_csv(args.out / "weights.csv", index=False)
        print(pd.DataFrame(weighed).round(4).to_string(index=False))


if __name__ == "__main__":
    main()
