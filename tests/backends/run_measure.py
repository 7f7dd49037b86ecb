"""A measurement as a process of its own, to be killed by a test: FOLDER [index names]."""

import sys
from functools import partial
from pathlib import Path

import faulty
import numpy as np

from retrieval_bench.measure import Candidate, Measure, Plan, measure
from retrieval_bench.search.hnsw import HNSW
from retrieval_bench.types import Embeddings, Similarity

SETTINGS = Measure(passes=3, max_queries=20, batch_threads=1)
INDEXES = {
    "slow": partial(faulty.Slow, name="slow"),
    "brute": partial(faulty.Brute, name="brute"),
    "hnsw": partial(HNSW, m=4, efforts=[8, 16]),
}


def embeddings(n: int, first: int, seed: int, dim: int = 8) -> Embeddings:
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return Embeddings(np.arange(first, first + 3 * n, 3), vectors, fingerprint=f"random {seed}")


def run(folder, names, tell=lambda text, done, total: None, settings=SETTINGS, similarity=Similarity.COSINE):
    candidates = [
        Candidate(name, INDEXES[name] if name in INDEXES else partial(getattr(faulty, name))) for name in names
    ]
    plan = Plan(similarity, [4], 1, 0, settings)
    return measure(candidates, embeddings(30, 100_000, 1), embeddings(200, 7, 2), plan, folder, tell)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:], lambda text, done, total: print(f"{text} [{done}/{total}]", flush=True))
