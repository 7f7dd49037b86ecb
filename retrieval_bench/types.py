"""The values of a run. Frozen; each checks itself once, when it is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64
from numpy.typing import NDArray

from retrieval_bench.errors import CorruptInput

__all__ = ["Embeddings", "GroundTruth", "Judgement", "Ragged", "SearchResult", "Segments", "Similarity", "Timing"]

BLOCK_ROWS = 16_384


class Similarity(StrEnum):
    """How two vectors are compared. A larger score is always closer."""

    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "euclidean"  # the score is the negative distance


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _unique(ids: NDArray[np.int64], what: str) -> None:
    values, counts = np.unique(ids, return_counts=True)
    _need(len(values) == len(ids), f"{what} must be unique; repeated: {values[counts > 1][:5].tolist()}")


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors of items, in their native dtype (often a memory map).

    Attributes:
        ids: [n]; one name space for queries and gallery: the same id is the same item. Never renumbered.
        vectors: [n, dim].
        labels: [n] class ids, or none.
        groups: [n] instance, camera or source video, or none.
        blocks: named column ranges (start, stop) of a multi-stream vector, or none.
        fingerprint: digest of everything that decides the vectors.

    >>> e = Embeddings(np.array([7, 3]), np.eye(2, dtype=np.float32))
    >>> len(e), e.dim
    (2, 2)
    """

    ids: Int64[np.ndarray, " n"]
    vectors: NDArray[np.generic]
    labels: Int64[np.ndarray, " n"] | None = None
    groups: Int64[np.ndarray, " n"] | None = None
    blocks: Mapping[str, tuple[int, int]] | None = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        n = len(self.ids)
        _need(self.vectors.ndim == 2, f"vectors must be [n, dim], not {self.vectors.shape}")
        _need(len(self.vectors) == n, f"{n} ids but {len(self.vectors)} vectors")
        for name, column in (("labels", self.labels), ("groups", self.groups)):
            _need(column is None or len(column) == n, f"{n} ids but {0 if column is None else len(column)} {name}")
        _unique(self.ids, "ids")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """Number of columns."""
        return int(self.vectors.shape[1])

    def check(self, similarity: Similarity) -> None:
        """Read every vector once, block by block.

        Raises:
            CorruptInput: a value is NaN or infinite, or a vector is zero under cosine; names the first rows.
        """
        for start in range(0, len(self), BLOCK_ROWS):
            block = np.asarray(self.vectors[start : start + BLOCK_ROWS])
            if block.dtype.kind == "f":
                with np.errstate(over="ignore"):  # every index computes in float32
                    bad = np.flatnonzero(~np.isfinite(block.astype(np.float32, copy=False)).all(axis=1))
                if len(bad):
                    raise CorruptInput(
                        f"NaN or infinite values (in float32) in the vectors of rows {(bad[:5] + start).tolist()}"
                        f" (ids {self.ids[bad[:5] + start].tolist()}); remove these rows or encode them again"
                    )
            if similarity is Similarity.COSINE:
                bad = np.flatnonzero(~block.any(axis=1))
                if len(bad):
                    raise CorruptInput(
                        f"zero vectors have no direction, so no cosine: rows {(bad[:5] + start).tolist()}"
                        f" (ids {self.ids[bad[:5] + start].tolist()}); remove them, or type similarity=dot or"
                        " similarity=euclidean"
                    )

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Embeddings:
        """The same embeddings, only these rows, in this order."""
        return Embeddings(
            self.ids[rows],
            self.vectors[rows],
            None if self.labels is None else self.labels[rows],
            None if self.groups is None else self.groups[rows],
            self.blocks,
            self.fingerprint,
        )


@dataclass(frozen=True, eq=False)
class Segments:
    """Which part of which item a row is: frames of a video, windows for moments; sorted by (item, start)."""

    items: Int64[np.ndarray, " n"]
    starts: Float[np.ndarray, " n"]  # seconds
    ends: Float[np.ndarray, " n"]

    def __post_init__(self) -> None:
        order = np.lexsort((self.starts, self.items))
        _need(bool((order == np.arange(len(order))).all()), "segments must be sorted by (item, start)")
        _need(bool((self.ends > self.starts).all()), "every segment must end after it starts")


