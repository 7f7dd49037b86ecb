"""What an evaluation costs: pytorch-metric-learning's AccuracyCalculator, the bare matrix product, and ours.

python experiments/evaluation_cost/run.py                 # label metrics of 60,502 items against themselves
python experiments/evaluation_cost/run.py --mode search   # exact top 10 beside faiss.knn, one thread
python experiments/evaluation_cost/run.py --mode overhead # Index beside the raw calls that it wraps

Every variant of the first mode runs in a fresh process, variants in turn, `--rounds` times; the table holds medians.
Memory is the peak resident size above what the process had after its imports and a warm-up on 2,000 items.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

HERE = Path(__file__).parent
N, DIM, CLASSES, LARGEST = 60_502, 128, 11_316, 12  # Stanford Online Products' test part
PML, BARE_TILES, BARE_ROWS, OURS, OURS_TWO_SETS = (
    "pytorch-metric-learning",
    "bare tiles",
    "bare rows",
    "ours",
    "ours, two sets",
)
ROWS, COLUMNS = 512, 512  # the tile of the bare product: the fastest of those tried, and the one that ours uses
VARIANTS = (PML, BARE_TILES, BARE_ROWS, OURS, OURS_TWO_SETS)


def clustered(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random vectors around one centre a class, 2 to 12 items a class."""
    rng = np.random.default_rng(seed)
    sizes = np.full(CLASSES, 2)
    while (missing := N - sizes.sum()) > 0:
        np.add.at(sizes, rng.integers(0, CLASSES, missing), 1)
        sizes = np.minimum(sizes, LARGEST)
    labels = rng.permutation(np.repeat(np.arange(CLASSES), sizes))
    vectors = rng.normal(size=(CLASSES, DIM))[labels] + 1.7 * rng.normal(size=(N, DIM))
    return vectors.astype(np.float32), labels.astype(np.int64)


# The variants: (vectors, labels) -> {metric: mean}


def pml(vectors, labels):
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"), k="max_bin_count"
    )
    found = calculator.get_accuracy(torch.from_numpy(vectors), torch.from_numpy(labels))
    return {
        "hit_rate@1": found["precision_at_1"],
        "r_precision": found["r_precision"],
        "map_at_r": found["mean_average_precision_at_r"],
    }


def bare_tiles(vectors, labels):
    from threadpoolctl import threadpool_limits

    def rows(start):
        tile = np.empty((ROWS, COLUMNS), np.float32)
        for first in range(0, len(vectors), COLUMNS):
            left, right = vectors[start : start + ROWS], vectors[first : first + COLUMNS]
            np.matmul(left, right.T, out=tile[: len(left), : len(right)])

    with threadpool_limits(1), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(rows, range(0, len(vectors), ROWS)))
    return {}


def bare_rows(vectors, labels):
    block = np.empty((512, len(vectors)), np.float32)
    for start in range(0, len(vectors), 512):
        left = vectors[start : start + 512]
        np.matmul(left, vectors.T, out=block[: len(left)])
    return {}


def ours(vectors, labels, two_sets=False):
    from retrieval_bench.metric.hit_rate import hit_rate
    from retrieval_bench.metric.map_at_r import map_at_r
    from retrieval_bench.metric.r_precision import r_precision
    from retrieval_bench.truth import exact_neighbours, judge, relevant_counts
    from retrieval_bench.types import Embeddings, GroundTruth, Similarity

    ids = np.arange(len(vectors))
    items = Embeddings(ids, vectors, labels)
    gallery = Embeddings(ids, vectors[:], labels) if two_sets else items  # another object: nothing may be shared
    truth = GroundTruth(ids, ids, labels, labels)
    depth = int(relevant_counts(truth).max())
    judged = judge(exact_neighbours(items, gallery, depth + 1, Similarity.EUCLIDEAN, 0), truth, depth)
    values = {"hit_rate@1": hit_rate(judged, 1), "r_precision": r_precision(judged), "map_at_r": map_at_r(judged)}
    return {name: float(np.nanmean(value)) for name, value in values.items()}


RUN = {
    PML: pml,
    BARE_TILES: bare_tiles,
    BARE_ROWS: bare_rows,
    OURS: ours,
    OURS_TWO_SETS: lambda vectors, labels: ours(vectors, labels, two_sets=True),
}


