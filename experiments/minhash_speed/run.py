"""MinHash signatures and banded tables beside datasketch's, on the same tokens, seed, bands and rows.

python experiments/minhash_speed/run.py                # 50,000 sets of 16 tokens, 128 permutations
python experiments/minhash_speed/run.py --sets 5000    # a quick look

Two collections: `near duplicates` (five sets around one, few candidates a query) and `crowded` (many sets around one,
hundreds of candidates a query). Both sides take turns, `--rounds` times, in one process and one thread; the table holds
medians. Before anything is timed, the signatures are compared bit for bit and the candidate sets row for row.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
from datasketch import MinHash, MinHashLSH

from retrieval_bench.search import _bands, _minhash

HERE = Path(__file__).parent
TOKENS, PERMUTATIONS, SEED = 16, 128, 1
WORDS = 4096
QUERIES = 1000
COLLECTIONS = {"near duplicates": 5, "crowded": 400}  # sets around one
SHAPES = ((32, 4), (64, 2), (32, 2))  # bands, rows


def token_sets(n: int, around: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [n, 16] and [queries, 16] as numbers; each set differs from its centre in about four tokens."""
    rng = np.random.default_rng(around)
    centres = rng.integers(0, WORDS, (n // around, TOKENS))

    def draw(size: int) -> np.ndarray:
        sets = centres[rng.integers(0, len(centres), size)]
        return np.where(rng.random(sets.shape) < 0.25, rng.integers(0, WORDS, sets.shape), sets)

    return draw(n), draw(queries)


def as_bytes(sets: np.ndarray) -> list[list[bytes]]:
    return [[int(token).to_bytes(4, "little") for token in row] for row in sets]


def interleaved(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each side; sides in turn."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def theirs_signed(hashes: list[list[int]]) -> list[MinHash]:
    return MinHash.bulk(hashes, num_perm=PERMUTATIONS, seed=SEED, hashfunc=int)


def signing(sets: np.ndarray, rounds: int) -> Iterator[dict[str, object]]:
    """From token hashes, and from bytes; one part of the sets, since datasketch takes seconds."""
    part = as_bytes(sets[:5000])
    hashes, drawn = _minhash.bulk_hashes(part), _minhash.permutations(PERMUTATIONS, SEED)
    numbers = hashes.tolist()
    equal = [m.hashvalues for m in MinHash.bulk(part, num_perm=PERMUTATIONS, seed=SEED)]
    np.testing.assert_array_equal(_minhash.signatures(hashes, drawn), equal)
    for what, sides in (
        (
            "sign, from token hashes",
            {
                "datasketch": lambda: theirs_signed(numbers),
                "ours": lambda: _minhash.signatures(hashes, drawn),
            },
        ),
        (
            "sign, from bytes",
            {
                "datasketch": lambda: MinHash.bulk(part, num_perm=PERMUTATIONS, seed=SEED),
                "ours": lambda: _minhash.signatures(_minhash.bulk_hashes(part), drawn),
            },
        ),
    ):
        yield row("any", what, "", interleaved(sides, rounds), len(part), 0)


class Theirs:
    """datasketch's index with its MinHash objects ready, so that only its own work is timed."""

    def __init__(self, signatures: np.ndarray, asked: np.ndarray, bands: int, rows: int) -> None:
        drawn = _minhash.permutations(PERMUTATIONS, SEED)
        self.shape = bands, rows
        self.items, self.queries = (
            [MinHash(hashvalues=s, permutations=drawn, seed=SEED, scheme="affine32") for s in part]
            for part in (signatures, asked)
        )

    def build(self) -> MinHashLSH:
        lsh = MinHashLSH(num_perm=PERMUTATIONS, params=self.shape)
        for key, minhash in enumerate(self.items):
            lsh.insert(key, minhash, check_duplication=False)
        return lsh


def tables(name: str, sets: np.ndarray, queries: np.ndarray, rounds: int) -> Iterator[dict[str, object]]:
    """Build, single queries and a batch, from signatures."""
    drawn = _minhash.permutations(PERMUTATIONS, SEED)
    signed = [_minhash.signatures(_minhash.bulk_hashes(as_bytes(part)), drawn) for part in (sets, queries)]
    for bands, rows in SHAPES:
        theirs = Theirs(*signed, bands, rows)
        lsh, ours = theirs.build(), _bands.Lookup(_bands.build(signed[0], bands, rows))
        answers = [np.sort(lsh.query(minhash)) for minhash in theirs.queries]
        for one, other in zip(ours(signed[1]), answers, strict=True):
            np.testing.assert_array_equal(np.sort(one), other)
        mean = float(np.mean([len(answer) for answer in answers]))
        shape = f"{bands} x {rows}"
        build = {"datasketch": theirs.build, "ours": lambda b=bands, r=rows: _bands.build(signed[0], b, r)}
        yield row(name, "build", shape, interleaved(build, min(rounds, 3)), len(sets), mean)
        lines = [signed[1][i : i + 1] for i in range(len(queries))]
        single = {
            "datasketch": lambda lsh=lsh, t=theirs: [lsh.query(minhash) for minhash in t.queries],
            "ours": lambda ours=ours, lines=lines: [ours(line) for line in lines],
        }
        yield row(name, "single query", shape, interleaved(single, rounds), len(queries), mean)
        batch = {
            "datasketch": single["datasketch"],
            "ours": lambda ours=ours: ours(signed[1]),
        }
        yield row(name, "batch", shape, interleaved(batch, rounds), len(queries), mean)


def row(
    collection: str, what: str, shape: str, seconds: dict[str, float], items: int, found: float
) -> dict[str, object]:
    return {
        "collection": collection,
        "what": what,
        "bands x rows": shape,
        "candidates a query": round(found, 1),
        "datasketch_us": round(1e6 * seconds["datasketch"] / items, 3),
        "ours_us": round(1e6 * seconds["ours"] / items, 3),
        "ratio": round(seconds["datasketch"] / seconds["ours"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    found: list[dict[str, object]] = []
    for name, around in COLLECTIONS.items():
        sets, queries = token_sets(options.sets, around, QUERIES)
        if not found:
            found += signing(sets, options.rounds)
        found += tables(name, sets, queries, options.rounds)
    with (HERE / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    for line in found:
        print(line)


if __name__ == "__main__":
    main()