@dataclass(frozen=True, eq=False)
class Ragged:
    """Lists of different lengths: list i is values[offsets[i]:offsets[i + 1]].

    >>> r = Ragged(np.array([5, 6, 7]), np.array([0, 2, 2, 3]))
    >>> [x.tolist() for x in r]
    [[5, 6], [], [7]]
    """

    values: NDArray[np.generic]
    offsets: Int64[np.ndarray, " lists_and_one"]

    def __post_init__(self) -> None:
        _need(
            len(self.offsets) > 0 and self.offsets[0] == 0 and self.offsets[-1] == len(self.values),
            "offsets must run from 0 to the number of values",
        )
        _need(bool((np.diff(self.offsets) >= 0).all()), "offsets must not fall")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> NDArray[np.generic]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def __iter__(self) -> Iterator[NDArray[np.generic]]:
        return (self[i] for i in range(len(self)))


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What is relevant for each query, and what to ignore. Never a q × n matrix.

    Either by labels (`query_labels` and `gallery_labels`: equal label = relevant) or by explicit lists (`relevant`:
    one list of gallery ids a query). Ignored, which is neither right nor wrong: the query itself (by id), gallery items
    of the query's group (where groups are given), and the ids in `junk`.

    Attributes:
        query_ids: [q]; gallery_ids: [n].
        gains: graded relevance in the order of `relevant.values`; 1 for all where none.
    """

    query_ids: Int64[np.ndarray, " q"]
    gallery_ids: Int64[np.ndarray, " n"]
    query_labels: Int64[np.ndarray, " q"] | None = None
    gallery_labels: Int64[np.ndarray, " n"] | None = None
    query_groups: Int64[np.ndarray, " q"] | None = None
    gallery_groups: Int64[np.ndarray, " n"] | None = None
    relevant: Ragged | None = None
    junk: Ragged | None = None
    gains: Float[np.ndarray, " r"] | None = None

    def __post_init__(self) -> None:
        _unique(self.query_ids, "query ids")
        _unique(self.gallery_ids, "gallery ids")
        by_label = self.query_labels is not None and self.gallery_labels is not None
        _need(by_label != (self.relevant is not None), "give either the labels of both sides or `relevant`")
        _need((self.query_groups is None) == (self.gallery_groups is None), "give the groups of both sides or of none")
        q, n = len(self.query_ids), len(self.gallery_ids)
        for name, column, length in (
            ("query_labels", self.query_labels, q),
            ("gallery_labels", self.gallery_labels, n),
            ("query_groups", self.query_groups, q),
            ("gallery_groups", self.gallery_groups, n),
            ("relevant", self.relevant, q),
            ("junk", self.junk, q),
            ("gains", self.gains, 0 if self.relevant is None else len(self.relevant.values)),
        ):
            _need(column is None or len(column) == length, f"{name} must have {length} entries")
        for name, lists in (("relevant", self.relevant), ("junk", self.junk)):
            if lists is not None:
                lost = lists.values[~np.isin(lists.values, self.gallery_ids)]
                _need(len(lost) == 0, f"{name} names ids that are not in the gallery: {lost[:5].tolist()}")


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The answer of an index: ids and scores, best first; -1 only at the end of a row that has too few answers."""

    ids: Int64[np.ndarray, "q k"]
    scores: Float32[np.ndarray, "q k"]
    candidates: Int64[np.ndarray, " q"] | None = None  # vectors scored for each query, where the index counts them

    def __post_init__(self) -> None:
        _need(self.ids.shape == self.scores.shape and self.ids.ndim == 2, "ids and scores must both be [q, k]")
        found = self.ids >= 0
        _need(bool((found[:, :-1] >= found[:, 1:]).all()), "-1 may stand only at the end of a row")
        _need(not np.isnan(self.scores[found]).any(), "a score is NaN")
        pairs = found[:, 1:]
        _need(bool((self.scores[:, :-1][pairs] >= self.scores[:, 1:][pairs]).all()), "scores must not rise in a row")
        ordered = np.sort(self.ids, axis=1)
        same = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
        _need(not same.any(), "an id stands twice in a row")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def k(self) -> int:
        """Depth of the lists."""
        return int(self.ids.shape[1])


@dataclass(frozen=True, eq=False)
class Judgement:
    """Which answers are right, after ignored ids are removed. Metrics take this, never scores.

    Attributes:
        hits: [q, k] the answer at this rank is relevant.
        valid: [q, k] there is an answer at this rank.
        relevant: [q] number R of relevant items left after removing what is ignored.
        gains: [q, k] graded relevance at each rank, or none; ideal_gains: [q, k] the largest ones, falling.
    """

    hits: Bool[np.ndarray, "q k"]
    valid: Bool[np.ndarray, "q k"]
    relevant: Int64[np.ndarray, " q"]
    gains: Float[np.ndarray, "q k"] | None = None
    ideal_gains: Float[np.ndarray, "q k"] | None = None

    def __post_init__(self) -> None:
        _need(self.hits.shape == self.valid.shape, "hits and valid must have one shape")
        _need(len(self.hits) == len(self.relevant), "one `relevant` for each query")
        _need(not (self.hits & ~self.valid).any(), "a hit must be valid")
        _need(bool((self.hits.sum(axis=1) <= self.relevant).all()), "more hits than relevant items")
        _need((self.gains is None) == (self.ideal_gains is None), "gains and ideal_gains go together")

    def __len__(self) -> int:
        return len(self.hits)

    @property
    def depth(self) -> int:
        """Number of ranks judged."""
        return int(self.hits.shape[1])


@dataclass(frozen=True, eq=False)
class Timing:
    """Times of one index at one effort and depth."""

    build_seconds: float
    nanoseconds: Int64[np.ndarray, "passes q"] = field(repr=False)  # column j is query j of the sample, in every pass
    threads: int = 1

    def __post_init__(self) -> None:
        _need(self.nanoseconds.size > 0, "a timing must not be empty")
        _need(bool((self.nanoseconds > 0).all()), "times must be positive")
