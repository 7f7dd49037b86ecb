"""What all indexes of one measurement share: vectors in files, the gallery's order, the sample of timed queries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._messages import ArrayFile, MomentParts
from retrieval_bench._moments import MomentSearch
from retrieval_bench.nearest import rescore
from retrieval_bench.record import written_whole
from retrieval_bench.truth import permutation
from retrieval_bench.types import Embeddings, SearchResult, Similarity

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
BLOCK_ROWS = 16_384
SAMPLE_SALT = 0x5851F42D4C957F2D  # under the seed of `order`, leave-one-out would time the rows that went in first
CHECKED_VALUES = 50_000_000  # numbers read at most to recompute scores of one point


@dataclass(frozen=True, eq=False)
class Scene:
    """Queries and gallery of one measurement.

    Attributes:
        extra: ignored ids that may stand in a list, asked for on top of every k.
        folder: where vectors that lie in no file are written once.
        pairs: query rows [q] and gallery rows [q, m] of which LSH says whether they collide; none = not asked.
        moments: what queries and gallery are windows of: then whole moment queries are timed; none = single queries.
    """

    queries: Embeddings
    gallery: Embeddings
    similarity: Similarity
    extra: int
    seed: int
    folder: Path
    pairs: Pairs | None = None
    moments: MomentSearch | None = None

    @cached_property
    def index_pairs(self) -> Pairs:
        """`pairs` with the rows that an index is given instead of gallery rows."""
        queries, rows = (np.empty(0, np.int64), np.empty((0, 0), np.int64)) if self.pairs is None else self.pairs
        place = np.empty_like(self.order)
        place[self.order] = np.arange(len(place))
        return queries, place[rows]

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Gallery row of each row that an index is given."""
        return permutation(self.gallery.ids, self.seed)

    @cached_property
    def index_ids(self) -> NDArray[np.int64]:
        """Id of each row that an index is given."""
        return self.gallery.ids[self.order]

    @cached_property
    def sampled(self) -> NDArray[np.int64]:
        """All query rows in an order of which a sample takes the first."""
        return permutation(self.queries.ids, self.seed + SAMPLE_SALT)

    @property
    def timed_ids(self) -> NDArray[np.int64]:
        """Ids of what is timed: queries, or moment queries."""
        return self.queries.ids if self.moments is None else self.moments.ids

    @cached_property
    def asked(self) -> NDArray[np.int64]:
        """Rows of all of `timed_ids` in the order in which the timed sample takes them."""
        return self.sampled if self.moments is None else permutation(self.timed_ids, self.seed + SAMPLE_SALT)

    @property
    def moment_parts(self) -> MomentParts | None:
        """What a worker is told of moments."""
        found = self.moments
        if found is None:
            return None
        return MomentParts(found.finder, self.gallery_file, self.order, found.queries, found.gallery, found.first)

    @cached_property
    def query_file(self) -> ArrayFile:
        """Where the queries lie."""
        return ArrayFile.of(self.queries.vectors) or self._written(self.queries.vectors)

    @cached_property
    def gallery_file(self) -> ArrayFile:
        """Where the gallery lies."""
        return ArrayFile.of(self.gallery.vectors) or self._written(self.gallery.vectors)

    @cached_property
    def protocol(self) -> str:
        """Digest of everything that lists and times depend on besides the index."""
        parts = blake2b(digest_size=8)
        for side in (self.queries, self.gallery):
            parts.update(np.ascontiguousarray(side.ids).tobytes())
            parts.update(f"{side.fingerprint} {side.vectors.shape} {side.vectors.dtype}".encode())
        parts.update(f"{self.similarity} {self.extra} {self.seed} {SAMPLE_SALT}".encode())
        if self.gallery.blocks is not None:
            parts.update(f"{sorted(self.gallery.blocks.items())}".encode())
        if self.moments is not None:
            parts.update(self.moments.fingerprint.encode())
        return parts.hexdigest()

    def _written(self, vectors: NDArray[np.generic]) -> ArrayFile:
        """Write vectors that lie in memory to a file named by their content, once."""
        content = blake2b(f"{vectors.shape} {vectors.dtype}".encode(), digest_size=8)
        blocks = range(0, len(vectors), BLOCK_ROWS)
        for start in blocks:
            content.update(np.ascontiguousarray(vectors[start : start + BLOCK_ROWS]).tobytes())
        path = self.folder / f"vectors-{content.hexdigest()}.raw"
        if not path.exists():
            with written_whole(path, "wb") as file:
                for start in blocks:
                    file.write(np.ascontiguousarray(vectors[start : start + BLOCK_ROWS]).tobytes())
        width = vectors.shape[1] * vectors.dtype.itemsize
        return ArrayFile(str(path), vectors.dtype.str, vectors.shape, (width, vectors.dtype.itemsize), 0)

    def remove_written(self) -> None:
        """Delete the files of vectors that lay in memory; they are written again when another worker needs them."""
        for file in self.folder.glob("vectors-*.raw"):
            file.unlink()

    def result(
        self, rows: NDArray[np.int64], scores: NDArray[np.float32], candidates: NDArray[np.int64] | None
    ) -> SearchResult:
        """Check what a backend returned for all queries, and map its rows to gallery ids.

        Raises:
            ValueError: the answer is not what `Index.search` promises; says how.
        """
        if rows.dtype != np.int64 or scores.dtype != np.float32:
            raise ValueError(f"rows must be int64 and scores float32, not {rows.dtype} and {scores.dtype}")
        n = len(self.gallery)
        if rows.size and (rows.min() < -1 or rows.max() >= n):
            raise ValueError(f"rows must lie in -1 … {n - 1}; found {rows.min()} … {rows.max()}")
        return SearchResult(np.where(rows < 0, -1, self.index_ids[rows]), scores, candidates)

    def check_scores(self, rows: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        """Recompute the scores of returned rows in float64, of as many sampled queries as is affordable.

        Raises:
            ValueError: the backend's scores differ by more than float32 explains.
        """
        size = max(32, CHECKED_VALUES // max(1, rows.shape[1] * self.gallery.dim))
        asked = np.sort(self.sampled[:size])
        mine = np.where(rows[asked] < 0, -1, self.order[rows[asked]])
        true = rescore(self.queries.vectors[asked], self.gallery.vectors, mine, self.similarity)
        theirs = scores[asked].astype(np.float64)
        with np.errstate(invalid="ignore"):  # -inf at row -1
            wrong = (np.abs(self._comparable(theirs) - self._comparable(true)) > self._tolerance(asked, mine, true)) & (
                mine >= 0
            )
        if wrong.any():
            at = tuple(np.argwhere(wrong)[0])
            query, neighbour = self.queries.ids[asked[at[0]]], self.gallery.ids[mine[at]]
            raise ValueError(
                f"its scores are not the {self.similarity} of the vectors. Query {query}, neighbour {neighbour}: it"
                f" says {theirs[at]:.6g}, the vectors say {true[at]:.6g}. A larger score must be closer"
                " (euclidean: negative distance); a quantised index sets approximate_scores = True"
            )

    def _comparable(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Backends round in the squared distance, not in the distance; its sign tells an orientation that is wrong."""
        return np.sign(scores) * scores**2 if self.similarity is Similarity.EUCLIDEAN else scores

    def _tolerance(
        self, asked: NDArray[np.int64], mine: NDArray[np.int64], true: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Float32 rounding of dim products, with room for a poor order of summation: [q, k]."""
        unit = 8 * self.gallery.dim * 2.0**-24
        if self.similarity is Similarity.COSINE:
            return np.full(true.shape, unit + 1e-5)
        norms = _lengths(self.queries.vectors[asked])[:, None]
        if self.similarity is Similarity.EUCLIDEAN:
            bound: NDArray[np.float64] = unit * (2 * norms - true) ** 2 + 1e-5 * true**2  # |x| ≤ |q| + distance
            return bound
        rows, places = np.unique(np.maximum(mine, 0), return_inverse=True)
        lengths = _lengths(self.gallery.vectors[rows])
        tolerance: NDArray[np.float64] = unit * norms * lengths[places].reshape(mine.shape) + 1e-5 * np.abs(true)
        return tolerance


def _lengths(vectors: NDArray[np.generic]) -> NDArray[np.float64]:
    values = np.asarray(vectors, np.float64)
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", values, values))
    return lengths


def sample_of(
    asked: NDArray[np.int64], times: NDArray[np.int64], seconds: float, at_most: int, passes: int
) -> NDArray[np.int64]:
    """Query rows to time: the first of `asked`, as many as fit into `seconds` for all passes, but 20 at least.

    `times` are nanoseconds of a discarded warm-up pass.

    >>> rows = np.arange(100)
    >>> len(sample_of(rows, np.full(20, 10**8), 20.0, 100, 5)), len(sample_of(rows, np.full(100, 1000), 20.0, 50, 5))
    (40, 50)
    """
    fitting = int(seconds * 1e9 / passes / max(1.0, float(np.mean(times))))
    return asked[: min(at_most, max(20, fitting))]
