"""The reference: datasketch's own `MinHashLSH`, fed with the signatures that `minhash_lsh` hashes."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import MissingExtra
from retrieval_bench.search import _tokens
from retrieval_bench.search._minhash_index import MinHashIndex
from retrieval_bench.search._rerank import Reranker
from retrieval_bench.types import Similarity

SCHEME = "affine32"


class DatasketchLSH(MinHashIndex):
    """datasketch 2.0: a Python dictionary a band, one `insert` a row, one `query` a query.

    It returns candidates without an order; they are re-ranked exactly by the gallery, which is held, not copied.

    Args:
        tokenizer, centroids, tokens, permutations, bands, band_rows, efforts: as in `MinHashIndex`.
    """

    library = "datasketch"

    def __init__(  # noqa: PLR0917
        self,
        tokenizer: str = "kmeans_words",
        centroids: int | None = None,
        tokens: int | None = None,
        permutations: int = 128,
        bands: int = 32,
        band_rows: int = 2,
        efforts: Sequence[int] = (1, 2, 4, 8, 16, 32),
    ) -> None:
        super().__init__(tokenizer, centroids, tokens, permutations, bands, band_rows, efforts)
        try:
            import datasketch
        except ImportError as error:
            raise MissingExtra("datasketch", "datasketch") from error
        self._datasketch: ModuleType = datasketch
        self._reranker = Reranker()

    def warm(self, dtype: np.dtype[Any]) -> None:
        """Load the compiled code, or compile it."""
        self.build(np.eye(2, dtype=dtype), Similarity.EUCLIDEAN, 0)
        self.search(np.ones((1, 2), np.float32), 1, 1)

    def build(self, vectors: NDArray[np.generic], similarity: Similarity, seed: int) -> None:
        """Fit the tokenizer, hash the gallery [n, dim], insert row after row."""
        self._fit(vectors, similarity, seed)
        self._insert(self._signed(_tokens.tokens_of(vectors, self._vocabulary)))
        self._reranker.keep(vectors, similarity is Similarity.EUCLIDEAN)

    def _insert(self, signatures: NDArray[np.uint32]) -> None:
        self._signatures = signatures
        lsh = self._datasketch.MinHashLSH(num_perm=self.bands * self.band_rows, params=(self.bands, self.band_rows))
        for row, minhash in enumerate(map(self._minhash, signatures)):
            lsh.insert(row, minhash, check_duplication=False)
        self._lsh = lsh
        self._views: dict[int, Any] = {}

    def _minhash(self, signature: NDArray[np.uint32]) -> Any:
        """The object of datasketch around one signature."""
        return self._datasketch.MinHash(hashvalues=signature, permutations=self._permutation, scheme=SCHEME)

    def _view(self, tables: int) -> Any:
        """The same index with its first tables only; nothing is copied."""
        if tables not in self._views:
            view = copy(self._lsh)
            view.hashtables, view.hashranges = self._lsh.hashtables[:tables], self._lsh.hashranges[:tables]
            self._views[tables] = view
        return self._views[tables]

    def candidate_sets(self, queries: NDArray[np.float32], effort: int | None) -> list[NDArray[np.int64]]:
        """As in `Index`: what datasketch's `query` returns, rising."""
        view = self._view(self._tables(effort))
        signatures = self._signed(_tokens.tokens_of(queries, self._vocabulary))
        return [np.sort(np.array(view.query(self._minhash(signature)), np.int64)) for signature in signatures]

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As in `Index`; datasketch answers query by query, in Python."""
        sets = self.candidate_sets(queries, effort)
        self._counts = np.array([len(found) for found in sets], np.int64)
        places = np.full((len(sets), self._counts.max(initial=0)), -1, np.int64)
        for line, found in zip(places, sets, strict=True):
            line[: len(found)] = found
        return self._reranker(queries, places, k)

    def _vectors(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        return self._reranker.gallery[rows]

    def save(self, path: Path) -> None:
        """Write signatures, tokenizer and vectors: no pickle, so the dictionaries are filled anew by `load`."""
        self._save(path, {"signatures": self._signatures})
        self._reranker.save(path)

    def load(self, path: Path) -> None:
        """Read them, and insert row after row."""
        self._insert(self._load(path)["signatures"])
        self._reranker.load(path)

    def set_threads(self, threads: int) -> None:
        """Threads of the re-ranking; datasketch itself has one."""
        self._reranker.threads = threads
