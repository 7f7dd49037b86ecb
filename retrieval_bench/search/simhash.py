"""SimHash: a key is the signs of projections on hyperplanes' normals; buckets are read in the order of their distance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig
from retrieval_bench.search._frame import Rotation, orthogonal, principal, project
from retrieval_bench.search._lsh import LSH
from retrieval_bench.search._probes import empty_probes, look_up, sequence, sort_options
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
    costs, steps = np.empty(bits, np.float32), np.empty(bits, np.int64)
    owners, conflicts = np.empty(bits, np.int64), np.empty(bits, np.uint64)
    for t in range(tables.keys.shape[0]):
        base = np.int64(0)
        for i in range(bits):
            value, bit = projections[t * bits + i], np.int64(1) << np.int64(i)
            base |= bit if value > 0 else np.int64(0)
            costs[i], steps[i], owners[i] = value * value, -bit if value > 0 else bit, i
        sort_options(costs, steps, owners, conflicts)
        found = sequence(base, costs, steps, conflicts, probes.keys[t], probes.sets[t])
        look_up(tables.keys[t], tables.spans[t], probes.keys[t, :found], probes.spans[t])
    return probes


@njit(nogil=True, cache=True)
def _search(handle, queries, count, rows, scores):  # type: ignore[no-untyped-def]
    parts = handle.parts
    frame, functions, tables, store = parts
    projections = np.empty(frame.matrix.shape[1], np.float32)
    for i in range(len(queries)):
        project(frame, queries[i], projections)
        spans = _probe(parts, projections, count).spans
        answer(queries[i], projections[tables.keys.shape[0] * functions.bits :], store, spans, rows[i], scores[i])


@njit(nogil=True, cache=True)
def _probed(handle, query, count):  # type: ignore[no-untyped-def]
    parts = handle.parts
    projections = np.empty(parts[0].matrix.shape[1], np.float32)
    project(parts[0], query, projections)
    return _probe(parts, projections, count)


class SimHash(LSH):
    """Random hyperplanes (Charikar 2002) with query-directed multiprobe (Lv et al. 2007).

    Vectors are centred, so that hyperplanes go through the middle of the gallery under every similarity.
    """

    def __init__(
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

    def _automatic(self, n: int) -> int:
        octaves = np.log2(n)
        return int(min(octaves, 9) + max(0, octaves - 17) / 2)

    def _draw(
        self, n: int, rows: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Functions]:
        dim = rows.shape[1]
        bits = self._automatic(n) if self.bits is None else self.bits
        if self.rotation is Rotation.RANDOM:
            return rng.standard_normal((dim, self.tables * bits)).astype(np.float32), Functions(bits)
        bits = min(bits, dim)
        leading = principal(rows, min(dim, bits if self.tables == 1 else 2 * bits), rng)
        turned = [leading @ orthogonal(leading.shape[1], bits, rng) for _ in range(self.tables - 1)]
        return np.concatenate([leading[:, :bits], *turned], axis=1), Functions(bits)

    def _keys(self, projections: NDArray[np.float32], functions: Functions) -> NDArray[np.int64]:
        signs = projections.reshape(len(projections), self.tables, functions.bits) > 0
        return (signs @ (1 << np.arange(functions.bits, dtype=np.int64))).T

    @property
    def _kernels(self) -> tuple[Callable[..., None], Callable[..., Any]]:
        return _search, _probed
