"""Exact nearest neighbours: the kernel behind the truth, the label metrics and `search/exact.py`.

A search is three steps, each on blocks that stay in cache:

1. float32 product of a tile of queries and gallery rows, and a compiled scan that keeps the best k and a few more per
   query by comparing whole spans of the tile with the worst score kept so far; where the processor multiplies bytes
   (AVX-512 VNNI), 8-bit products tell first which rows could pass, and only those get a float32 score (`_filter.py`);
2. exact float64 scores of what was kept, from the vectors themselves (no norms, so nothing cancels);
3. a proof, from the rounding bound of the product, that nothing turned away could be among the best k. Queries without
   proof (near-ties, collapsed embeddings) go through steps 1 and 2 again in float64, and at last with exact scores.

So the answer is that of plain float64 arithmetic with ties broken by smaller row, whatever the number of threads.
Cost: one float32 product, or an 8-bit one at a quarter of it; for a query in a near-tie that spans more than
max(4, k/8) rows, one float64 product more (about 2.5 ×); where ties remain after that, one pass of scalar float64
(about 20 ×), once for each distinct query.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._blocks import (
    KIND,
    Arithmetic,
    Frame,
    Side,
    Vectors,
    exact_scores,
    norms,
    read_only,
    rows_per_block,
    survey,
)
from retrieval_bench.machine import cores
from retrieval_bench.types import Similarity

if TYPE_CHECKING:
    from retrieval_bench._slab import Workers
    from retrieval_bench._tiles import Best

__all__ = ["nearest", "nearest_float32", "nearest_of_one", "rescore", "tie_tolerance"]

SLAB_BYTES = 16 << 20  # converted gallery vectors held at once: they stay in the last cache
WHOLE_BYTES = 128 << 20  # or all of them, where each product serves both sides
STATE_BYTES = 64 << 20  # candidates held at once
SHORT = (np.dtype(np.float32), np.dtype(np.uint8))  # galleries that a single query is compared with as they are


def nearest(
    queries: Vectors,
    gallery: Vectors,
    k: int,
    similarity: Similarity,
    threads: int | None = None,
    *,
    order: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k nearest gallery rows of each query, exactly.

    Args:
        queries: [q, dim], finite, of any real dtype, memory maps included, converted block by block.
        gallery: [n, dim]. If it is the same object as `queries`, every product serves two rows. Nothing is excluded:
            a query finds itself.
        k: depth; more than n pads with row -1, score -inf.
        similarity: how two vectors are compared.
        threads: by default all processors this process may use.
        order: a permutation of the gallery rows, whose order decides among equal scores; by default the smaller row.

    Returns:
        rows [q, k] and scores [q, k], best first; larger = closer, euclidean = negative distance. Equal means equal
        in float64: rows whose float32 scores agree need not stand in row order.

    Raises:
        ValueError: k < 1, or shapes that do not fit.
    """
    search = _search(queries, Side(gallery, order), k, similarity)
    rows, scores = search.rows, search.scores
    if len(queries) and len(gallery):
        with _workers(threads or cores()) as workers:
            left = search.answer(search.all_queries(), Arithmetic.SINGLE, workers)
            left, copies, originals = _distinct(queries, left)
            left = search.answer(left, Arithmetic.DOUBLE, workers)
            search.answer(left, Arithmetic.DIRECT, workers)
        rows[copies], scores[copies] = rows[originals], scores[originals]
    return rows, scores


