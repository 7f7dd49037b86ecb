"""MinHash LSH of our own: token sets of dense vectors in banded hash tables, one compiled kernel a query."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._blocks import read_only
from retrieval_bench.search import _bands, _filtered, _minhash, _tokens
from retrieval_bench.search._handle import held
from retrieval_bench.search._minhash_index import MinHashIndex
from retrieval_bench.search._minhash_search import Parts, Scratch, search
from retrieval_bench.types import Similarity

LEAST_QUERIES = 32  # of a batch, for each thread


class MinHashLSH(MinHashIndex):
    """Banded tables of arrays; the candidates are exactly those of datasketch's `MinHashLSH`.

    Holds a copy of the gallery, ordered by the first tokens so that rows of a bucket lie near each other: uint8 as
    it is, all else as float32 with an 8-bit copy, whose bound spares most exact scores and changes no answer.

    Args:
        tokenizer, centroids, tokens, permutations, bands, band_rows, efforts: as in `MinHashIndex`.
    """

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
        self._threads = 1
        self._local = local()

    def warm(self, dtype: np.dtype[Any]) -> None:
        """Load the compiled code, or compile it."""
        self.build(np.eye(2, dtype=dtype), Similarity.EUCLIDEAN, 0)
        self.search(np.ones((1, 2), np.float32), 1, 1)
        self.candidate_sets(np.ones((1, 2), np.float32), 1)

    def build(self, vectors: NDArray[np.generic], similarity: Similarity, seed: int) -> None:
        """Fit the tokenizer on a sample of the gallery [n, dim], hash all of it, fill the tables."""
        self._fit(vectors, similarity, seed)
        tokens = _tokens.tokens_of(vectors, self._vocabulary)
        order = np.lexsort((tokens[:, min(1, tokens.shape[1] - 1)], tokens[:, 0])).astype(np.int32)
        bands = _bands.build(self._signed(tokens[order]), self.bands, self.band_rows)
        kept = np.asarray(vectors[order], np.uint8 if vectors.dtype == np.uint8 else np.float32)
        self._adopt(bands, _filtered.gallery(kept.view(np.ndarray), similarity), order)

    def _adopt(self, bands: _bands.Bands, gallery: _filtered.Gallery, order: NDArray[np.int32]) -> None:
        mixed = _minhash.mixed(self._vocabulary.hashes)
        self._parts = Parts(self._vocabulary, mixed, self._permutation, bands, gallery, order)
        self._handle = held(self._parts)
        self._local = local()

    def _scratch(self) -> Scratch:
        """Of this thread: concurrent callers do not share."""
        if (scratch := getattr(self._local, "scratch", None)) is None:
            n = len(self._parts.order)
            scratch = self._local.scratch = Scratch(np.zeros(n, np.uint8), np.empty(n + 1, np.int32))
        return scratch

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As in `Index`; a batch is shared out among the threads."""
        q, tables = len(queries), self._tables(effort)
        rows, scores, counts = np.empty((q, k), np.int64), np.empty((q, k), np.float32), np.empty(q, np.int64)
        queries = read_only(queries)

        def part(block: slice) -> None:
            answer = rows[block], scores[block], counts[block]
            search(queries[block], self._handle, tables, self._scratch(), answer)

        if self._threads == 1 or q < 2 * LEAST_QUERIES:
            part(slice(None))
        else:
            step = max(LEAST_QUERIES, -(-q // self._threads))
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(part, [slice(start, start + step) for start in range(0, q, step)]))
        self._counts = counts
        return rows, scores

    def candidate_sets(self, queries: NDArray[np.float32], effort: int | None) -> list[NDArray[np.int64]]:
        """As in `Index`: the contents of the buckets read, rising."""
        signatures = self._signed(_tokens.tokens_of(queries, self._vocabulary))
        found = _bands.Lookup(self._parts.bands)(signatures, self._tables(effort))
        return [np.sort(self._parts.order[places]).astype(np.int64) for places in found]

    def _vectors(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        places = np.empty(len(self._parts.order), np.int64)
        places[self._parts.order] = np.arange(len(places))
        return self._parts.gallery.vectors[places[rows]]

    def save(self, path: Path) -> None:
        """Write tables, vectors and tokenizer into `minhash.npz`."""
        gallery, bands = self._parts.gallery._asdict(), self._parts.bands._asdict()
        if gallery["codes"] is gallery["vectors"]:
            del gallery["codes"]
        arrays = {f"gallery_{name}": value for name, value in gallery.items()}
        self._save(
            path, arrays | {f"bands_{name}": value for name, value in bands.items()} | {"order": self._parts.order}
        )

    def load(self, path: Path) -> None:
        """Read it back."""
        arrays = self._load(path)
        arrays.setdefault("gallery_codes", arrays["gallery_vectors"])
        bands = _bands.Bands(*(arrays[f"bands_{name}"] for name in _bands.Bands._fields))
        gallery = _filtered.Gallery(*(arrays[f"gallery_{name}"] for name in _filtered.Gallery._fields))
        self._adopt(bands, gallery, arrays["order"])

    def set_threads(self, threads: int) -> None:
        """Threads of a batch search."""
        self._threads = threads
