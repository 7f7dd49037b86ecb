"""Vectors rounded to 8 bits, in the order in which the filter of `nearest.py` reads them, with what rounding cost.

A vector x is written as scale · code + rest, code from -127 to 127. What is known of the rest is its norm, so

    q·x <= scale_q scale_x (code_q · code_x) + (|q| + |rest_q|) |rest_x| + |rest_q| |x|          (Cauchy-Schwarz)

Gallery vectors stand in panels of 64, queries in blocks of 6: four components of each vector of a panel, then the next
four. Gallery codes are raised by 128, because the instruction multiplies unsigned by signed bytes; 128 Σ code_q, with
which every sum of a query begins, takes that away again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import uintp
from numpy.typing import NDArray

from retrieval_bench._compiled import njit
from retrieval_bench._convert import largest_bits

PANEL = 64  # gallery vectors side by side: four registers of 16 sums
BLOCK = 6  # queries at once: 24 registers of sums, four of the gallery, and some to spare
SLACK = np.float32(2.0**-20)  # 16 float32 roundings of a term; no term of a comparison sees as many
LEAST = 1e-30  # smallest scale: its products with codes stay normal numbers


class Panels(NamedTuple):
    """A slab of the gallery in 8 bits: p panels for vectors [n, dim], lines beyond n never pass."""

    vectors: NDArray[np.float32]  # the slab itself, [size, dim]
    half: NDArray[np.float32]  # [size]
    codes: NDArray[np.int32]  # [p, dim/4, 64]
    scales: NDArray[np.float32]  # [p, 64]
    halves: NDArray[np.float32]  # [p, 64]
    rests: NDArray[np.float32]  # [p], largest |rest| of a panel
    norms: NDArray[np.float32]  # [p], largest norm
    heights: NDArray[np.float32]  # [p], largest |half|


class Rows(NamedTuple):
    """Queries in 8 bits, in b blocks; per query what the bound needs, divided by its scale."""

    vectors: NDArray[np.float32]  # [m, dim]
    codes: NDArray[np.int32]  # [b, dim/4, 6]
    begins: NDArray[np.int32]  # [6b]
    inverses: NDArray[np.float32]  # [6b], -1 / scale
    of_rests: NDArray[np.float32]  # [6b], factor of a panel's `rests`
    of_norms: NDArray[np.float32]  # [6b], factor of a panel's `norms`


def empty_panels(vectors: NDArray[np.float32], half: NDArray[np.float32]) -> Panels:
    """Room for a slab."""
    size, dim = vectors.shape
    count = -(-size // PANEL)
    codes = np.empty((count, -(-dim // 4), PANEL), np.int32)
    scales, halves = (np.zeros((count, PANEL), np.float32) for _ in range(2))
    return Panels(vectors, half, codes, scales, halves, *(np.zeros(count, np.float32) for _ in range(3)))


def quantised_rows(vectors: NDArray[np.float32], largest: float) -> Rows:
    """Queries [m, dim] against gallery vectors up to the `largest` norm."""
    blocks = -(-len(vectors) // BLOCK)
    codes = np.zeros((blocks, -(-vectors.shape[1] // 4), BLOCK), np.int32)
    rows = Rows(
        vectors,
        codes,
        np.zeros(blocks * BLOCK, np.int32),
        *(np.zeros(blocks * BLOCK, np.float32) for _ in range(3)),
    )
    fill_rows(rows, max(LEAST, largest * 2.0**-30))  # a smaller scale would lift `half` out of float32
    return rows


@njit(nogil=True, cache=True)
def _scale(vector, least, room):  # type: ignore[no-untyped-def]
    """Of the codes of a vector; `room` is an int32 to see a float32 in."""
    room[0] = largest_bits(vector.view(np.int32), np.int32(0x7FFFFFFF))
    return max(room.view(np.float32)[0] / np.float32(127), np.float32(least))


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _quantise(vector, scale, codes):  # type: ignore[no-untyped-def]
    """Write codes raised by 128; returns upper bounds on |rest| and |vector|, and the sum of the codes."""
    inverse = np.float32(1) / scale
    rest, norm, total = np.float32(0), np.float32(0), np.int32(0)
    for d in range(uintp(vector.size)):
        code = np.rint(vector[d] * inverse)
        left = vector[d] - scale * code
        rest += left * left
        norm += vector[d] * vector[d]
        total += np.int32(code)
        codes[d] = np.uint8(np.int32(code) + 128)
    rounding = np.float32(1 + (vector.size + 8) * 2.0**-23)
    norm = np.sqrt(norm) * rounding + np.float32(1e-22)  # squares below float32 vanish
    return np.sqrt(rest) * rounding + np.float32(2.0**-22) * norm + np.float32(1e-22), norm, total


@njit(nogil=True, cache=True)
def fill_panels(panels, first, last):  # type: ignore[no-untyped-def]
    """Round the vectors first to last of the slab; `first` begins a panel."""
    steps = panels.codes.shape[1]
    codes = np.full(4 * steps, 128, np.uint8)
    words, room = codes.view(np.int32), np.empty(1, np.int32)
    for p in range(first // PANEL, (last + PANEL - 1) // PANEL):
        most_rest, most_norm, most_height = np.float32(0), np.float32(0), np.float32(0)
        for j in range(PANEL):
            at = p * PANEL + j
            if at >= last:
                panels.codes[p, :, j] = 0
                panels.scales[p, j], panels.halves[p, j] = 0, np.inf
                continue
            vector = panels.vectors[at]
            scale = _scale(vector, LEAST, room)
            rest, norm, _ = _quantise(vector, scale, codes)
            for s in range(uintp(steps)):
                panels.codes[p, s, j] = words[s]
            panels.scales[p, j], panels.halves[p, j] = scale, panels.half[at]
            most_rest, most_norm = max(most_rest, rest), max(most_norm, norm)
            most_height = max(most_height, abs(panels.half[at]))
        panels.rests[p], panels.norms[p], panels.heights[p] = most_rest, most_norm, most_height


@njit(nogil=True, cache=True)
def fill_rows(rows, least):  # type: ignore[no-untyped-def]
    """Round the queries; `least` is the smallest scale."""
    steps = rows.codes.shape[1]
    codes = np.full(4 * steps, 128, np.uint8)
    words, room = codes.view(np.int32), np.empty(1, np.int32)
    raised = np.full(4, 128, np.uint8).view(np.int32)[0]
    for i in range(rows.vectors.shape[0]):
        scale = _scale(rows.vectors[i], least, room)
        rest, norm, total = _quantise(rows.vectors[i], scale, codes)
        for s in range(uintp(steps)):
            rows.codes[i // BLOCK, s, i % BLOCK] = words[s] ^ raised  # signed again
        rows.begins[i] = -128 * total
        rows.inverses[i] = -1 / scale
        rows.of_rests[i] = (norm + rest) / scale * (1 + 2 * SLACK)
        rows.of_norms[i] = (rest + SLACK * (norm + rest)) / scale * (1 + 2 * SLACK)
