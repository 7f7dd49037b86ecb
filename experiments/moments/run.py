"""Which index finds the moment: nine backends at rising efforts, low ones among them, over the windows of long videos.

python experiments/moments/run.py            # data=moments, nothing to download
python experiments/moments/run.py --dims 16 64          # other widths of the vectors; each a table of its own
python experiments/moments/run.py --out . data.n_videos=4 measure.passes=2     # to see that it works

A window's vector is the mean of its pretrained frames, cut to its first axes by PCA that was fitted on training videos
(`--dims`, 1280: as it is). Whole, exact search finds every moment at IoU 0.5; with fewer axes it misses some, and there
is something to tell. `table_<dims>.csv`: a line an operating point, as it is answered 20 windows deep; quality with
95 % intervals over queries, times of a whole query (all its windows, voting and re-rank). `misled_<dims>.csv`: pairs of
operating points that neighbour recall ranks the other way round. A finished run is not redone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from retrieval_bench import run
from retrieval_bench.record import RunRecord

HERE = Path(__file__).parent
WHOLE = 1280
SEARCH = {
    "exact": None,
    "hnsw": [16, 64],
    "ivf": [1, 2, 4, 8, 32],
    "ivf_pq": [1, 2, 4, 8, 32],
    "rabitq": [1, 2, 4, 8, 32],
    "annoy": [20, 50, 100, 300, 1000],  # of ten trees: fifty miss nothing here, whatever the effort
    "simhash": [1, 2, 4, 8, 32],
    "cross_polytope": [1, 2, 4, 8, 32],
    "minhash_lsh": [1, 2, 4, 8, 32],
}
QUALITY = {
    "ann_recall": "window_ann_recall@20",
    "video_hit_rate@1": "video_hit_rate@1",
    "moment_hit_rate_iou0.5@1": "r@1_iou0.5",
    "moment_hit_rate_iou0.7@1": "r@1_iou0.7",
    "moment_average_precision": "moment_map",
    "ann_loss_moment_hit_rate_iou0.5@1": "r@1_iou0.5_lost",
}
COSTS = ("latency_p50_ms", "latency_p50_ms_lo", "latency_p50_ms_hi", "latency_floor_ms", "index_bytes", "rerank_bytes")
# A graph's queue and a list are as long as the depth at least, so that a shallow depth is what makes low efforts low.
FIXED = ["data=moments", "name=moments_study", "logger=[]", "k=[20]", "cuts=[1,5]", "metric=[hit_rate]"]


def overrides(dims: int) -> list[str]:
    """Of a run with vectors of so many columns."""
    efforts = [f"search.{name}.efforts={values}".replace(" ", "") for name, values in SEARCH.items() if values]
    cut = [] if dims == WHOLE else ["transform=[pca_whitening]", f"transform.pca_whitening.dim={dims}",
                                    "transform.pca_whitening.power=0"]  # fmt: skip
    return [*FIXED, "search.annoy.trees=10", f"search=[{','.join(SEARCH)}]", *efforts, *cut]


def table(record: RunRecord) -> pd.DataFrame:
    """A line an operating point."""
    points = record.points
    points = points[(points["half"] == "all") & (points["index"] != "null")]
    hours = record.protocol["seconds"] / 3600
    made = points[["index", "knob", "effort", "status"]].copy()
    for column, name in QUALITY.items():
        for end in ("", "_lo", "_hi"):
            made[f"{name}{end}"] = points[f"{column}{end}"]
    for column in COSTS:
        made[column] = points[column]
    made["index_bytes_an_hour"] = (points["index_bytes"] / hours).round()
    return made


def misled(made: pd.DataFrame) -> pd.DataFrame:
    """Pairs of operating points that neighbour recall ranks the other way round than moments do, widest first."""
    rows = []
    told = made[made["status"] == "ok"].to_dict("records")
    for a in told:
        for b in told:
            less = b["window_ann_recall@20"] - a["window_ann_recall@20"]
            more = a["r@1_iou0.5"] - b["r@1_iou0.5"]
            if less > 0 and more > 0:
                names = [f"{row['index']} {row['effort']:g}" if row["knob"] else row["index"] for row in (a, b)]
                recall = {"recall_a": a["window_ann_recall@20"], "recall_b": b["window_ann_recall@20"]}
                rows.append({"a": names[0], "b": names[1], **recall, "r1_a": a["r@1_iou0.5"], "r1_b": b["r@1_iou0.5"],
                             "both": less * more})  # fmt: skip
    columns = ["a", "b", "recall_a", "recall_b", "r1_a", "r1_b", "both"]
    return pd.DataFrame(rows, columns=columns).sort_values("both", ascending=False)[columns[:-1]]


def main() -> None:
    """Run every width and write its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[WHOLE, 32])
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the tables")
    parser.add_argument("overrides", nargs="*", help="of every run, such as data.n_videos=4")
    args = parser.parse_args()
    for dims in args.dims:
        made = table(run([*overrides(dims), *args.overrides]))
        made.round(5).to_csv(args.out / f"table_{dims}.csv", index=False)
        misled(made).head(20).round(4).to_csv(args.out / f"misled_{dims}.csv", index=False)
        shown = ["index", "effort", *QUALITY.values(), "latency_p50_ms", "index_bytes"]
        print(f"{dims} columns\n{made[shown].round(3).to_string(index=False)}", flush=True)


if __name__ == "__main__":
    main()
