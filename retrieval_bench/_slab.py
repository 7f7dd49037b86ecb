"""A stretch of the gallery in converted form, multiplied tile by tile and scanned; for `nearest.py`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np

from retrieval_bench._blocks import Arithmetic, Frame, Side, Vectors, exact_scores
from retrieval_bench._filter import mask_both, offer_columns, offer_rows, scan_filtered
from retrieval_bench._panels import Panels, Rows, empty_panels, fill_panels, quantised_rows
from retrieval_bench._thresholds import empty_scratch
from retrieval_bench._tiles import Best, first_limits, scan_columns, scan_rows

# 512 × 512 products of float32 are 1 MiB: with the panels they come from they stay near a core. Fewer rows repack the
# gallery's panel too often: 256 × 1,024 was 15 % slower.
TILE_ROWS = 512
TILE_COLUMNS = 512
FAINT, VAST = 1e-10, 1e15  # largest norms between which no scale of the filter leaves float32


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
    """Up to `size` consecutive rows of the gallery; `filtered`: in 8 bits too."""

    def __init__(self, gallery: Side, frame: Frame, size: int, *, filtered: bool) -> None:
        self.gallery, self.frame = gallery, frame
        self.start = self.count = 0
        self.direct = frame.arithmetic is Arithmetic.DIRECT  # scores come from the gallery itself
        self.vectors = np.empty((0 if self.direct else size, gallery.dim), frame.dtype)
        self.half = np.zeros(size, frame.dtype)
        self.largest = 0.0  # norm over all slabs read
        self.panels: Panels | None = empty_panels(self.vectors, self.half) if filtered else None

    def read(self, start: int, workers: Workers) -> None:
        """Convert rows from `start` on."""
        self.start, self.count = start, min(len(self.half), len(self.gallery) - start)
        if self.direct:
            return
        largest: list[float] = []

        def convert(first: int) -> None:
            part = slice(first, min(first + TILE_COLUMNS, self.count))
            largest.append(self.gallery.fill(start + first, self.frame, self.vectors[part], self.half[part]))
            if self.panels is not None:
                fill_panels(self.panels, part.start, part.stop)

        workers.run(convert, self.count, TILE_COLUMNS)
        self.largest = max(self.largest, *largest)

    def scan(self, part: Side, best: Best, rows: int, start: int) -> None:
        """Compare `rows` queries from `start` on with the whole slab."""
        stop = min(start + rows, len(part))
        queries = part.raw(start, stop) if self.direct else part.block(start, stop, self.frame)
        scan = _Scan(self, queries, best, start)
        column = 0
        while column < self.count:
            if (self.start or column) and scan.filtering():
                column = scan.filtered(column, self.count)
                continue
            last = min(column + TILE_COLUMNS, self.count)
            tile = scan.tile(column, last)
            if self.start + column == 0:
                first_limits(tile, self.half[:last], best, start)
            scan_rows(tile, self.half[column:last], self.start + column, best, start)
            column = last

    def scan_symmetric(self, best: Best, workers: Workers) -> None:
        """Compare the slab, which is all of the gallery, with itself: each product is offered to both of its rows.

        Tiles right of the diagonal only. A line of candidates is written by one thread at a time; since the best are
        a total order, it does not matter which comes first.
        """
        sample = min(self.count, TILE_COLUMNS)

        def prepare(start: int) -> None:
            tile = self.vectors[start : start + TILE_ROWS] @ self.vectors[:sample].T
            first_limits(tile, self.half[:sample], best, start)

        if self.count > 8 * sample:
            workers.run(prepare, self.count, TILE_ROWS)
        locks = [Lock() for _ in range(0, self.count, TILE_COLUMNS)]

        def scan(start: int) -> None:
            stop = min(start + TILE_ROWS, self.count)
            rows = _Scan(self, self.vectors[start:stop], best, start)
            own = locks[start // TILE_COLUMNS]
            with own:
                if not rows.filtering() or rows.filtered(start, stop) < stop:
                    scan_rows(rows.tile(start, stop), self.half[start:stop], start, best, start)
            for first in range(stop, self.count, TILE_COLUMNS):
                last = min(first + TILE_COLUMNS, self.count)
                if rows.filtering() and rows.filtered_both(first, last, own, locks[first // TILE_COLUMNS]):
                    continue
                tile = rows.tile(first, last)
                with own:
                    scan_rows(tile, self.half[first:last], first, best, start)
                with locks[first // TILE_COLUMNS]:
                    scan_columns(tile, self.half[start:stop], start, best, first)

        workers.run(scan, self.count, TILE_ROWS)


class _Scan:
    """Some queries on their way along a slab: in 8 bits while few pass, else by whole tiles of products.

    Where too many pass, the filter is asked again after 1, 2, 4, … tiles, so that asking in vain costs little.
    """

    def __init__(self, slab: Slab, queries: Vectors, best: Best, start: int) -> None:
        self.slab, self.queries, self.best, self.start = slab, queries, best, start
        self.buffer = np.empty(0, slab.frame.dtype)
        self.rest, self.patience = 0, 1  # tiles before the filter is asked again, this time and the next
        self.rows: Rows | None = None
        if slab.panels is not None and FAINT < slab.largest < VAST:
            self.rows = quantised_rows(queries, slab.largest)
            self.scratch = empty_scratch(self.rows)

    def filtering(self) -> bool:
        """Whether to ask the filter now."""
        self.rest -= 1
        return self.rows is not None and self.rest < 0

    def _failed(self) -> None:
        self.rest, self.patience = self.patience, 2 * self.patience

    def filtered(self, column: int, last: int) -> int:
        """Offer slab rows from `column` on to the queries; how far it came."""
        places = (self.start, column, last, self.slab.start)
        reached: int = scan_filtered(self.rows, self.slab.panels, self.best, places, self.scratch)
        if reached < last:
            self._failed()
        return reached

    def filtered_both(self, first: int, last: int, own: Lock, other: Lock) -> bool:
        """Offer slab rows to the queries and the queries to them, unless too many pass: false."""
        places = (self.start, first, last, 0)
        if not mask_both(self.rows, self.slab.panels, self.best, places, self.scratch):
            self._failed()
            return False
        with own:
            offer_rows(self.rows, self.slab.panels, self.best, places, self.scratch)
        with other:
            offer_columns(self.rows, self.slab.panels, self.best, places, self.scratch)
        return True

    def tile(self, first: int, last: int) -> Vectors:
        """Scores of the queries and slab rows, before `half`: [queries, last - first], valid until the next."""
        slab, m = self.slab, len(self.queries)
        if not self.buffer.size:
            self.buffer = np.empty(m * TILE_COLUMNS, slab.frame.dtype)
        tile = self.buffer[: m * (last - first)].reshape(m, last - first)
        if slab.direct:
            places = slab.gallery.at(np.arange(slab.start + first, slab.start + last))
            pairs = np.broadcast_to(places, tile.shape)
            tile[:] = exact_scores(self.queries, slab.gallery.vectors, pairs, slab.frame.similarity)
        else:
            np.matmul(self.queries, slab.vectors[first:last].T, out=tile)
        return tile
