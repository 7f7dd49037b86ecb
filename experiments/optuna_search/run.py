"""A search by Optuna against the grid: the fastest index within a loss of map_at_r, in a quarter of its evaluations.

    python experiments/optuna_search/run.py             measures the grid once (grid.csv), then searches it with 5 seeds
    python experiments/optuna_search/run.py --replay    searches the grid.csv that is there; --seeds 15: with more seeds

An evaluation is one operating point: one index, its build parameters, one effort. The grid is measured by one
run, all indexes in turn; a search is told the measured points, so that five seeds see the same machine.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from retrieval_bench import run
from retrieval_bench.objective import Choice, Objective
from retrieval_bench.record import digest
from retrieval_bench.study import Study

HERE = Path(__file__).parent
LOSS = 0.01
BUILDS: dict[str, dict[str, list[int]]] = {
    "hnsw": {"m": [8, 16, 32], "ef_construction": [50, 200]},
    "ivf": {"nlist": [64, 128, 256, 512]},
    "scalar": {"nlist": [64, 128, 256, 512]},
    "annoy": {"trees": [10, 30, 100]},
    "simhash": {"tables": [8, 16, 32], "bits": [12, 16]},
    "minhash_lsh": {"bands": [16, 32, 64], "band_rows": [1, 2]},
}
EFFORTS = {
    "hnsw": [8, 16, 32, 64, 128, 256, 512, 1024],
    "annoy": [100, 300, 1000, 3000, 6000, 12000, 25000, 50000],
    "simhash": [1, 2, 4, 8, 16, 32, 64, 128],
    "minhash_lsh": [1, 2, 4, 6, 8, 10, 12, 16],
}
PROBES = [1, 2, 4, 8, 16, 32, 48, 64]  # of the inverted lists
COLUMNS = ["latency_p50_ms", "latency_p50_ms_lo", "latency_p50_ms_hi", "ann_loss_map_at_r", "ann_recall", "status"]


def builds(index: str) -> list[dict[str, int]]:
    names = BUILDS[index]
    return [dict(zip(names, values, strict=True)) for values in product(*names.values())]


def measured(overrides: list[str]) -> pd.DataFrame:
    """The grid: one row an operating point, with the settings that a search would type."""
    named = {f"{index}_{place}": (index, build) for index in BUILDS for place, build in enumerate(builds(index))}
    chosen = []
    for name, (index, build) in named.items():
        chosen.append(f"+search@search.{name}={index}")
        chosen += [f"search.{name}.{parameter}={value}" for parameter, value in build.items()]
        chosen.append(f"search.{name}.efforts=[{','.join(map(str, EFFORTS.get(index, PROBES)))}]")
    points = run(["name=optuna_search", "search=[exact]", *chosen, "logger=[]", *overrides]).points
    rows = []
    for row in points[points["index"].isin(named) & (points["half"] == "all")].to_dict("records"):
        index, build = named[row["index"]]
        settings = {name: str(value) for name, value in build.items()} | {"efforts": f"[{row['effort']:.0f}]"}
        rows.append({"index": index, **settings, **{name: row[name] for name in COLUMNS}})
    return pd.DataFrame(rows)


def searched(grid: pd.DataFrame, seed: int) -> dict[str, object]:
    """One search over the measured points."""
    names = [*dict.fromkeys(name for build in BUILDS.values() for name in build), "efforts"]
    points, spaces = {}, []
    for index, group in grid.groupby("index", sort=False):
        own = [name for name in names if group[name].notna().all()]
        space = {"index": Choice((str(index),))}
        for name in own:
            values = tuple(dict.fromkeys(group[name]))
            space[name] = Choice(values, True, name == "efforts")
        spaces.append(space)
        for row in group.to_dict("records"):
            points[digest({"index": index} | {name: row[name] for name in own})] = row
    budget = len(grid) // 4
    with TemporaryDirectory() as folder:
        study = Study(Path(folder) / "journal", spaces, Objective(("latency_p50_ms",), {"ann_loss_map_at_r": LOSS}),
                      budget, len(spaces), seed)  # fmt: skip
        made = 0
        while study.left and (proposal := study.ask()) is not None:
            row = points.get(digest(proposal.settings))
            study.tell(proposal, [] if row is None else [row])
            made += 1
        found = study.best()
    kept = grid[(grid["status"] == "ok") & (grid["ann_loss_map_at_r"] <= LOSS)]
    winner = kept.loc[kept["latency_p50_ms"].idxmin()]
    best = found[0][1][0] if found else float("nan")
    return {
        "seed": seed, "grid": len(grid), "evaluations": made, "found_ms": best, "winner_ms": winner["latency_p50_ms"],
        "winner_hi_ms": winner["latency_p50_ms_hi"], "within": best <= winner["latency_p50_ms_hi"],
        "found": " ".join(f"{k}={v}" for k, v in found[0][0].items()) if found else "",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--seeds", type=int, default=5, help="searches; the table holds all of them")
    parser.add_argument("overrides", nargs="*", default=["data=glyphs", "k=[120]", "measure.max_queries=300"])
    args = parser.parse_args()
    if not args.replay:
        measured(args.overrides).to_csv(HERE / "grid.csv", index=False, float_format="%.5g")
    typed = {name: str for build in BUILDS.values() for name in [*build, "efforts"]}
    grid = pd.read_csv(HERE / "grid.csv", dtype=typed)
    table = pd.DataFrame([searched(grid, seed) for seed in range(args.seeds)])
    table.to_csv(HERE / "table.csv", index=False, float_format="%.5g")
    print(table.to_string(index=False))
    assert table["within"].all() and (table["evaluations"] <= table["grid"] // 4).all()


if __name__ == "__main__":
    main()
