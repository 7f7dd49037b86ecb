"""An index for each block of the vectors; their lists are merged, and what they name is scored by whole vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.search.base import Family, Index, facts
from retrieval_bench.types import Similarity

FILE = "merge.json"
STREAMS = 2  # blocks for which indexes are constructed where nothing says how many there are
ALIKE = 1e-3  # of lengths, as a share of the longest: what rounding to float16 leaves


@dataclass(frozen=True)
class _Part:
    """The index of columns start … stop, and by what it was built."""

    index: Index
    start: int
    stop: int
    similarity: Similarity

    def columns(self, vectors: NDArray[Any]) -> NDArray[Any]:
        """These columns of vectors [n, dim], as the index wants them; a zero block of a query stays zero."""
        block = np.ascontiguousarray(vectors[:, self.start : self.stop])
        if self.similarity is Similarity.COSINE:
            lengths = _lengths(block)
            block = block / np.where(lengths == 0, np.float32(1), lengths)[:, None]
        return block


class Merge(Index):
    """Late fusion by separate indexes: every block is searched by itself, and the union of the lists is scored.

    A row that stands in any list is scored exactly, by the vectors as a whole: cosine and dot are the sums of the
    blocks' dot products, the squared euclidean distance is the sum of theirs. So a row that one list lacks is not
    guessed at (the last score of that list instead of its own would turn the order round), and scores are those of one
    index over the whole vector. The price: the gallery itself is kept beside the indexes, as for other re-ranking ones.

    A row may be near the top of the sum and of no block; it is missed, even if the indexes inside are exact. So this
    index is never exact, and what it finds of the neighbours is limited by `factor` as well as by the effort.

    Under cosine a block is searched by cosine where it has one length in all gallery vectors, as `two_stream` leaves
    it; else by dot product, of which the whole cosine is the sum.

    Knob, family, similarities and library are those of the index inside.

    Args:
        index: partial of a backend; one is built for each block.
        blocks: widths of the blocks; none = those of the embedding.
        factor: each list is factor·k long. Where the effort is the length of a queue (HNSW: `ef`), a list is no longer
            than the queue, max(k, effort), as the rest of it would cost more effort.
        efforts: values of the inner index's knob.

    Raises:
        TypeError: `index` is something else. BadConfig: widths or factor below 1; in `build`: blocks that do not fit.
    """

    similarities = frozenset(Similarity)

    def __init__(
        self, index: partial[Any], blocks: Sequence[int] | None = None, factor: int = 8, efforts: Sequence[int] = ()
    ) -> None:
        self._inner = _class(index)
        if blocks is not None and (not blocks or any(not _whole(width) for width in blocks)):
            raise BadConfig(f"blocks={list(blocks)}: widths are whole numbers from 1, for instance blocks=[1280,1280]")
        if not _whole(factor):
            raise BadConfig(f"factor={factor}: at least 1 is needed, so that lists are no shorter than those asked for")
        if efforts and self._inner.knob is None:
            raise BadConfig(f"{self._inner.__name__} has no knob, so efforts must be [], not {list(efforts)}")
        from retrieval_bench.search._rerank import Reranker  # numba, only for those that need it

        self._make, self.factor, self.efforts = index, factor, tuple(efforts)
        self.blocks = None if blocks is None else tuple(blocks)
        self._named: Mapping[str, tuple[int, int]] | None = None
        # Constructed here, where a missing library is told, and imports count neither as build time nor as memory.
        self._spare: list[Index] = [index() for _ in range(STREAMS if blocks is None else len(blocks))]
        self.remote = self._spare[0].remote
        self.functional = self._spare[0].functional
        self._parts: list[_Part] = []
        self._threads = 1
        self._rerank = Reranker()

    @classmethod
    def class_facts(cls, given: Mapping[str, Any]) -> type[Index]:
        """Those of the index inside, but for its exactness and its scores."""
        inner = _class(given.get("index"))
        same = ("similarities", "knob", "effort_at_least_k", "library")
        known: dict[str, Any] = {name: getattr(inner, name) for name in same}
        known["family"] = Family.OTHER if inner.exact else inner.family
        return type(cls.__name__, (cls,), known | {"__module__": cls.__module__, "__qualname__": cls.__qualname__})

    def warm(self, dtype: np.dtype[Any]) -> None:
        """That of the indexes inside, and of scoring."""
        self._rerank.warm(dtype)
        for index in self._spare:
            index.warm(dtype)

    def set_blocks(self, blocks: Mapping[str, tuple[int, int]] | None) -> None:
        """The embedding's own blocks, taken where no widths were given."""
        self._named = blocks

    def build(self, vectors: NDArray[np.generic], similarity: Similarity, seed: int) -> None:
        """Index the columns of each block of the gallery [n, dim]; the gallery is held for scoring."""
        ranges = self._ranges(vectors.shape[1])
        self._rerank.keep(vectors, similarity is Similarity.EUCLIDEAN)
        similarities = [self._searched_by(vectors[:, start:stop], similarity) for start, stop in ranges]
        self._parts = self._adopted(ranges, similarities)
        for number, part in enumerate(self._parts):
            drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0]) % 2**31
            part.index.build(part.columns(vectors), part.similarity, drawn)

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Nearest rows [q, k] and scores [q, k] by whole vectors, of what the lists of the blocks name."""
        depth = self._depth(k, effort)
        lists = [part.index.search(part.columns(queries), depth, effort)[0] for part in self._parts]
        places = np.concatenate(lists, axis=1)
        places.sort(axis=1)
        later = places[:, 1:]
        later[later == places[:, :-1]] = -1  # each row once
        return self._rerank(queries, places, k)

    def _depth(self, k: int, effort: int | None) -> int:
        deep = self.factor * k
        if self._inner.effort_at_least_k:
            deep = min(deep, max(k, effort or 0))
        return min(deep, len(self._rerank.gallery))

    def candidates(self) -> NDArray[np.int64] | None:
        """Vectors scored by the indexes inside for each query of the last call: [q].

        A vector of one block counts as its share of the columns; what is scored afterwards, as a whole, is not counted.
        """
        counts = [part.index.candidates() for part in self._parts]
        columns = [c * (part.stop - part.start) for c, part in zip(counts, self._parts, strict=True) if c is not None]
        if len(columns) < len(counts):
            return None
        scored: NDArray[np.int64] = -(-np.sum(columns, axis=0) // self._rerank.gallery.shape[1])
        return scored

    def save(self, path: Path) -> None:
        """Write a folder for each block, numbered, the gallery, and `merge.json`."""
        for number, part in enumerate(self._parts):
            (path / str(number)).mkdir()
            part.index.save(path / str(number))
        self._rerank.save(path)
        told = [[part.start, part.stop, str(part.similarity)] for part in self._parts]
        (path / FILE).write_text(json.dumps({"blocks": told}), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Read what `save` wrote.

        Raises:
            CorruptInput: the folder does not hold it.
        """
        if not (path / FILE).exists():
            raise CorruptInput(f"{path} holds no saved merged index; delete the folder and run again")
        told = json.loads((path / FILE).read_text(encoding="utf-8"))["blocks"]
        self._parts = self._adopted([(a, b) for a, b, _ in told], [Similarity(name) for *_, name in told])
        for number, part in enumerate(self._parts):
            part.index.load(path / str(number))
        self._rerank.load(path)

    def close(self) -> None:
        """Close every index, and let the gallery go."""
        for index in self._all():
            index.close()
        self._parts, self._spare = [], []
        self._rerank.keep(np.empty((0, 0), np.float32), euclidean=False)

    def set_threads(self, threads: int) -> None:
        """Threads of each index, one after another, and of scoring."""
        self._threads = self._rerank.threads = threads
        for index in self._all():
            index.set_threads(threads)

    def _all(self) -> list[Index]:
        return [*(part.index for part in self._parts), *self._spare]

    def _adopted(self, ranges: Sequence[tuple[int, int]], similarities: Sequence[Similarity]) -> list[_Part]:
        """An index for each block: those that are there, and as many more as are needed."""
        there = self._all()
        new: list[Index] = [self._make() for _ in ranges[len(there) :]]
        for index in new:
            index.set_threads(self._threads)
        indexes = [*there, *new]
        self._spare = indexes[len(ranges) :]
        kept = indexes[: len(ranges)]
        return [_Part(index, *span, by) for index, span, by in zip(kept, ranges, similarities, strict=True)]

    def _searched_by(self, block: NDArray[np.generic], similarity: Similarity) -> Similarity:
        if similarity is not Similarity.COSINE:
            return similarity
        lengths = _lengths(block)
        if lengths.min() > 0 and (lengths.max() - lengths.min() <= ALIKE * lengths.max()):
            return Similarity.COSINE
        if Similarity.DOT in self._inner.similarities:
            return Similarity.DOT
        raise BadConfig(
            f"{self._inner.__name__} searches by cosine only, and the vectors of a block differ in length or are zero,"
            " so that the cosine of the whole is no sum of its cosines; type search.NAME.index with one that searches"
            " by dot product, such as search@search.NAME.index=hnsw"
        )

    def _ranges(self, dim: int) -> list[tuple[int, int]]:
        """First column and the one behind the last, of each block."""
        named = self._named
        own = "" if named is None else ", ".join(f"{name} {stop - start}" for name, (start, stop) in named.items())
        example = f"blocks=[{dim - dim // 2},{dim // 2}]" if dim > 1 else "blocks=[1]"
        if self.blocks is not None:
            edges = np.cumsum([0, *self.blocks]).tolist()
            if edges[-1] == dim:
                return list(pairwise(edges))
            remedy = f"blocks=null for the embedding's own ({own})" if own else f"{example}, for instance"
            raise BadConfig(
                f"blocks={list(self.blocks)} have {edges[-1]} columns together, the vectors {dim}; type {remedy}"
            )
        if named is None:
            raise BadConfig(
                "these vectors come without blocks: an encoder of one stream makes none, and transforms and trained"
                f" heads mix them (head=identity does not). Give the widths of the blocks, {dim} columns together, such"
                f" as {example}, or use encoder=two_stream without transforms"
            )
        spans = sorted(named.values())
        if [0, *(stop for _, stop in spans)] != [*(start for start, _ in spans), dim]:
            raise BadConfig(f"the embedding's blocks ({own}) are not all of its {dim} columns; type {example}")
        return spans


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _lengths(block: NDArray[Any]) -> NDArray[np.float32]:
    """[n, width] → [n]."""
    lengths: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float32))
    return lengths


def _class(index: Any) -> type[Index]:
    """The backend that a partial makes, with its facts."""
    if not isinstance(index, partial):
        raise TypeError(f"index must be a backend that is not constructed yet (_partial_: true), not {index!r}")
    return facts(index)
