"""Vectors read block by block and brought into a frame in which float32 products are accurate; for `nearest.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.types import Similarity

Vectors = NDArray[Any]
NATIVE = tuple(np.dtype(t) for t in (np.float32, np.float64, np.uint8))  # compiled code reads these without a copy
KIND = {Similarity.COSINE: 0, Similarity.DOT: 1, Similarity.EUCLIDEAN: 2}
BLOCK_BYTES = 8 << 20


class Arithmetic(IntEnum):
    """What the tiles of a pass are made of, cheapest first."""

    SINGLE = 0  # float32 product
    DOUBLE = 1  # float64 product
    DIRECT = 2  # exact scores of all pairs


@dataclass(frozen=True, eq=False)
class Frame:
    """How vectors are moved and scaled; the same for queries and gallery.

    All similarities are centred, because what all vectors share only costs digits: the cosines of an anisotropic
    encoder are all near 1, and float32 cannot order them. With q and x centred at c (unit vectors under cosine), a
    larger q·x - |x|²/2 (euclidean, cosine) or q·x + c·x (dot) is closer: for one query it rises with the score.
    """

    similarity: Similarity
    arithmetic: Arithmetic
    centre: NDArray[np.float64]  # of scaled (cosine: unit) vectors
    scale: float  # a power of two, so that no square leaves the range of float32; applied first
    whole: bool  # all components are integers, after centring too

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """Of converted blocks and tiles."""
        return np.float32 if self.arithmetic is Arithmetic.SINGLE else np.float64

    def bring(self, rows: Vectors) -> NDArray[np.float64]:
        """Vectors in the frame, in float64."""
        rows = rows.astype(np.float64)
        if self.similarity is Similarity.COSINE:
            lengths = norms(rows)
            rows /= np.where(lengths > 0, lengths, 1)[:, None]
        elif self.scale != 1:
            rows *= self.scale
        rows -= self.centre
        return rows

    def using(self, arithmetic: Arithmetic) -> Frame:
        """The same frame for another pass."""
        return replace(self, arithmetic=arithmetic)

    def error(self, lengths: NDArray[np.float64], largest: float) -> NDArray[np.float64]:
        """Bound on |tile value - true value| for queries of these norms and gallery vectors up to the largest norm."""
        if self.arithmetic is Arithmetic.DIRECT:
            return np.zeros(len(lengths))
        single = self.arithmetic is Arithmetic.SINGLE
        unit, mantissa, least = (2.0**-24, 2.0**23, 2.0**-149) if single else (2.0**-53, 2.0**52, 2.0**-1074)
        shift = float(norms(self.centre[None])[0]) if self.similarity is Similarity.DOT else 0.0
        rest = (lengths + largest) * (lengths + largest + shift)
        terms = len(self.centre) + 8
        bound = 2 * unit * (terms * lengths * largest + 4 * rest)
        bound += terms * least * (1 + lengths + largest + shift)  # what vanishes below the smallest number
        exact = (lengths + largest + shift) * largest < mantissa if self.whole else False
        return np.where(exact, 0.0, bound)

    def value(self, queries: Vectors, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """What a tile would hold, without rounding, where a query [m, dim] in the frame has this exact score: [m]."""
        if self.arithmetic is Arithmetic.DIRECT:
            return scores
        if self.similarity is Similarity.DOT:
            return scores * self.scale**2 - queries.astype(np.float64) @ self.centre - self.centre @ self.centre
        squares = norms(queries) ** 2
        if self.similarity is Similarity.COSINE:
            return squares / 2 - 1 + scores
        return (squares - (scores * self.scale) ** 2) / 2


def survey(queries: Vectors, gallery: Vectors, similarity: Similarity) -> Frame:
    """Choose the frame: scale from the largest component, centre from a sample of gallery rows."""
    scale, whole, largest = 1.0, similarity is not Similarity.COSINE, 0.0
    for side in (gallery,) if queries is gallery else (gallery, queries):
        size, integral = _extent(side, whole) if similarity is not Similarity.COSINE else (1.0, False)
        largest, whole = max(largest, size), whole and integral
    if not 1e-12 < largest < 1e12 and largest > 0:
        scale, whole = 2.0 ** -np.frexp(largest)[1], False
    frame = Frame(similarity, Arithmetic.SINGLE, np.zeros(gallery.shape[1]), scale, whole)
    sample = frame.bring(np.asarray(gallery[:: max(1, len(gallery) // 1024)]))
    centre = sample.sum(0) / max(1, len(sample))
    return replace(frame, centre=np.rint(centre) if whole else centre)


def _extent(vectors: Vectors, whole: bool) -> tuple[float, bool]:
    """Largest absolute component, and whether all are integers (looked for only while `whole`)."""
    if vectors.dtype.kind in "uib":
        limits = np.iinfo(vectors.dtype if vectors.dtype.kind != "b" else np.uint8)
        return max(abs(float(limits.min)), float(limits.max)), True
    from retrieval_bench._convert import extent

    largest = 0.0
    for start in range(0, len(vectors), step := rows_per_block(vectors.shape[1])):
        block = readable(np.asarray(vectors[start : start + step]))
        integer = np.int32 if block.dtype == np.float32 else np.int64
        most, whole = extent(block, block.view(integer), integer(np.iinfo(integer).max), whole)
        largest = max(largest, float(np.array(most, integer).view(block.dtype)))
    return largest, whole


def rows_per_block(dim: int) -> int:
    """Rows whose float64 copy stays near BLOCK_BYTES."""
    return max(1, BLOCK_BYTES // (8 * max(dim, 1)))


@dataclass(frozen=True, eq=False)
class Side:
    """Vectors [n, dim] read in a given order of rows."""

    vectors: Vectors
    order: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.vectors) if self.order is None else len(self.order)

    @property
    def dim(self) -> int:
        """Number of columns."""
        return int(self.vectors.shape[1])

    def raw(self, start: int, stop: int) -> Vectors:
        """Rows in their own dtype."""
        return np.asarray(self.vectors[start:stop] if self.order is None else self.vectors[self.order[start:stop]])

    def at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of `vectors` that stand at these positions."""
        return positions if self.order is None else self.order[positions]

    def fill(self, start: int, frame: Frame, out: Vectors, half: Vectors) -> float:
        """Write rows from `start` on into `out` [m, dim], and what a tile is lowered by for each into `half` [m].

        Returns:
            their largest norm in the frame.
        """
        from retrieval_bench._convert import bring_rows

        rows = readable(self.raw(start, start + len(out)))
        scale = 1.0 if frame.similarity is Similarity.COSINE else float(frame.scale)
        return float(bring_rows(rows, KIND[frame.similarity], (scale, frame.centre), out, half))

    def block(self, start: int, stop: int, frame: Frame) -> Vectors:
        """Rows in the frame, in a new array."""
        out, half = np.empty((stop - start, self.dim), frame.dtype), np.empty(stop - start, frame.dtype)
        self.fill(start, frame, out, half)
        return out


