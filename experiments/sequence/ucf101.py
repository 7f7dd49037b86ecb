"""Mean, LSTM and GRU over the same frozen frames of UCF101: three seeds, through exact search, HNSW and two LSH.

python experiments/sequence/ucf101.py --data FOLDER --choose     # FOLDER/ucf101_6class_160; on validation sources
python experiments/sequence/ucf101.py --data FOLDER              # the study
python experiments/sequence/ucf101.py --data FOLDER --seeds 0 --out . trainer.epochs=1     # to see that it works

Official split 1: test clips search the training clips, which are trained on. Eight frames a clip, whose vectors are
computed once; what is trained is above them, with a head of 128 columns. `ucf101.csv`: means over seeds with 95 %
t-intervals; `ucf101_differences.csv`: each encoder less the pretrained mean, and the networks less the trained mean,
paired over seeds and queries. `--choose` trains on 15 of the 18 training sources of each class and judges on the other
three: `ucf101_candidates.csv`. A finished run is not redone.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from retrieval_bench import run
from retrieval_bench.record import RunRecord
from retrieval_bench.runs import over_seeds, seed_differences

HERE = Path(__file__).parent
LABELS = ("hit_rate@1", "hit_rate@5", "hit_rate@10", "map_at_r")
COSTS = ("ann_recall", "latency_p50_ms", "latency_p95_ms", "index_bytes", "build_s")
METRICS = (*(f"exact_{name}" for name in LABELS), *LABELS, *COSTS)
FIXED = [
    *("data=ucf101", "encoder.frame.input_size=128", "encoder.frame.crop=1", "name=sequence_ucf101", "logger=[]"),
    *("k=[10,120]", "metric=[hit_rate,map_at_r]"),  # map_at_r needs as many as the largest class has
]
READ = [
    "search=[exact,hnsw,simhash,minhash_lsh]",
    "search.hnsw.efforts=[16,64]",
    "search.simhash.efforts=[2,8,32]",
    "search.minhash_lsh.efforts=[2,8,32]",
]
TRAINED = ["stage=[trained]", "trainer.frozen=[frame]", "sampler.classes=6", "sampler.per_class=8", "head.out=128"]
ENCODERS = {
    "mean": ["encoder=frames", "trainer.epochs=10"],
    "lstm": ["encoder=lstm", "trainer.epochs=10"],
    "gru": ["encoder=gru", "trainer.epochs=10"],
}
CHANGES: dict[str, list[str]] = {  # each encoder with each of them
    "as in the study": [],
    "30 epochs": ["trainer.epochs=30"],
    "rate 3e-4": ["optimizer.head_lr=3e-4"],
    "normalized softmax": ["loss=normalized_softmax"],
}
PLAIN = "mean, pretrained"


def choose(fixed: Sequence[str], more: Sequence[str]) -> pd.DataFrame:
    """The last epoch of every candidate on the validation sources; the best one's is not taken."""
    rows = []
    for encoder, own in ENCODERS.items():
        for change, overrides in CHANGES.items():
            record = run([*fixed, *TRAINED, *own, "search=[exact]", *overrides, *more])
            history = record.stages["trained"]["training"]["history"]
            names = [f"val_{metric}{end}" for metric in ("map_at_r", "hit_rate@1") for end in ("", "_lo", "_hi")]
            found = {name: round(history[-1][name], 4) for name in names}
            curve = " ".join(f"{row['val_map_at_r']:.3f}" for row in history)
            rows.append({"encoder": encoder, "change": change, **found, "curve_map_at_r": curve})
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def records(fixed: Sequence[str], more: Sequence[str]) -> dict[str, RunRecord]:
    """Every encoder's run of one seed."""
    found = {PLAIN: run([*fixed, "encoder=frames", *more])}
    for name, own in ENCODERS.items():
        found[name] = run([*fixed, *TRAINED, *own, "trainer.validate=false", *more])
        told = found[name].stages["trained"]["training"]
        print(f"{name}: {told['images']} clips in {told['seconds']:.0f} s of training", flush=True)
    return found


def tables(found: Sequence[Mapping[str, RunRecord]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Levels of every encoder and index; differences of the encoders."""
    of = {name: [each[name] for each in found] for name in found[0]}
    levels, differences = [], []
    for name, mine in of.items():
        level = over_seeds(pd.concat([record.points for record in mine]), METRICS)
        level.insert(0, "encoder", name)
        levels.append(level)
    pairs = [(PLAIN, name) for name in ENCODERS] + [("mean", name) for name in ENCODERS if name != "mean"]
    for one, other in pairs:
        difference = seed_differences(of[one], of[other], LABELS)
        difference.insert(0, "what", f"{other} - {one}")
        differences.append(difference)
    return pd.concat(levels), pd.concat(differences)


def main() -> None:
    """Choose, or run all seeds and write the tables after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--choose", action="store_true", help="on validation sources; the test clips decide nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the tables")
    parser.add_argument("overrides", nargs="*", help="of every run, such as trainer.epochs=1")
    args = parser.parse_args()
    fixed, found = [*FIXED, f"data.root={args.data / 'ucf101_6class_160'}"], []
    if args.choose:
        chosen = choose([*fixed, f"seed={args.seeds[0]}"], args.overrides)
        chosen.to_csv(args.out / "ucf101_candidates.csv", index=False)
        return
    for seed in args.seeds:
        found.append(records([*fixed, *READ, f"seed={seed}"], args.overrides))
        table, differences = tables(found)
        table.round(5).to_csv(args.out / "ucf101.csv", index=False)
        differences.round(5).to_csv(args.out / "ucf101_differences.csv", index=False)
        exact = table[(table["index"] == "exact") & (table["k"] == table["k"].min())]
        print(exact[["encoder", "seeds", *METRICS[:4]]].round(4).to_string(index=False), flush=True)
        print(differences.round(4).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
