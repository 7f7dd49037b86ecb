"""What a search backend is. The harness owns orientation, truth and time; a backend only answers."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.types import Similarity


class Family(StrEnum):
    """How a backend finds neighbours: what tables are grouped and figures coloured by."""

    EXACT = "exact"
    GRAPH = "graph"
    INVERTED_LIST = "inverted list"
    QUANTISED = "quantised"
    TREE = "tree"
    LSH = "LSH"
    SERVER = "server"
    OTHER = "other"


class Index(ABC):
    """A search backend.

    Class facts are readable without constructing, by `facts` where they depend on the arguments. The constructor
    takes the build parameters, then `efforts`, and imports the backend's library (`MissingExtra` if it is absent).

    Under cosine the harness hands over unit vectors, gallery and queries, so that cosine is the dot product.
    `build` and `search` never write into their inputs.
    """

    similarities: ClassVar[frozenset[Similarity]]
    family: ClassVar[Family] = Family.OTHER
    exact: ClassVar[bool] = False
    knob: ClassVar[str | None] = None  # the field's own name of the one query-time effort: nprobe, ef, search_k, …
    approximate_scores: ClassVar[bool] = False  # quantised: its order is kept, its scores are not compared
    effort_at_least_k: ClassVar[bool] = False  # an effort below the asked depth searches like one of that depth
    library: ClassVar[str | None] = None  # distribution of the backend, as pip names it; another version measures anew
    floor: ClassVar[bool] = False  # does not look at the query: only its time means something
    efforts: Sequence[int]  # values of the knob to measure, rising; empty where there is no knob
    # Facts of one index, known once it is constructed:
    remote: bool = False  # lives in a server: bytes of what `save` writes and memory of this process mean nothing
    functional: bool = False  # shows that a backend works, not how fast it can be: its latency is not ranked

    @classmethod
    def class_facts(cls, given: Mapping[str, Any]) -> type[Index]:
        """The class with the facts that it has under these arguments: an index that wraps another has that one's."""
        return cls

    def warm(self, dtype: np.dtype[Any]) -> None:
        """Load what a first call would load, such as compiled code for a gallery of this dtype; before anything else.

        What it takes is neither build nor search time, and its memory is not the index's.
        """

    def set_blocks(self, blocks: Mapping[str, tuple[int, int]] | None) -> None:
        """Named column ranges (start, stop) of the vectors, told before `build`; none where they are of one stream."""

    @abstractmethod
    def build(self, vectors: NDArray[np.generic], similarity: Similarity, seed: int) -> None:
        """Index the gallery [n, dim] (any numeric dtype, C-contiguous)."""

    @abstractmethod
    def search(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Nearest gallery rows of each query [q, dim].

        Returns:
            rows [q, k] and scores [q, k], best first, larger = closer (euclidean: negative distance); a list shorter
            than k ends in row -1, score -inf.
        """

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the index into the existing, empty folder `path`."""

    @abstractmethod
    def load(self, path: Path) -> None:
        """Read what `save` wrote; afterwards the index answers as it did."""

    def close(self) -> None:
        """Release files, servers and memory. The index is not used again."""

    def candidates(self) -> NDArray[np.int64] | None:
        """Vectors scored for each query of the last call: [q]; none where the library does not count them."""
        return None

    def candidate_sets(self, queries: NDArray[np.float32], effort: int | None) -> list[NDArray[np.int64]] | None:
        """The gallery rows, each once, that each query would have scored exactly; none where there is no such set.

        LSH: the contents of the buckets that a search of this effort reads, before any cheaper filter.
        """
        return None

    def collision(
        self, queries: NDArray[np.float32], rows: NDArray[np.int64], effort: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """What the theory of the family predicts for pairs of a query and gallery rows [q, m]; none without a theory.

        Returns:
            similarity [q, m] in the family's own terms (SimHash and cross-polytope: cosine; E2LSH: distance; MinHash:
            Jaccard of the token sets) and the probability [q, m], over random hash functions, that the row is a
            candidate of the query at this effort.
        """
        return None

    def set_threads(self, threads: int) -> None:
        """Threads that a batch search may use; a single query always uses one."""


def facts(factory: partial[Any]) -> type[Index]:
    """The class that a partial constructs, with its facts under the partial's arguments.

    Raises:
        TypeError: it is no `Index`, or it has no such parameters.
    """
    target = factory.func
    if not (inspect.isclass(target) and issubclass(target, Index)):
        raise TypeError(f"{target!r} is not a subclass of retrieval_bench.search.base.Index")
    given = inspect.signature(target).bind_partial(*factory.args, **factory.keywords)
    return target.class_facts(given.arguments)
