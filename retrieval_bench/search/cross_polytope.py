"""Cross-polytope LSH: a key is the nearest vertices of cross-polytopes; next nearest vertices are read next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._compiled import njit
from retrieval_bench.errors import BadConfig
from retrieval_bench.search._collisions import NormalRows
from retrieval_bench.search._frame import Rotation, orthogonal, principal, project
from retrieval_bench.search._lsh import LSH, automatic_bits
from retrieval_bench.search._probes import OPTIONS, Probes, empty_probes, probe_table
from retrieval_bench.search._scan import answer

DRAWS = 2000  # of a row's projections, for its chance of collision
MOST_VERTICES = 1 << 40  # of all functions of a table together


class Functions(NamedTuple):
    """The hash functions beside their directions."""

    functions: int
    axes: int


@njit(nogil=True, cache=True)
def _offer(options, size, cost, step, owner):  # type: ignore[no-untyped-def]
    """Take an option into the sorted list of the cheapest; returns its length."""
    costs, steps, owners = options
    if size == costs.size:
        if size == 0 or cost >= costs[size - 1]:
            return size
        size -= 1
    at = size
    while at > 0 and costs[at - 1] > cost:
        costs[at], steps[at], owners[at] = costs[at - 1], steps[at - 1], owners[at - 1]
        at -= 1
    costs[at], steps[at], owners[at] = cost, step, owner
    return size + 1


@njit(nogil=True, cache=True)
def _probe(parts, projections, count):  # type: ignore[no-untyped-def]
    """The `count` buckets of each table nearest to a query: vertices in the order of the squared loss of height."""
    _, functions, tables, _ = parts
    axes, number, probes = functions.axes, functions.functions, empty_probes(tables, count)
    room = min(number * (2 * axes - 1), OPTIONS, count)  # a list of p probes has no use for more than p options
    costs, steps, owners = np.empty(room, np.float32), np.empty(room, np.int64), np.empty(room, np.int64)
    for t in range(tables.keys.shape[0]):
        base, size, place = np.int64(0), 0, np.int64(1)
        for f in range(number):
            heights = projections[(t * number + f) * axes : (t * number + f + 1) * axes]
            top = 0
            for i in range(axes):
                if abs(heights[i]) > abs(heights[top]):
                    top = i
            best = 2 * top + (heights[top] <= 0)
            base += best * place
            for vertex in range(2 * axes):
                if vertex != best:
                    height = heights[vertex >> 1]
                    loss = abs(heights[top]) - (height if vertex & 1 == 0 else -height)
                    size = _offer((costs, steps, owners), size, loss * loss, (vertex - best) * place, f)
            place *= 2 * axes
        probe_table(tables, t, base, (costs[:size], steps[:size], owners[:size]), probes)
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


class CrossPolytope(LSH):
    """Cross-polytope LSH for angles (Andoni et al. 2015) with query-directed multiprobe.

    Vectors are centred. Under `pca` the cross-polytopes stand in the space of the leading principal directions, each
    turned at random.

    Args:
        functions: cross-polytopes whose vertices make up a key.
        axes: of a cross-polytope, which has twice as many vertices; none = so that all functions together have as many
            values as the key of `simhash`.
    """

    _functions = Functions

    def __init__(  # noqa: PLR0917
        self,
        functions: int = 2,
        axes: int | None = None,
        tables: int = 1,
        rotation: str = "pca",
        sketch_bits: int = 256,
        rerank: int = 5,
        efforts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 96),
    ) -> None:
        if functions < 1 or (axes is not None and (axes < 1 or (2 * axes) ** functions > MOST_VERTICES)):
            raise BadConfig(
                f"functions={functions}, axes={axes}: functions from 1, and axes from 1, or null, with"
                f" (2 · axes)^functions up to {MOST_VERTICES} are needed"
            )
        self.functions, self.axes = functions, axes
        super().__init__(tables, rotation, sketch_bits, rerank, efforts)

    def _draw(
        self, n: int, rows: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Functions]:
        bits, dim = automatic_bits(n), rows.shape[1]
        axes = max(1, round(2 ** (bits / self.functions) / 2)) if self.axes is None else self.axes
        count = self.tables * self.functions
        if self.rotation is Rotation.RANDOM:
            return rng.standard_normal((dim, count * axes)).astype(np.float32), Functions(self.functions, axes)
        leading = principal(rows, min(dim, axes), rng)
        turns = [leading @ orthogonal(leading.shape[1], axes, rng) for _ in range(count)]
        return np.concatenate(turns, axis=1), Functions(self.functions, axes)

    def _keys(self, projections: NDArray[np.floating[Any]], functions: Any) -> NDArray[np.int64]:
        heights = projections.reshape(len(projections), -1, functions.functions, functions.axes)
        top = np.abs(heights).argmax(axis=3)
        vertex = 2 * top + (np.take_along_axis(heights, top[..., None], 3)[..., 0] <= 0)
        return np.asarray((vertex @ (2 * functions.axes) ** np.arange(functions.functions, dtype=np.int64)).T)

    @property
    def _kernels(self) -> tuple[Callable[..., None], Callable[..., Any]]:
        return _search, _probed

    def _chances(
        self, table: int, projections: NDArray[np.float64], rows: NormalRows, probes: Probes
    ) -> NDArray[np.float64]:
        """No closed form is known: the share of DRAWS draws of a row's projections, from a fixed seed."""
        functions: Functions = self._parts[1]
        size = functions.functions * functions.axes
        shifts = rows.shifts(projections[table * size : (table + 1) * size])
        noise, probed = (
            np.random.default_rng(0).standard_normal((DRAWS, size)),
            probes.keys[table, : probes.found[table]],
        )
        return np.array([np.isin(self._keys(noise + shift, functions)[0], probed).mean() for shift in shifts])
