"""Every backend on the same vectors: its whole curve, and what each target costs.

python experiments/ann_vs_lsh/run.py sift --data FOLDER     # also: sift_float32, cars196, glove, glyphs (needs no data)

Runs `experiment=ann_vs_lsh` (a finished run is not redone), then writes two tables beside this file: `<name>.csv`,
every operating point, and `<name>_targets.csv`: for each ann_recall the fastest effort of each backend that meets it on
one half of the queries, with the numbers of the other half.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from retrieval_bench import run

HERE = Path(__file__).parent
TARGETS = (0.8, 0.9, 0.95, 0.99)
COLUMNS = [
    *("stage", "family", "index", "knob", "effort", "ann_recall", "ann_recall_lo", "ann_recall_hi"),
    *("exact_hit_rate@1", "hit_rate@1", "ann_loss_hit_rate@1"),
    *("latency_p50_ms", "latency_p50_ms_lo", "latency_p50_ms_hi", "latency_p95_ms", "latency_p99_ms"),
    "latency_floor_ms",
    *("qps_single", "qps_batch", "qps_clients", "build_s", "index_bytes", "peak_rss_bytes", "candidate_fraction"),
    *("empty_rate", "status", "error"),
]


def overrides(name: str, data: Path | None) -> list[str]:
    """What the run of a data set is asked for.

    Args:
        data: folder that holds `vectors` and `cars196_112`.
    """
    if name == "glyphs":
        return ["data=glyphs"]
    if data is None:
        raise SystemExit(f"{name} needs its data: --data FOLDER")
    if name == "cars196":
        return ["data=cars196", f"data.root={data / 'cars196_112'}"]
    vectors = data / "vectors"
    if name.startswith("sift"):
        base, queries = (vectors / f"sift128_caltech101_{part}_u8.npy" for part in ("base100k", "query1k"))
        if name == "sift_float32":
            base, queries = as_float32(base), as_float32(queries)
        return ["data=vectors", f"data.gallery={base}", f"data.queries={queries}", "similarity=euclidean"]
    return ["data=vectors", f"data.gallery={vectors / 'glove6b_100d_top50k_f16.npy'}", "data.n_queries=1000"]


def as_float32(file: Path) -> Path:
    """The same vectors in another type: what is searched decides which kernels an index may use."""
    copy = Path(tempfile.gettempdir()) / f"{file.stem}_as_float32.npy"
    np.save(copy, np.load(file).astype(np.float32))
    return copy


def at_targets(points: pd.DataFrame) -> pd.DataFrame:
    """The fastest effort of each index that meets a target on the tuning half; numbers of the reporting half."""
    keys = ["stage", "index", "effort"]
    ok = points[(points["status"] == "ok") & (points["index"] != "null")]
    tune, report = (ok[ok["half"] == half] for half in ("tune", "report"))
    found = []
    for target in TARGETS:
        good = tune[tune["ann_recall"] >= target]
        best = good.loc[good.groupby(["stage", "index"])["latency_p50_ms"].idxmin(), keys]
        chosen = best.merge(report, on=keys)[COLUMNS].sort_values(["stage", "latency_p50_ms"])
        found.append(chosen.assign(target=target))
    table = pd.concat(found, ignore_index=True)
    return table[["target", *COLUMNS]].dropna(axis="columns", how="all")


def main() -> None:
    """Run one data set and write its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("sift", "sift_float32", "glove", "cars196", "glyphs"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_intermixed_args()
    record = run(["experiment=ann_vs_lsh", *overrides(args.name, args.data), *args.overrides])
    points = record.points.reindex(columns=sorted({*record.points.columns, *COLUMNS, "half"}))
    shown = points[(points["half"] == "all") & (points["index"] != "null")][COLUMNS]
    shown.dropna(axis="columns", how="all").to_csv(HERE / f"{args.name}.csv", index=False, float_format="%.5g")
    at_targets(points).to_csv(HERE / f"{args.name}_targets.csv", index=False, float_format="%.5g")
    print(record.folder)


if __name__ == "__main__":
    main()
