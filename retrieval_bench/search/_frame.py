"""How LSH looks at vectors: centred, and projected on directions that are drawn at random or fitted to the gallery."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numba import uintp
from numpy.typing import NDArray

from retrieval_bench._compiled import njit
from retrieval_bench.types import Similarity

SAMPLE = 8192  # rows that the centre and the principal directions are taken from
BLOCK_BYTES = 16 << 20
ROUNDS = 6  # of subspace iteration
LANES = 16  # floats of a vector register: projections are padded to it


class Rotation(StrEnum):
    """Where the directions of the hash functions come from."""

    PCA = "pca"  # leading principal directions of the gallery: data-dependent, so without a collision theory
    RANDOM = "random"  # independent normal components: what the theory of LSH is about


class Frame(NamedTuple):
    """Centre and directions.

    Under dot, vectors get one component more, which makes all of them equally long, so that the nearest by angle and
    distance is the largest product (Bachrach et al. 2014).
    """

    mean: NDArray[np.float32]  # [dim, or dim + 1 under dot]
    matrix: NDArray[np.float32]  # [the same, m]: the directions of the family, then those for the sketch, then zeros
    turn: NDArray[np.float32]  # [leading, bits]: what makes the sketch of the latter; [0, bits] where they are it
    own: int  # directions of the family
    length: float  # under dot: what queries are scaled to; else 0
    longest: float  # under dot: norm of the longest gallery vector


def bring(vectors: NDArray[np.generic], frame: Frame, query: bool) -> NDArray[np.float32]:
    """Vectors [b, dim] centred, and under dot lifted: [b, dim or dim + 1]. A copy."""
    rows = np.array(vectors, np.float32, order="C")
    if frame.length:
        squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        if query:
            rows *= (frame.length / np.sqrt(np.where(squares > 0, squares, 1))).astype(np.float32)[:, None]
            last = np.zeros(len(rows))
        else:
            last = np.sqrt(np.maximum(frame.longest**2 - squares, 0))
        rows = np.concatenate([rows, last[:, None].astype(np.float32)], axis=1)
    rows -= frame.mean
    return rows


def block_rows(dim: int) -> int:
    """Rows of a block of float32 vectors."""
    return max(1, BLOCK_BYTES // (4 * max(1, dim)))


def centred(vectors: NDArray[np.generic], similarity: Similarity, rng: np.random.Generator) -> Frame:
    """A frame without directions, centred at the mean of a sample."""
    length = longest = 0.0
    if similarity is Similarity.DOT:
        total = 0.0
        for start in range(0, len(vectors), step := block_rows(vectors.shape[1])):
            block = vectors[start : start + step].astype(np.float64)
            squares = np.einsum("ij,ij->i", block, block)
            total, longest = total + squares.sum(), max(longest, float(np.sqrt(squares.max())))
        length = float(np.sqrt(total / len(vectors))) or 1.0
    dim = vectors.shape[1] + (similarity is Similarity.DOT)
    frame = Frame(
        np.zeros(dim, np.float32), np.zeros((dim, 0), np.float32), np.zeros((0, 0), np.float32), 0, length, longest
    )
    return frame._replace(mean=bring(sample(vectors, rng), frame, False).mean(0, dtype=np.float64).astype(np.float32))


def sample(vectors: NDArray[np.generic], rng: np.random.Generator) -> NDArray[np.generic]:
    """At most SAMPLE rows, in their order."""
    if len(vectors) <= SAMPLE:
        return vectors
    return vectors[np.sort(rng.choice(len(vectors), SAMPLE, replace=False))]


def principal(rows: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Leading principal directions [dim, count] of centred rows, by subspace iteration (Halko et al. 2011)."""
    dim = rows.shape[1]
    wide = min(dim, count + 16)
    basis = np.linalg.qr(rng.standard_normal((dim, wide)).astype(np.float32))[0]
    for _ in range(ROUNDS if wide < dim else 0):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
    inner = rows @ basis
    _, turn = np.linalg.eigh((inner.T @ inner).astype(np.float64))
    return np.ascontiguousarray((basis @ turn[:, ::-1].astype(np.float32))[:, :count])


def orthogonal(dim: int, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Directions [dim, count], orthogonal in groups of `dim`."""
    groups = [np.linalg.qr(rng.standard_normal((dim, dim)))[0] for _ in range(-(-count // dim))]
    return np.concatenate(groups, axis=1)[:, :count].astype(np.float32)


def with_directions(
    frame: Frame, own: NDArray[np.float32], sketch: NDArray[np.float32], turn: NDArray[np.float32] | None = None
) -> Frame:
    """The frame with the directions of the family [dim, m] and those for the sketch.

    The sketch is the signs along [dim, bits], or along [dim, leading] turned by [leading, bits]: in the space of some
    leading directions. What a vector has outside that space is small, and its signs would count as much as any.
    """
    padding = np.zeros((len(frame.mean), -(own.shape[1] + sketch.shape[1]) % LANES), np.float32)
    matrix = np.ascontiguousarray(np.concatenate([own, sketch, padding], axis=1), np.float32)
    turn = np.zeros((0, sketch.shape[1]), np.float32) if turn is None else np.ascontiguousarray(turn)
    return frame._replace(matrix=matrix, turn=turn, own=own.shape[1])


def projected(rows: NDArray[np.float32], frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Projections of rows from `bring` on the family's directions [b, own] and the sketch's [b, bits]."""
    values = np.asarray(rows @ frame.matrix, np.float32)
    own, leading, bits = frame.own, *frame.turn.shape
    if leading:
        return values[:, :own], np.asarray(values[:, own : own + leading] @ frame.turn, np.float32)
    return values[:, :own], np.ascontiguousarray(values[:, own : own + bits])


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _times(vector, matrix, out):  # type: ignore[no-untyped-def]
    """Write vector [m] · matrix [m, width], four rows at once."""
    width, rows = uintp(out.size), uintp(vector.size)
    for j in range(width):
        out[j] = 0
    whole = rows - rows % uintp(4)
    for d in range(uintp(0), whole, uintp(4)):
        a, b, c, e = vector[d], vector[d + uintp(1)], vector[d + uintp(2)], vector[d + uintp(3)]
        for j in range(width):
            out[j] += (a * matrix[d, j] + b * matrix[d + uintp(1), j]) + (
                c * matrix[d + uintp(2), j] + e * matrix[d + uintp(3), j]
            )
    for d in range(whole, rows):
        a = vector[d]
        for j in range(width):
            out[j] += a * matrix[d, j]


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def project(frame, query):  # type: ignore[no-untyped-def]
    """Projections of one query [dim], those of the sketch behind those of the family: compiled `bring`, `projected`."""
    mean, matrix, turn, own = frame.mean, frame.matrix, frame.turn, frame.own
    dim, full = uintp(query.size), uintp(mean.size)
    scale = np.float32(1)
    if frame.length != 0.0:
        square = np.float32(0)
        for d in range(dim):
            square += query[d] * query[d]
        if square > 0:
            scale = np.float32(frame.length / np.sqrt(np.float64(square)))
    moved = np.empty(full, np.float32)
    for d in range(dim):
        moved[d] = query[d] * scale - mean[d]
    for d in range(dim, full):
        moved[d] = -mean[d]
    values = np.empty(matrix.shape[1], np.float32)
    _times(moved, matrix, values)
    leading, bits = turn.shape
    if leading == 0:
        return values[: own + bits]
    out = np.empty(own + bits, np.float32)
    for j in range(own):  # an assignment of slices takes two seconds to compile
        out[j] = values[j]
    _times(values[own : own + leading], turn, out[own:])
    return out