def nearest_float32(
    queries: Vectors, gallery: Vectors, k: int, similarity: Similarity, threads: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """`nearest` without the proof: neighbours that float32 cannot tell apart may stand for each other.

    What an exact index does, and what it costs; the proof belongs to the truth, not to a latency.
    """
    search = _search(queries, Side(gallery, None), k, similarity)
    if len(queries) and len(gallery):
        with _workers(threads or cores()) as workers:
            search.answer(search.all_queries(), Arithmetic.SINGLE, workers)
    return search.rows, search.scores


def _search(queries: Vectors, gallery: Side, k: int, similarity: Similarity) -> _Search:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    shape = gallery.vectors.shape
    if queries.ndim != 2 or len(shape) != 2 or queries.shape[1] != shape[1]:
        raise ValueError(f"queries [q, dim] and gallery [n, dim] are needed, not {queries.shape} and {shape}")
    rows = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    return _Search(queries, gallery, (rows, scores), Similarity(similarity))


def nearest_of_one(
    query: Vectors, gallery: Vectors, k: int, similarity: Similarity
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """`nearest_float32` for one float32 query [1, dim]: rows [1, k], scores [1, k], compiled as a whole.

    Falls back to `nearest_float32` for depths and dtypes that the short way does not serve.
    """
    from retrieval_bench._pairs import DEEPEST, search_one

    if 0 < k <= min(DEEPEST, len(gallery)) and gallery.dtype in SHORT and query.dtype == np.float32:
        rows, scores = np.empty((1, k), np.int64), np.empty((1, k), np.float32)
        search_one(read_only(query[0]), read_only(gallery), KIND[similarity], rows[0], scores[0])
        return rows, scores
    return nearest_float32(query, gallery, k, similarity, 1)


def rescore(queries: Vectors, gallery: Vectors, rows: NDArray[np.int64], similarity: Similarity) -> NDArray[np.float64]:
    """Exact scores [q, k] in float64 of the given gallery rows [q, k] of each query; -inf at row -1."""
    out = np.empty(rows.shape)
    step = max(1, rows_per_block(queries.shape[1]) // (1 + rows.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        out[part] = exact_scores(np.asarray(queries[part]), gallery, rows[part], similarity)
    return out


def tie_tolerance(
    queries: Vectors,
    gallery: Vectors,
    rows: NDArray[np.int64],
    scores: NDArray[np.floating[Any]],
    similarity: Similarity,
) -> NDArray[np.float64]:
    """How far below the score of a row another may lie and still tie with it: [q, k], 0 at row -1.

    The larger of a relative 1e-6 and the float32 rounding bound of the product, dim · 2^-24 · |query| |row| (cosine:
    dim · 2^-24). A squared euclidean distance carries twice that bound, and so a distance near zero its square root.
    """
    found = rows >= 0
    values = np.abs(np.where(found, scores, 0).astype(np.float64))
    bound = np.full(rows.shape, queries.shape[1] * 2.0**-24)
    if similarity is not Similarity.COSINE:
        step = max(1, rows_per_block(queries.shape[1]) // (1 + rows.shape[1]))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            lengths = norms(np.asarray(gallery[np.maximum(rows[part], 0).ravel()])).reshape(rows[part].shape)
            bound[part] *= lengths * norms(np.asarray(queries[part]))[:, None]
    if similarity is Similarity.EUCLIDEAN:
        bound = np.sqrt(values**2 + 2 * bound) - values
    return np.where(found, np.maximum(1e-6 * values, bound), 0.0)


class _Search:
    """What the passes of one call share."""

    def __init__(
        self,
        queries: Vectors,
        gallery: Side,
        out: tuple[NDArray[np.int64], NDArray[np.float32]],
        similarity: Similarity,
    ) -> None:
        n = len(gallery)
        self.queries, self.gallery = queries, gallery
        self.rows, self.scores = out
        self.k = min(self.rows.shape[1], n)
        self.keep = min(n, self.k + max(4, self.k // 8))
        self.frame = survey(queries, gallery.vectors, similarity)
        small = n * gallery.dim * 4 <= WHOLE_BYTES and n * self.keep * 16 <= 2 * STATE_BYTES
        self.symmetric = queries is gallery.vectors and small

    def all_queries(self) -> NDArray[np.int64]:
        """Every query row; in the order of the gallery where each product serves both sides."""
        if self.symmetric and self.gallery.order is not None:
            return self.gallery.order
        return np.arange(len(self.queries))

    def answer(self, left: NDArray[np.int64], arithmetic: Arithmetic, workers: Workers) -> NDArray[np.int64]:
        """Answer the queries `left`; returns those whose answer is not proven."""
        frame = self.frame.using(arithmetic)
        symmetric = self.symmetric and arithmetic is Arithmetic.SINGLE
        step = max(1, len(left)) if symmetric else max(256, STATE_BYTES // (self.keep * 16))
        unsure = [left[:0]]
        for start in range(0, len(left), step):
            rows = left[start : start + step]
            unsure.append(rows[~self._part(Side(self.queries, rows), frame, symmetric, workers)])
        return np.concatenate(unsure)

    def _part(self, part: Side, frame: Frame, symmetric: bool, workers: Workers) -> NDArray[np.bool_]:
        """Answer some queries at once, against one slab of the gallery after the other; which are proven: [part]."""
        from retrieval_bench._filter import worth_while
        from retrieval_bench._slab import TILE_COLUMNS, TILE_ROWS, Slab
        from retrieval_bench._tiles import close, empty_best

        n = len(self.gallery)
        best = empty_best(len(part), self.keep, n, frame.dtype)
        size = n if symmetric else min(n, max(TILE_COLUMNS, SLAB_BYTES // (4 * max(1, part.dim))))
        filtered = frame.arithmetic is Arithmetic.SINGLE and worth_while(len(part), n, part.dim, self.keep)
        slab = Slab(self.gallery, frame, size, filtered=filtered)
        rows = min(TILE_ROWS, -(-len(part) // workers.threads))
        for start in range(0, n, size):
            slab.read(start, workers)
            if symmetric:
                slab.scan_symmetric(best, workers)
            else:
                workers.run(partial(slab.scan, part, best, rows), len(part), rows)
        close(best)
        sure = np.zeros(len(part), np.bool_)

        def finish(first: int) -> None:
            chunk = slice(first, min(first + TILE_ROWS, len(part)))
            kth = self._write(part, chunk, best)
            queries = part.block(chunk.start, chunk.stop, frame)
            sure[chunk] = self._proven(queries, frame, kth, best.limits[chunk], slab.largest)

        workers.run(finish, len(part), TILE_ROWS)
        return sure

    def _write(self, part: Side, chunk: slice, best: Best) -> NDArray[np.float64]:
        """Order what was kept by exact score, then by position, and write the first k; the k-th score: [chunk]."""
        positions = best.rows[chunk, : self.keep].astype(np.int64)
        positions[np.arange(self.keep) >= best.counts[chunk, None]] = np.iinfo(np.int64).max
        positions.sort(axis=1)
        missing = positions == np.iinfo(np.int64).max
        places = self.gallery.at(np.where(missing, 0, positions))
        places[missing] = -1
        similarity = self.frame.similarity
        scores = exact_scores(part.raw(chunk.start, chunk.stop), self.gallery.vectors, places, similarity)
        ranks = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
        into = part.at(np.arange(chunk.start, chunk.stop))
        kept = np.take_along_axis(scores, ranks, 1)
        self.rows[into, : self.k] = np.take_along_axis(places, ranks, 1)
        with np.errstate(over="ignore"):  # a product beyond float32 is infinite; its place in the order is right
            self.scores[into, : self.k] = kept
        return kept[:, -1]

    def _proven(
        self, queries: Vectors, frame: Frame, kth: NDArray[np.float64], limits: Vectors, largest: float
    ) -> NDArray[np.bool_]:
        """Whether the k-th exact score is beyond whatever was turned away, which is at most the limit + its error."""
        if self.keep == len(self.gallery):
            return np.ones(len(kth), np.bool_)
        error = frame.error(norms(queries), largest)
        proven: NDArray[np.bool_] = (error == 0) | (frame.value(queries, kth) > limits + error)
        return proven


def _distinct(
    queries: Vectors, left: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Equal queries have equal answers: the distinct ones of `left`, the rest, and the equal of each of the rest."""
    first: dict[bytes, int] = {}
    originals = [first.setdefault(blake2b(np.asarray(queries[row]).tobytes()).digest(), int(row)) for row in left]
    equal = np.array(originals, np.int64)
    return left[equal == left], left[equal != left], equal[equal != left]


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def _workers(threads: int) -> Iterator[Workers]:
    """So many threads, each with its own one-thread product."""
    from retrieval_bench._slab import Workers

    with _blas().limit(limits=1, user_api="blas"):
        if threads == 1:
            yield Workers(1)
            return
        with ThreadPoolExecutor(threads) as pool:
            yield Workers(threads, pool)
