"""A stretch of the gallery in converted form, multiplied tile by tile and scanned; for `nearest.py`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np

from retrieval_bench._blocks import Arithmetic, Frame, Side, Vectors, exact_scores
from retrieval_bench._tiles import Best, scan_columns, scan_rows

# 512 × 512 products of float32 are 1 MiB: with the panels they come from they stay near a core. Fewer rows repack the
# gallery's panel too often: 256 × 1,024 was 15 % slower.
TILE_ROWS = 512
TILE_COLUMNS = 512


@dataclass(frozen=True)
class Workers:
    """Threads that take blocks in turn; without a pool, the calling one."""

    threads: int
    pool: ThreadPoolExecutor | None = None

    def run(self, work: Callable[[int], None], total: int, step: int) -> None:
        """Call `work` with 0, step, 2·step, … below `total`."""
        for _ in (map if self.pool is None else self.pool.map)(work, range(0, total, step)):
            continue


class Slab:
    """Up to `size` consecutive rows of the gallery."""

    def __init__(self, gallery: Side, frame: Frame, size: int) -> None:
        self.gallery, self.frame = gallery, frame
        self.start = self.count = 0
        self.direct = frame.arithmetic is Arithmetic.DIRECT  # scores come from the gallery itself
        self.vectors = np.empty((0 if self.direct else size, gallery.dim), frame.dtype)
        self.half = np.zeros(size, frame.dtype)
        self.largest = 0.0  # norm over all slabs read

    def read(self, start: int, workers: Workers) -> None:
        """Convert rows from `start` on."""
        self.start, self.count = start, min(len(self.half), len(self.gallery) - start)
        if self.direct:
            return
        largest: list[float] = []

        def convert(first: int) -> None:
            part = slice(first, min(first + TILE_COLUMNS, self.count))
            lengths = self.gallery.fill(start + first, self.frame, self.vectors[part], self.half[part])
            largest.append(float(lengths.max()))

        workers.run(convert, self.count, TILE_COLUMNS)
        self.largest = max(self.largest, *largest)

    def scan(self, part: Side, best: Best, rows: int, start: int) -> None:
        """Compare `rows` queries from `start` on with the whole slab."""
        stop = min(start + rows, len(part))
        queries = part.raw(start, stop) if self.direct else part.block(start, stop, self.frame)
        buffer = np.empty((stop - start) * TILE_COLUMNS, self.frame.dtype)
        for first in range(0, self.count, TILE_COLUMNS):
            last = min(first + TILE_COLUMNS, self.count)
            tile = buffer[: (stop - start) * (last - first)].reshape(stop - start, last - first)
            if self.direct:
                places = self.gallery.at(np.arange(self.start + first, self.start + last))
                tile[:] = exact_scores(
                    queries, self.gallery.vectors, np.broadcast_to(places, tile.shape), self.frame.similarity
                )
            else:
                np.matmul(queries, self.vectors[first:last].T, out=tile)
            if self.start + first == 0:
                _first_limits(tile, self.half[first:last], best, start)
            scan_rows(tile, self.half[first:last], self.start + first, best, start)

    def scan_symmetric(self, best: Best, workers: Workers) -> None:
        """Compare the slab, which is all of the gallery, with itself: each product is offered to both of its rows.

        Tiles right of the diagonal only. A line of candidates is written by one thread at a time; since the best are
        a total order, it does not matter which comes first.
        """
        sample = min(self.count, TILE_COLUMNS)

        def prepare(start: int) -> None:
            tile = self.vectors[start : start + TILE_ROWS] @ self.vectors[:sample].T
            _first_limits(tile, self.half[:sample], best, start)

        if self.count > 8 * sample:
            workers.run(prepare, self.count, TILE_ROWS)
        locks = [Lock() for _ in range(0, self.count, TILE_COLUMNS)]

        def scan(start: int) -> None:
            stop = min(start + TILE_ROWS, self.count)
            buffer = np.empty((stop - start) * TILE_COLUMNS, self.frame.dtype)
            first = start
            while first < self.count:
                last = stop if first == start else min(first - first % TILE_COLUMNS + TILE_COLUMNS, self.count)
                tile = buffer[: (stop - start) * (last - first)].reshape(stop - start, last - first)
                np.matmul(self.vectors[start:stop], self.vectors[first:last].T, out=tile)
                with locks[start // TILE_COLUMNS]:
                    scan_rows(tile, self.half[first:last], first, best, start)
                if first != start:
                    with locks[first // TILE_COLUMNS]:
                        scan_columns(tile, self.half[start:stop], start, best, first)
                first = last

        workers.run(scan, self.count, TILE_ROWS)


def _first_limits(tile: Vectors, half: Vectors, best: Best, start: int) -> None:
    """Begin with the worst of the best `keep` among some gallery rows as limit: most of the rest is then turned away.

    Saves half of the candidates that a search would take in while it knows little.
    """
    if tile.shape[1] > 2 * best.keep:
        scores = tile - half
        cut = scores.shape[1] - best.keep
        scores.partition(cut, axis=1)
        best.limits[start : start + len(tile)] = scores[:, cut]
