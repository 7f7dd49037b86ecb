"""What a sweep costs beside the work it is for: wall time against the sum of its parts.

    python experiments/sweep_cost/run.py [OVERRIDES]

Six backends × eight efforts × three build seeds on embeddings that are in the cache. The work is what the workers do:
builds, warm-ups, timed passes, quality searches. Everything else (starting and importing workers, loading embeddings,
exact truth, statistics, records, figures, pages) is the framework's own.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter

from retrieval_bench import run
from retrieval_bench._messages import Build, Collide, Search, Serve, TimePass
from retrieval_bench._workers import WorkerProcess

HERE = Path(__file__).parent
SEARCH = {
    "hnsw": [8, 16, 32, 64, 96, 128, 192, 256],
    "hnswlib": [8, 16, 32, 64, 96, 128, 192, 256],
    "ivf": [1, 2, 4, 8, 16, 32, 48, 64],
    "scalar": [1, 2, 4, 8, 16, 32, 48, 64],
    "annoy": [100, 300, 1000, 2000, 4000, 8000, 16000, 32000],
    "simhash": [1, 2, 4, 8, 16, 32, 48, 64],
}
WORK = (Build, Search, TimePass, Serve, Collide)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("overrides", nargs="*", default=["data=glyphs"])
    chosen = parser.parse_args().overrides
    overrides = ["name=sweep_cost", "logger=[]", f"search=[{','.join(SEARCH)}]", "measure.build_seeds=[0,1,2]", *chosen]
    overrides += [f"search.{name}.efforts=[{','.join(map(str, efforts))}]" for name, efforts in SEARCH.items()]
    folder = mkdtemp(prefix="sweep_cost_")
    spent: dict[str, float] = {}
    ask = WorkerProcess.ask

    def timed(worker: WorkerProcess, request: object) -> object:
        begin = perf_counter()
        try:
            return ask(worker, request)
        finally:
            name = type(request).__name__
            spent[name] = spent.get(name, 0.0) + perf_counter() - begin

    try:
        run(["name=warm", "logger=[]", "search=[exact]", f"paths.runs={folder}", *chosen])  # embeddings into the cache
        WorkerProcess.ask = timed  # type: ignore[method-assign]
        begin = perf_counter()
        run([*overrides, f"paths.runs={folder}"])
        wall = perf_counter() - begin
    finally:
        WorkerProcess.ask = ask  # type: ignore[method-assign]
        shutil.rmtree(folder)
    work = sum(seconds for name, seconds in spent.items() if name in {kind.__name__ for kind in WORK})
    found = {"wall_s": wall, "work_s": work, "ratio": wall / work, **{f"{k}_s": v for k, v in sorted(spent.items())}}
    found = {name: round(value, 3) for name, value in found.items()}
    (HERE / "table.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    assert found["ratio"] <= 1.15


if __name__ == "__main__":
    main()