def norms(rows: Vectors) -> NDArray[np.float64]:
    """Euclidean norms [m], summed in float64."""
    rows = rows.astype(np.float64, copy=False)
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows)
    return np.sqrt(squares)


def exact_scores(
    queries: Vectors, gallery: Vectors, places: NDArray[np.int64], similarity: Similarity
) -> NDArray[np.float64]:
    """Scores [m, k] of gallery rows `places` [m, k] of each query; -inf where a place is negative."""
    from retrieval_bench._pairs import pair_scores

    out = np.empty(places.shape)
    if gallery.dtype not in NATIVE or not gallery.flags.c_contiguous:
        used, places_in_used = np.unique(np.maximum(places, 0), return_inverse=True)
        gallery = np.ascontiguousarray(gallery[used], np.float64)
        places = np.where(places < 0, -1, places_in_used.reshape(places.shape))
    pair_scores(
        read_only(queries.astype(np.float64)), read_only(np.asarray(gallery)), read_only(places), KIND[similarity], out
    )
    return out


def read_only(array: Vectors) -> Vectors:
    """A view that compiled code sees as one type, whether or not the caller may write into it."""
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.flags.writeable = False
    return view


def readable(rows: Vectors) -> Vectors:
    """As compiled code reads it: contiguous, of a native dtype; in float64 if it has none."""
    return read_only(rows if rows.dtype in NATIVE else rows.astype(np.float64))