def memory(name: str) -> float:
    """VmRSS or VmHWM in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def child(variant: str, folder: Path) -> None:
    small, few = np.load(folder / "vectors.npy", mmap_mode="r")[:2000].copy(), np.load(folder / "labels.npy")[:2000]
    RUN[variant](small, few)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = memory("VmRSS")
    vectors, labels = np.load(folder / "vectors.npy"), np.load(folder / "labels.npy")
    wall, cpu = time.perf_counter(), time.process_time()
    values = RUN[variant](vectors, labels)
    row = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    print(json.dumps(row | {"peak_mb": memory("VmHWM") - before} | {k: float(v) for k, v in values.items()}))


def evaluation(rounds: int) -> list[dict]:
    runs: dict[str, list[dict]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, array in zip(("vectors", "labels"), clustered(), strict=True):
            np.save(folder / f"{file}.npy", array)
        for _ in range(rounds):
            for variant in VARIANTS:
                command = [sys.executable, __file__, "--child", variant, "--folder", name]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                runs[variant].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"{variant:26s}", {k: round(v, 4) for k, v in runs[variant][-1].items()}, flush=True)
    rows = [{"variant": v, **{k: median(r[k] for r in runs[v]) for k in runs[v][0]}} for v in VARIANTS]
    by = {row["variant"]: row for row in rows}
    bare = min(by[BARE_TILES]["seconds"], by[BARE_ROWS]["seconds"])
    for row in rows:
        row["time_of_pml"] = row["seconds"] / by[PML]["seconds"]
        row["memory_of_pml"] = row["peak_mb"] / by[PML]["peak_mb"]
        row["time_of_product"] = row["seconds"] / bare
    for name in ("hit_rate@1", "r_precision", "map_at_r"):
        for variant in (OURS, OURS_TWO_SETS):
            assert abs(by[variant][name] - by[PML][name]) < 1e-6, (name, by[variant][name], by[PML][name])
    return rows


def interleaved(calls: dict, repeats: int) -> dict[str, float]:
    """Median seconds of each call; the calls take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def search(rounds: int) -> list[dict]:
    import faiss

    from retrieval_bench.nearest import nearest
    from retrieval_bench.types import Similarity

    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    gallery, queries = (
        rng.normal(size=(100_000, 128)).astype(np.float32),
        rng.normal(size=(1000, 128)).astype(np.float32),
    )
    rows = []
    for similarity, metric in ((Similarity.EUCLIDEAN, faiss.METRIC_L2), (Similarity.DOT, faiss.METRIC_INNER_PRODUCT)):
        calls = {
            "faiss.knn": lambda m=metric: faiss.knn(queries, gallery, 10, metric=m),
            "ours": lambda s=similarity: nearest(queries, gallery, 10, s, 1),
        }
        assert (calls["faiss.knn"]()[1] == calls["ours"]()[0]).mean() > 0.999
        seconds = interleaved(calls, 3 * rounds)
        faster = seconds["faiss.knn"] / seconds["ours"]
        rows += [{"similarity": str(similarity), "call": n, "seconds": s, "faster": faster} for n, s in seconds.items()]
    return rows


def overhead(rounds: int) -> list[dict]:
    import faiss

    from retrieval_bench.search.exact import Exact
    from retrieval_bench.search.hnsw import HNSW
    from retrieval_bench.search.ivf import IVF
    from retrieval_bench.types import Similarity

    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    gallery, queries = (
        rng.normal(size=(20_000, 128)).astype(np.float32),
        rng.normal(size=(1000, 128)).astype(np.float32),
    )
    rows = []
    for index, effort in ((HNSW(m=8, ef_construction=40), 16), (IVF(), 1), (Exact(), None)):
        index.warm(gallery.dtype)
        index.build(gallery, Similarity.DOT, 0)
        parameters = None if effort is None else index._search_parameters(10, effort)

        def raw(block, index=index, effort=effort, parameters=parameters):
            if effort is None:
                scores = block @ gallery.T
                best = np.argpartition(scores, -10, axis=1)[:, -10:]
                order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
                return np.take_along_axis(best, order, 1)
            return index._index.search(block, 10, params=parameters)

        batch = interleaved(
            {"raw": lambda: raw(queries), "index": lambda i=index, e=effort: i.search(queries, 10, e)}, 3 * rounds
        )
        single = interleaved(
            {"raw": lambda: raw(queries[:1]), "index": lambda i=index, e=effort: i.search(queries[:1], 10, e)},
            400 * rounds,
        )
        rows.append(
            {
                "index": type(index).__name__,
                "batch_ratio": batch["index"] / batch["raw"],
                "single_raw_us": 1e6 * single["raw"],
                "single_over_us": 1e6 * (single["index"] - single["raw"]),
            }
        )
    return rows


MODES = {"evaluation": evaluation, "search": search, "overhead": overhead}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=MODES, default="evaluation")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.folder)
        return
    if options.mode != "evaluation":
        os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    rows = MODES[options.mode](options.rounds)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (HERE / f"{options.mode}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    for row in rows:
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
