"""What the harness adds to a library's own single-query call: a raw loop over the call beside `Index.search`.

python experiments/harness_overhead/run.py            # 20,000 × 128, k = 10, one thread; a minute and a half
python experiments/harness_overhead/run.py --only annoy

Both answer the same prepared queries, one after the other in a random order a round, so that each has the other's cache
and clock. What a library takes is prepared outside of its timer: parameters are set, and annoy gets lists.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from retrieval_bench.search.annoy import Annoy
from retrieval_bench.search.base import Index
from retrieval_bench.search.hnsw import HNSW
from retrieval_bench.search.hnswlib import HNSWLib
from retrieval_bench.search.ivf import IVF
from retrieval_bench.search.ivf_pq import IVFPQ
from retrieval_bench.search.rabitq import RaBitQ
from retrieval_bench.search.scalar import Scalar
from retrieval_bench.search.usearch import USearch
from retrieval_bench.types import Similarity

HERE = Path(__file__).parent
N, DIM, QUERIES, K = 20_000, 128, 1000, 10
Call = Callable[[int], object]
# Name → index, its lowest effort: where the library does the least, ours weighs the most.
INDEXES: dict[str, tuple[Callable[[], Index], int]] = {
    "hnsw": (HNSW, 16),
    "ivf": (IVF, 1),
    "scalar": (Scalar, 1),
    "ivf_pq": (IVFPQ, 1),
    "rabitq": (RaBitQ, 1),
    "hnswlib": (HNSWLib, 16),
    "usearch": (USearch, 16),
    "annoy": (Annoy, 100),
}


def raw_calls(name: str, index: Index, queries: list[np.ndarray], effort: int) -> dict[str, Call]:
    """The library's own calls; with the re-ranking where an index re-ranks, which is no library's."""
    inner = index._index
    if name == "hnswlib":
        inner.set_ef(effort)
        return {"knn_query": lambda i: inner.knn_query(queries[i], K)}
    if name == "usearch":
        inner.expansion_search = effort
        return {"Index.search": lambda i: inner.search(queries[i], K, threads=1)}
    if name == "annoy":
        lists = [query[0].tolist() for query in queries]
        return {"get_nns_by_vector": lambda i: inner.get_nns_by_vector(lists[i], K, effort, True)}
    index.search(queries[0], K, effort)
    parameters, depth, rerank = index._params, index._depth, index._rerank
    calls: dict[str, Call] = {"Index.search": lambda i: inner.search(queries[i], depth, params=parameters)}
    if rerank is not None:
        calls["Index.search and re-ranking"] = lambda i: rerank(
            queries[i], inner.search(queries[i], depth, params=parameters)[1], K
        )
    return calls


def interleaved(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Median microseconds of a call; in every round each call answers every query once, the calls in random order."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    order, queries, clock = list(calls), list(range(QUERIES)), time.perf_counter_ns
    random.seed(0)
    for number in range(rounds + 1):
        random.shuffle(queries)
        for i in queries:
            random.shuffle(order)
            for name in order:
                call = calls[name]
                call(i)  # the one that is timed finds the query's vertices or lists in cache, whoever went first
                begin = clock()
                call(i)
                spent = clock() - begin
                if number:  # the first round warms up
                    times[name].append(spent)
    return {name: median(values) / 1000 for name, values in times.items()}


def measured(name: str, rounds: int) -> list[dict]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((200, DIM))
    vectors = centres[rng.integers(0, 200, N + QUERIES)] + 0.7 * rng.standard_normal((N + QUERIES, DIM))
    gallery, asked = vectors[:N].astype(np.float32), vectors[N:].astype(np.float32)
    queries = [asked[i : i + 1] for i in range(QUERIES)]
    make, effort = INDEXES[name]
    index = make()
    index.warm(np.dtype(np.float32))
    index.set_threads(1)
    rows = []
    for similarity in Similarity:
        if similarity is Similarity.COSINE:
            gallery, queries = (unit(gallery), [unit(query) for query in queries])
        index.build(gallery, similarity, 0)
        raw = raw_calls(name, index, queries, effort)
        ours: dict[str, Call] = {"ours": lambda i, q=queries: index.search(q[i], K, effort)}
        found = interleaved(raw | ours, rounds)
        for call, spent in found.items():
            if call != "ours":
                row = {"backend": name, "similarity": str(similarity), "effort": effort, "raw call": call}
                rows.append(row | {"raw_us": spent, "ours_us": found["ours"], "over_us": found["ours"] - spent})
                print({k: round(v, 2) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    return rows


def unit(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=INDEXES)
    options = parser.parse_args()
    rows = [row for name in INDEXES if options.only in {None, name} for row in measured(name, options.rounds)]
    if options.only is None:
        with (HERE / "overhead.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()} for row in rows)


if __name__ == "__main__":
    main()
