"""Backends of a user's own, outside the package: one that works, and every way to fail."""

import ctypes
import errno
import os
import signal
import time
from pathlib import Path

import numpy as np

from retrieval_bench.errors import MissingExtra
from retrieval_bench.search.base import Family, Index
from retrieval_bench.types import Similarity


def note(line: str) -> None:
    """Append to the log that the test reads."""
    if "FAULTY_LOG" in os.environ:
        with Path(os.environ["FAULTY_LOG"]).open("a") as log:
            log.write(line + "\n")


class Brute(Index):
    """Float64 brute force."""

    similarities = frozenset(Similarity)
    knob = "breadth"

    def __init__(self, name: str = "brute", efforts: tuple[int, ...] = (1, 2)) -> None:
        self.name, self.efforts = name, tuple(efforts)

    def build(self, vectors, similarity, seed):
        note(f"build {self.name} {vectors.dtype}")
        self.vectors, self.similarity = vectors.astype(np.float64), similarity

    def search(self, queries, k, effort):
        note(f"search {self.name} {effort} {len(queries)} {k}")
        products = queries.astype(np.float64) @ self.vectors.T
        if self.similarity is Similarity.EUCLIDEAN:
            squares = (self.vectors**2).sum(1) + (queries.astype(np.float64) ** 2).sum(1)[:, None] - 2 * products
            products = -np.sqrt(np.maximum(squares, 0))
        rows = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        order = np.argsort(-products, axis=1, kind="stable")[:, :k]
        rows[:, : order.shape[1]] = order
        scores[:, : order.shape[1]] = np.take_along_axis(products, order, 1)
        return rows, scores

    def save(self, path):
        np.savez(path / "brute.npz", vectors=self.vectors, similarity=str(self.similarity))

    def load(self, path):
        note(f"load {self.name}")
        with np.load(path / "brute.npz") as file:
            self.vectors, self.similarity = file["vectors"], Similarity(str(file["similarity"]))

    def close(self):
        note(f"close {self.name}")


class Loads(Brute):
    """Loads only beside another one like it, which has to be there within a minute."""

    def warm(self, dtype):
        note(f"warm {self.name} {dtype}")
        for _ in range(600):
            lines = Path(os.environ["FAULTY_LOG"]).read_text().splitlines()
            if sum(line.startswith("warm") for line in lines) > 1:
                return
            time.sleep(0.1)
        raise RuntimeError("nobody loads beside it")


class CannotLoad(Brute):
    """Fails while it loads."""

    def warm(self, dtype):
        raise RuntimeError("its kernel does not compile")


class Slow(Brute):
    """Takes its time to build."""

    def build(self, vectors, similarity, seed):
        time.sleep(0.5)
        super().build(vectors, similarity, seed)


class Snail(Brute):
    """5 ms a query."""

    def search(self, queries, k, effort):
        time.sleep(0.005)
        return super().search(queries, k, effort)


class Sampling(Brute):
    """Looks at the first `effort` hundredths of the gallery, and has a theory of it: every pair alike."""

    def search(self, queries, k, effort):
        note(f"sample {effort} {len(queries)}")
        whole = self.vectors
        self.vectors = whole[: max(1, len(whole) * min(effort, 100) // 100)]
        answer = super().search(queries, k, effort)
        self.vectors = whole
        return answer

    def candidate_sets(self, queries, effort):
        return [np.arange(len(self.vectors) * min(effort, 100) // 100)] * len(queries)

    def collision(self, queries, rows, effort):
        return np.einsum("qd,qmd->qm", queries, self.vectors[rows]), np.full(rows.shape, min(effort, 100) / 100)


class Killed(Brute):
    def build(self, vectors, similarity, seed):
        os.kill(os.getpid(), signal.SIGKILL)


class Ravenous(Brute):
    """Takes 64 MB to build and 256 MB to search a batch."""

    def build(self, vectors, similarity, seed):
        np.ones(8 * 2**20)
        super().build(vectors, similarity, seed)

    def search(self, queries, k, effort):
        if len(queries) > 1:
            np.ones(32 * 2**20)
        return super().search(queries, k, effort)


class Segfault(Brute):
    def build(self, vectors, similarity, seed):
        ctypes.string_at(0)


class DiesInAPass(Brute):
    def search(self, queries, k, effort):
        if len(queries) == 1 and effort == 2:
            os._exit(3)
        return super().search(queries, k, effort)


class Hanging(Brute):
    def build(self, vectors, similarity, seed):
        time.sleep(1000)


class Greedy(Brute):
    def build(self, vectors, similarity, seed):
        note("greedy")
        self.hoard = []
        while True:
            self.hoard.append(np.ones(2_000_000))
            time.sleep(0.005)


class Raising(Brute):
    def build(self, vectors, similarity, seed):
        raise RuntimeError("no luck today")


class Missing(Brute):
    def __init__(self, efforts: tuple[int, ...] = (1, 2)) -> None:
        raise MissingExtra("frobnicate", "frob")


class OnlyDot(Brute):
    similarities = frozenset({Similarity.DOT})


class FullDisk(Brute):
    def save(self, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Lying(Brute):
    def search(self, queries, k, effort):
        rows, scores = super().search(queries, k, effort)
        return rows, scores + np.float32(0.01)


class UpsideDown(Brute):
    """Distances instead of negative distances."""

    def search(self, queries, k, effort):
        rows, scores = super().search(queries, k, effort)
        return rows[:, ::-1], -scores[:, ::-1]


class Quantised(Lying):
    approximate_scores = True


class Repeating(Brute):
    def search(self, queries, k, effort):
        rows, scores = super().search(queries, k, effort)
        rows[:, 1], scores[:, 1] = rows[:, 0], scores[:, 0]
        return rows, scores


class Outside(Brute):
    def search(self, queries, k, effort):
        rows, scores = super().search(queries, k, effort)
        rows[0, 0] = len(self.vectors)
        return rows, scores


class Squeezed(Brute):
    def search(self, queries, k, effort):
        rows, scores = super().search(queries, k, effort)
        return rows[:, :-1], scores[:, :-1]


class FailingSearch(Brute):
    """Builds, and then cannot answer."""

    def search(self, queries, k, effort):
        raise RuntimeError("its own mistake")


class FailingServer(FailingSearch):
    """The same in a database, where what was built stays behind unless it is closed."""

    family = Family.SERVER
