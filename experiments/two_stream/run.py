"""What is seen, how it moves, and both: three training seeds on UCF101, through exact search, HNSW and two LSH.

python experiments/two_stream/run.py --data FOLDER     # FOLDER/ucf101_6class_160
python experiments/two_stream/run.py --data FOLDER --seeds 0 --out . trainer.epochs=1     # to see that it works

Official split 1: test clips search the training clips, which are trained on. Each seed trains two streams of 128
columns: a linear map over the mean of frozen frames, and a CNN over optical flow. Their weights then meet in
`two_stream`: side by side with equal weights (concat) and with the weight that `choose.py` found (weighted), each in
one index; and in an index for each stream, lists merged (the indexes `merge…` of concat). `table.csv`: means over
seeds with 95 % t-intervals; `differences.csv`: each encoder less the pretrained frames, and fusions less one another
and less the frames, paired over seeds and queries; `classes.csv`: hit_rate@1 of each class.
A finished run is not redone.
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
RGB_WEIGHT = 0.75  # of the weighted fusion: the best map_at_r of choose.py (weights.csv)
DATA = ["data=ucf101", "flow=dis", "name=two_stream", "logger=[]"]
READ = [
    "k=[10,120]",  # map_at_r needs as many as the largest class has
    "metric=[hit_rate,map_at_r]",
    "search=[exact,hnsw,simhash,minhash_lsh]",
    "search.hnsw.efforts=[16,64]",
    "search.simhash.efforts=[2,8,32]",
    "search.minhash_lsh.efforts=[2,8,32]",
]
MERGED = [
    "search=[exact,hnsw,simhash,minhash_lsh,merge]",
    "search.merge.efforts=[16,64]",
    *("+search@search.merge_simhash=merge", "search@search.merge_simhash.index=simhash"),
    "search.merge_simhash.efforts=[2,8,32]",
]
STREAMS = {
    "rgb": ["encoder=frames", "encoder.over.out=128", "trainer.frozen=[frame]", "trainer.epochs=20"],
    "flow": ["encoder=flow", "encoder.over.out=128", "augment=clip", "augment.size=112", "trainer.epochs=12"],
}
# What maps to 128 columns is inside each stream: a head above both would mix their blocks.
TRAINED = ["head=identity", "sampler.classes=6", "sampler.per_class=4"]
PLAIN, CONCAT, WEIGHTED = "rgb, pretrained", "two streams, concat", "two streams, weighted"


def sized(*frames: str) -> list[str]:
    """The middle 128 × 128 pixels of frames of 171 × 128."""
    return [f"encoder.{frame}.{value}" for frame in frames for value in ("input_size=128", "crop=1")]


def fused(weights: Mapping[str, Path], rgb_weight: float) -> list[str]:
    """Two streams that were trained before, in one vector."""
    files = [f"encoder.{name}.weights={file}" for name, file in weights.items()]
    columns = [f"encoder.{name}.over.out=128" for name in weights]
    return [*TRAINED, "encoder=two_stream", *sized("rgb.frame", "flow.frame"), *columns, *files,
            f"encoder.rgb_weight={rgb_weight}"]  # fmt: skip


def records(fixed: Sequence[str], more: Sequence[str]) -> dict[str, RunRecord]:
    """Every encoder's run of one seed.

    Args:
        fixed: data, seed, how it is searched. more: overrides behind all others.
    """
    found = {PLAIN: run([*fixed, "encoder=frames", *sized("frame"), *more])}
    files = {}
    for name, stream in STREAMS.items():
        training = [*TRAINED, *stream, "trainer.validate=false", "stage=[trained]"]
        found[name] = run([*fixed, *sized("frame"), *training, *more])
        files[name] = found[name].folder / "trained" / "weights.safetensors"
        told = found[name].stages["trained"]["training"]
        print(f"{name}: {told['images']} clips in {told['seconds']:.0f} s of training", flush=True)
    found[CONCAT] = run([*fixed, *MERGED, *fused(files, 0.5), *more])
    if RGB_WEIGHT != 0.5:
        found[WEIGHTED] = run([*fixed, *fused(files, RGB_WEIGHT), *more])
    return found


def tables(found: Sequence[Mapping[str, RunRecord]]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Levels of every encoder and index, differences between encoders, and hit_rate@1 by class."""
    of = {name: [each[name] for each in found] for name in found[0]}
    levels, differences, classes = [], [], []
    for name, mine in of.items():
        level = over_seeds(pd.concat([record.points for record in mine]), METRICS)
        level.insert(0, "encoder", name)
        levels.append(level)
        for record in mine:
            told = pd.DataFrame(list(record.stages.values())[-1]["by_class"])
            told.insert(0, "seed", record.seeds["run"])
            told.insert(0, "encoder", name)
            classes.append(told)
    pairs = [(PLAIN, name) for name in of if name != PLAIN]
    pairs += [(one, other) for one, other in (("rgb", CONCAT), ("rgb", WEIGHTED), (CONCAT, WEIGHTED)) if other in of]
    for one, other in pairs:
        difference = seed_differences(of[one], of[other], LABELS)
        difference.insert(0, "what", f"{other} - {one}")
        differences.append(difference)
    return pd.concat(levels), pd.concat(differences), pd.concat(classes)


def main() -> None:
    """Run all seeds and write the tables after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the tables")
    parser.add_argument("overrides", nargs="*", help="of every run, such as trainer.epochs=1")
    args = parser.parse_args()
    found = []
    for seed in args.seeds:
        fixed = [*DATA, f"data.root={args.data / 'ucf101_6class_160'}", *READ, f"seed={seed}"]
        found.append(records(fixed, args.overrides))
        table, differences, classes = tables(found)
        table.round(5).to_csv(args.out / "table.csv", index=False)
        differences.round(5).to_csv(args.out / "differences.csv", index=False)
        classes.round(5).to_csv(args.out / "classes.csv", index=False)
        exact = table[(table["index"] == "exact") & (table["k"] == table["k"].min())]
        print(exact[["encoder", "seeds", *METRICS[:4]]].round(4).to_string(index=False), flush=True)
        print(differences.round(4).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
