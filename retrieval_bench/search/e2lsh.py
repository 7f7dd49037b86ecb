"""E2LSH: a key is the cells of projections on a grid; cells beyond the nearest walls are read next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from retrieval_bench._compiled import njit
from retrieval_bench.errors import BadConfig
from retrieval_bench.search._collisions import NormalRows
from retrieval_bench.search._frame import Rotation, project
from retrieval_bench.search._lsh import LSH, automatic_bits
from retrieval_bench.search._probes import OPTIONS, Probes, empty_probes, probe_table
from retrieval_bench.search._scan import answer

MOST_FUNCTIONS = OPTIONS // 2


class Functions(NamedTuple):
    """The hash functions beside their directions, [tables, functions] each."""

    shifts: NDArray[np.float32]  # in widths, 0…1
    factors: NDArray[np.int64]  # odd; a key is the sum of cells times factors, modulo 2^64
    width: float  # of a cell


@njit(nogil=True, cache=True)
def _probe(parts, projections, count):  # type: ignore[no-untyped-def]
    """The `count` buckets of each table nearest to a query: steps over walls in the order of their summed squares."""
    _, functions, tables, _ = parts
    shifts, factors = functions.shifts, functions.factors
    size, probes, scale = shifts.shape[1], empty_probes(tables, count), np.float32(1 / functions.width)
    costs, steps, owners = np.empty(2 * size, np.float32), np.empty(2 * size, np.int64), np.empty(2 * size, np.int64)
    for t in range(tables.keys.shape[0]):
        base = np.int64(0)
        for i in range(size):
            value = projections[t * size + i] * scale + shifts[t, i]
            cell = np.floor(value)
            below = value - cell
            base += np.int64(cell) * factors[t, i]
            costs[2 * i], steps[2 * i], owners[2 * i] = below * below, -factors[t, i], i
            above = np.float32(1) - below
            costs[2 * i + 1], steps[2 * i + 1], owners[2 * i + 1] = above * above, factors[t, i], i
        probe_table(tables, t, base, (costs, steps, owners), probes)
    return probes


@njit(nogil=True, cache=True)
def _search(handle, queries, count, rows, scores):  # type: ignore[no-untyped-def]
    parts = handle.parts
    frame, _, _, store = parts
    for i in range(len(queries)):
        projections = project(frame, queries[i])
        spans = _probe(parts, projections, count).spans
        answer(queries[i], projections[frame.own :], store, spans, rows[i], scores[i])


@njit(nogil=True, cache=True)
def _probed(handle, query, count):  # type: ignore[no-untyped-def]
    parts = handle.parts
    projections = project(parts[0], query)
    return _probe(parts, projections, count), projections


class E2LSH(LSH):
    """p-stable LSH for the euclidean distance (Datar et al. 2004) with query-directed multiprobe (Lv et al. 2007).

    Args:
        functions: cells that make up a key; none = as many as `simhash` has bits.
        width: of a cell, in standard deviations of the gallery's projections.
    """

    _functions = Functions

    def __init__(  # noqa: PLR0917
        self,
        functions: int | None = None,
        width: float = 2.5,
        tables: int = 1,
        rotation: str = "pca",
        sketch_bits: int = 256,
        rerank: int = 5,
        efforts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128),
    ) -> None:
        if functions is not None and not 1 <= functions <= MOST_FUNCTIONS:
            raise BadConfig(f"functions={functions}: a whole number from 1 to {MOST_FUNCTIONS}, or null, is needed")
        if not width > 0:
            raise BadConfig(f"width={width}: more than 0 is needed")
        self.functions, self.width = functions, width
        super().__init__(tables, rotation, sketch_bits, rerank, efforts)

    def _draw(
        self, n: int, rows: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Functions]:
        size = max(1, automatic_bits(n)) if self.functions is None else self.functions
        if self.rotation is Rotation.PCA:
            size = min(size, rows.shape[1])
        directions = self._directions(rows, size, rng)
        spread = float(np.sqrt(((rows @ directions).astype(np.float64) ** 2).mean()))
        shifts = rng.random((self.tables, size)).astype(np.float32)
        factors = rng.integers(-(2**62), 2**62, (self.tables, size)) * 2 + 1
        return directions, Functions(shifts, factors, self.width * (spread or 1.0))

    def _cells(self, projections: NDArray[Any], functions: Functions) -> NDArray[np.int64]:
        """Cells [b, tables, functions]."""
        scaled = projections.reshape(-1, *functions.shifts.shape) * np.float32(1 / functions.width) + functions.shifts
        return np.asarray(np.floor(scaled), np.int64)

    def _keys(self, projections: NDArray[np.float32], functions: Any) -> NDArray[np.int64]:
        return np.asarray((self._cells(projections, functions) * functions.factors).sum(axis=2).T)

    @property
    def _kernels(self) -> tuple[Callable[..., None], Callable[..., Any]]:
        return _search, _probed

    def _similarity(self, rows: NormalRows) -> NDArray[np.float64]:
        return rows.distance

    def _chances(
        self, table: int, projections: NDArray[np.float64], rows: NormalRows, probes: Probes
    ) -> NDArray[np.float64]:
        """A row is in a cell with the chance of a normal number between its walls; buckets exclude one another."""
        functions = self._parts[1]
        width, shift, size = functions.width, functions.shifts[table].astype(np.float64), functions.shifts.shape[1]
        own = projections[table * size : (table + 1) * size]
        cells = self._probed_cells(own / width + shift, probes.sets[table, : probes.found[table]])
        walls = (np.unique(cells)[:, None] + np.array([0, 1])) * width  # [values, 2], before the shift
        values = np.searchsorted(walls[:, 0], cells * width)
        mean = np.outer(rows.slope, own) + shift * width
        inside = np.diff(ndtr((walls - mean[..., None, None]) / rows.deviation[:, None, None, None]))[..., 0]
        picked = inside[:, np.arange(size), values]  # [m, probes, functions]
        return np.asarray(picked.prod(axis=2).sum(axis=1))

    @staticmethod
    def _probed_cells(scaled: NDArray[np.float64], sets: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Cells [probes, functions] that sets of the sorted perturbations lead to."""
        size, below = len(scaled), scaled - np.floor(scaled)
        order = np.argsort(np.stack([below, 1 - below], axis=1).ravel(), kind="stable")
        step = np.zeros((2 * size, size), np.int64)
        step[np.arange(2 * size), order // 2] = np.where(order % 2 == 0, -1, 1)
        taken = (sets[:, None] >> np.arange(2 * size, dtype=np.uint64)) & np.uint64(1)
        return np.floor(scaled).astype(np.int64) + taken.astype(np.int64) @ step
