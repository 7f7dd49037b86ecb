"""SimHash: a key is the signs of projections on hyperplanes' normals; the nearest buckets are read first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from retrieval_bench._compiled import njit
from retrieval_bench.errors import BadConfig
from retrieval_bench.search._collisions import NormalRows
from retrieval_bench.search._frame import Rotation, project
from retrieval_bench.search._lsh import LSH, automatic_bits
from retrieval_bench.search._probes import Probes, empty_probes, probe_table
from retrieval_bench.search._scan import answer

MOST_BITS = 24


class Functions(NamedTuple):
    """The hash functions beside their directions."""

    bits: int


@njit(nogil=True, cache=True)
def _probe(parts, projections, count):  # type: ignore[no-untyped-def]
    """The `count` buckets of each table that are nearest to a query: flips in the order of their summed squares."""
    _, functions, tables, _ = parts
    bits, probes = functions.bits, empty_probes(tables, count)
    costs, steps, owners = np.empty(bits, np.float32), np.empty(bits, np.int64), np.empty(bits, np.int64)
    for t in range(tables.keys.shape[0]):
        base = np.int64(0)
        for i in range(bits):
            value, bit = projections[t * bits + i], np.int64(1) << np.int64(i)
            base |= bit if value > 0 else np.int64(0)
            costs[i], steps[i], owners[i] = value * value, -bit if value > 0 else bit, i
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


class SimHash(LSH):
    """Random hyperplanes (Charikar 2002) with query-directed multiprobe (Lv et al. 2007).

    Vectors are centred, so that hyperplanes go through the middle of the gallery under every similarity.
    """

    _functions = Functions

    def __init__(  # noqa: PLR0917
        self,
        bits: int | None = None,
        tables: int = 1,
        rotation: str = "pca",
        sketch_bits: int = 256,
        rerank: int = 5,
        efforts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128),
    ) -> None:
        if bits is not None and not 0 <= bits <= MOST_BITS:
            raise BadConfig(f"bits={bits}: a whole number from 0 to {MOST_BITS}, or null, is needed")
        self.bits = bits
        super().__init__(tables, rotation, sketch_bits, rerank, efforts)

    def _draw(
        self, n: int, rows: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Functions]:
        bits = automatic_bits(n) if self.bits is None else self.bits
        if self.rotation is Rotation.PCA:
            bits = min(bits, rows.shape[1])
        return self._directions(rows, bits, rng), Functions(bits)

    def _keys(self, projections: NDArray[np.float32], functions: Any) -> NDArray[np.int64]:
        signs = projections.reshape(len(projections), self.tables, functions.bits) > 0
        return (signs @ (1 << np.arange(functions.bits, dtype=np.int64))).T

    @property
    def _kernels(self) -> tuple[Callable[..., None], Callable[..., Any]]:
        return _search, _probed

    def _chances(
        self, table: int, projections: NDArray[np.float64], rows: NormalRows, probes: Probes
    ) -> NDArray[np.float64]:
        """Each bit of a row is set with the chance that a normal number is positive; buckets exclude one another."""
        bits = self._parts[1].bits
        shift = rows.shifts(projections[table * bits : (table + 1) * bits])
        on, off = log_ndtr(shift), log_ndtr(-shift)
        wanted = (probes.keys[table, : probes.found[table], None] >> np.arange(bits)) & 1
        return np.asarray(np.exp(on @ wanted.T + off @ (1 - wanted).T).sum(axis=1))
