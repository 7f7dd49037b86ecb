"""The tokens, and components a band, that find the neighbours of a dense vector with the fewest candidates.

python experiments/minhash_tokenizers/run.py                     # 10,000 clustered vectors x 128
python experiments/minhash_tokenizers/run.py --gallery base.npy --queries queries.npy --similarity euclidean

Every index is built once. The smallest number of tables that reaches `--target` ann_recall@10 on one half of the
queries is chosen; recall, candidates and times are those of the other half. Single queries, one thread, indexes in
turn, medians of `--rounds`. A line without `tables` did not reach the target, and shows what all of its tables find.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"))

import numpy as np

from retrieval_bench.nearest import nearest
from retrieval_bench.search.minhash_lsh import MinHashLSH
from retrieval_bench.types import Similarity

HERE = Path(__file__).parent
K = 10
WORDS = [(None, None), (None, 4), (None, 8), (None, 32), (2048, 6), (2048, 16), (4096, 8), (4096, 16)]
SHARES = [16, 8, 4, 2]  # signed_top: dim / this
SHAPES = {"kmeans_words": [(1, 32), (2, 32), (2, 64), (3, 64)], "signed_top": [(2, 64), (4, 64), (6, 64)]}


@dataclass
class Line:
    """One index with what is known of it."""

    index: MinHashLSH
    build_s: float
    tables: int | None = None
    recall: float = 0.0
    candidates: float = 0.0
    seconds: tuple[float, ...] = ()


def clustered(n: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Gallery and 1,000 queries around common centres, unit vectors."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((n // 100, dim))
    x = centres[rng.integers(0, len(centres), n + 1000)] + 0.7 * rng.standard_normal((n + 1000, dim))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return x[:n], x[n:]


def prepared(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    if options.gallery is None:
        return clustered(options.n, options.dim)
    gallery = np.load(options.gallery)
    if options.queries is None:  # the last thousand rows of a permutation
        gallery = gallery[np.random.default_rng(0).permutation(len(gallery))]
        gallery, queries = gallery[:-1000], gallery[-1000:]
    else:
        queries = np.load(options.queries)
    if options.similarity is Similarity.COSINE:
        gallery, queries = (x / np.linalg.norm(x.astype(np.float32), axis=1, keepdims=True) for x in (gallery, queries))
    return np.ascontiguousarray(gallery), np.ascontiguousarray(queries, np.float32)


def found(index: MinHashLSH, queries: np.ndarray, truth: np.ndarray, tables: int) -> float:
    rows, _ = index.search(queries, K, tables)
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, rows, strict=True)]))


def chosen(index: MinHashLSH, queries: np.ndarray, truth: np.ndarray, target: float) -> int | None:
    """The fewest tables that reach the target, by bisection."""
    low, high = 0, index.bands
    if found(index, queries, truth, high) < target:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(index, queries, truth, middle) >= target else (middle, high)
    return high


def settings(dim: int) -> list[dict[str, object]]:
    words = [("kmeans_words", c, t) for c, t in WORDS]
    tops = [("signed_top", None, dim // share) for share in SHARES if dim // share]
    return [
        {
            "tokenizer": tokenizer,
            "centroids": centroids,
            "tokens": tokens,
            "band_rows": rows,
            "bands": bands,
            "permutations": rows * bands,
        }
        for tokenizer, centroids, tokens in words + tops
        for rows, bands in SHAPES[tokenizer]
    ]


def measured(gallery: np.ndarray, queries: np.ndarray, options: argparse.Namespace) -> list[Line]:
    truth, _ = nearest(queries, gallery, K, options.similarity)
    half = len(queries) // 2
    lines = []
    for setting in settings(gallery.shape[1]):
        index = MinHashLSH(**setting)
        index.warm(gallery.dtype)
        start = time.perf_counter()
        index.build(gallery, options.similarity, 0)
        line = Line(index, time.perf_counter() - start)
        line.tables = chosen(index, queries[:half], truth[:half], options.target)
        line.recall = found(index, queries[half:], truth[half:], line.tables or index.bands)
        line.candidates = float(index.candidates().mean()) / len(gallery)
        if line.tables is not None:
            lines.append(line)
        else:
            print(cells(line, options))
            line.index = MinHashLSH(**setting)  # its tables are not needed any more
            lines.append(line)
    timed([line for line in lines if line.tables is not None], queries[half:], options.rounds)
    return lines


def timed(lines: list[Line], queries: np.ndarray, rounds: int) -> None:
    """Seconds a single query, round by round."""
    singles = [queries[i : i + 1] for i in range(len(queries))]
    for _ in range(rounds):
        for line in lines:
            search, tables = line.index.search, line.tables
            start = time.perf_counter()
            for query in singles:
                search(query, K, tables)
            line.seconds += ((time.perf_counter() - start) / len(singles),)


def cells(line: Line, options: argparse.Namespace) -> dict[str, object]:
    index = line.index
    return {
        "data": options.name,
        "tokenizer": str(index.tokenizer),
        "centroids": index.centroids or "",
        "tokens": index.tokens or "",
        "r": index.band_rows,
        "L": index.bands,
        "tables": line.tables or "",
        "ann_recall@10": round(line.recall, 4),
        "candidate_fraction": round(line.candidates, 5),
        "single_us": round(1e6 * median(line.seconds), 1) if line.seconds else "",
        "build_s": round(line.build_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=Path)
    parser.add_argument("--queries", type=Path)
    parser.add_argument("--name", default="clustered")
    parser.add_argument("--similarity", type=Similarity, default=Similarity.COSINE)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--target", type=float, default=0.9)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows = [cells(line, options) for line in measured(*prepared(options), options)]
    file = HERE / "table.csv"
    kept = [row for row in csv.DictReader(file.open()) if row["data"] != options.name] if file.exists() else []
    with file.open("w", newline="") as out:  # one table for all data; a data set measured again replaces its lines
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(kept + rows)
    for row in sorted(rows, key=lambda row: row["single_us"] or 1e9):
        print(row)


if __name__ == "__main__":
    main()
