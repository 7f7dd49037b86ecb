"""What the MinHash backends share: parameters, token sets, signatures, and the theory of banded tables."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.search import _minhash, _tokens
from retrieval_bench.search._tokens import Tokenizer, Vocabulary
from retrieval_bench.search.base import Family, Index
from retrieval_bench.types import Similarity

FILE = "minhash.npz"


class MinHashIndex(Index):
    """Token sets of dense vectors (MEASURING.md section 5), their MinHash signatures, L bands of r components.

    Rows that agree with the query in all components of a band that is read are candidates; they are re-ranked exactly.
    Under dot, vectors become tokens by their direction.

    Args:
        tokenizer: `kmeans_words` or `signed_top`.
        centroids: of kmeans_words; none = min(1024, n/30). Never more than n.
        tokens: of a vector; none = 16 words, but at most one of eight centroids; signed_top: dim/4 components.
        permutations: drawn as datasketch draws them; the bands take the first bands · band_rows.
        bands: L, the number of tables.
        band_rows: r, components of a band.
        efforts: values of `tables`, the number of tables read; more than `bands` read them all.
    """

    similarities = frozenset(Similarity)
    family = Family.LSH
    knob = "tables"

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
        if tokenizer not in set(Tokenizer):
            raise BadConfig(f"tokenizer={tokenizer} is not one of {', '.join(Tokenizer)}")
        given = {"centroids": centroids, "tokens": tokens, "permutations": permutations, "bands": bands}
        given["band_rows"] = band_rows
        if wrong := [f"{name}={value}" for name, value in given.items() if value is not None and value < 1]:
            raise BadConfig(f"{', '.join(wrong)}: numbers from 1 are needed")
        if bands * band_rows > permutations:
            raise BadConfig(
                f"{bands} bands of {band_rows} rows need {bands * band_rows} permutations, more than {permutations};"
                f" type permutations={bands * band_rows}, or fewer bands"
            )
        self.tokenizer = Tokenizer(tokenizer)
        self.centroids, self.tokens, self.permutations = centroids, tokens, permutations
        self.bands, self.band_rows = bands, band_rows
        self.efforts = tuple(efforts)
        self._similarity = Similarity.COSINE
        self._vocabulary = _tokens.signed_top(1, None)
        self._permutation = _minhash.permutations(1, 0)
        self._counts = np.zeros(0, np.int64)

    def _fit(self, vectors: NDArray[np.generic], similarity: Similarity, seed: int) -> None:
        """Fit the tokenizer and draw the permutations that the bands take."""
        directions = similarity is Similarity.DOT
        if self.tokenizer is Tokenizer.SIGNED_TOP:
            self._vocabulary = _tokens.signed_top(vectors.shape[1], self.tokens)
        else:
            self._vocabulary = _tokens.kmeans_words(vectors, directions, self.centroids, self.tokens, seed)
        drawn = _minhash.permutations(self.permutations, seed)
        self._permutation = np.ascontiguousarray(drawn[:, : self.bands * self.band_rows])
        self._similarity = similarity

    def _signed(self, tokens: NDArray[np.int32]) -> NDArray[np.uint32]:
        """Signatures [n, bands · band_rows] of token sets [n, m]."""
        return _minhash.signatures(self._vocabulary.hashes[tokens], self._permutation)

    def _tables(self, effort: int | None) -> int:
        """Tables that a search reads."""
        return self.bands if effort is None else min(effort, self.bands)

    @abstractmethod
    def _vectors(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """The vectors of gallery rows: [rows, dim]."""

    def candidates(self) -> NDArray[np.int64]:
        """Rows scored for each query of the last call: [q]. All of the buckets read, each row once."""
        return self._counts

    def collision(
        self, queries: NDArray[np.float32], rows: NDArray[np.int64], effort: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Jaccard similarity s of the token sets and 1 - (1 - s^r)^L, with L the tables read; both [q, m].

        (Broder 1997; bands: Leskovec et al., Mining of Massive Datasets, chapter 3.)
        """
        mine = _tokens.tokens_of(queries, self._vocabulary)
        theirs = _tokens.tokens_of(self._vectors(rows.ravel()), self._vocabulary).reshape(*rows.shape, -1)
        shared = (theirs[:, :, :, None] == mine[:, None, None, :]).sum(axis=(2, 3))
        jaccard = shared / (2 * mine.shape[1] - shared)
        return jaccard, 1 - (1 - jaccard**self.band_rows) ** self._tables(effort)

    def _save(self, path: Path, more: dict[str, Any]) -> None:
        """Write the tokenizer, the permutations and the arrays `more`."""
        arrays = {f"vocabulary_{name}": value for name, value in self._vocabulary._asdict().items()}
        np.savez(path / FILE, similarity=str(self._similarity), permutation=self._permutation, **arrays, **more)

    def _load(self, path: Path) -> dict[str, Any]:
        """Read what `_save` wrote; returns every array, numbers as Python's own.

        Raises:
            CorruptInput: the folder does not hold it.
        """
        if not (path / FILE).exists():
            raise CorruptInput(f"{path} holds no {FILE}; delete the folder and run again")
        with np.load(path / FILE, allow_pickle=False) as file:
            arrays = {name: value if (value := file[name]).ndim else value.item() for name in file}
        self._vocabulary = Vocabulary(*(arrays[f"vocabulary_{name}"] for name in Vocabulary._fields))
        self._permutation, self._similarity = arrays["permutation"], Similarity(arrays["similarity"])
        return arrays
