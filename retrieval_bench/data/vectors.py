"""Vectors that somebody else made: the run enters at the embeddings and measures indexes only."""

from __future__ import annotations

from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data._checks import need_path, need_whole
from retrieval_bench.data._vector_files import VectorFiles
from retrieval_bench.data.base import VectorDataset
from retrieval_bench.errors import BadConfig, DataNotFound
from retrieval_bench.types import Embeddings, GroundTruth

FIRST_QUERY, FIRST_TRAIN = 2**40, 2**41  # query row j has id FIRST_QUERY + j; gallery row i has id i


class Vectors(VectorDataset):
    """Matrices in files: .npy, .npz, fvecs/bvecs/ivecs, fbin/u8bin/i8bin, or one HDF5 file of ann-benchmarks.

    They stay in their own dtype, memory-mapped (a compressed .npz or chunked HDF5 is read into memory). `FILE:NAME`
    names an array of an .npz or HDF5 file. An HDF5 file given as gallery also brings its `test` (queries) and
    `neighbors`, where they are not given otherwise
    (`FILE:train` brings nothing else). Without queries every gallery vector is searched among the others.

    Args:
        gallery: the vectors that are searched.
        queries: the vectors that are searched for; none: the gallery's own.
        train: vectors for fitting transforms; none: the gallery's.
        neighbours: whole numbers [q, m], gallery rows of the exact neighbours, nearest first; used as a check.
        labels: class of each gallery vector: .npy [n] (or an array of .npz, HDF5), or text with a label on each line.
        query_labels: the same for the queries; needed where both labels and queries are given.
        n_queries: without queries: take that many vectors out of the gallery, by a seeded choice, and search for these
            only. (A query that stays in a graph index finds its neighbours too easily.) The rest of the
            gallery is then read into memory.
        seed: of that choice.
        root: folder that relative file names count from; none: the current directory.

    Raises:
        DataNotFound: no gallery given, or a file is missing.
        CorruptInput: a file cannot be read as what it should be, or the files do not fit one another; all in one error.
        BadConfig: parameters that exclude one another.
    """

    name = "vectors"

    def __init__(
        self,
        gallery: str | None = None,
        queries: str | None = None,
        *,
        train: str | None = None,
        neighbours: str | None = None,
        labels: str | None = None,
        query_labels: str | None = None,
        n_queries: int | None = None,
        seed: int = 0,
        root: str | None = None,
    ) -> None:
        folder = Path(need_path("root", root) or "").expanduser()
        if not folder.is_dir():
            raise DataNotFound(f"data.root={root} is not a folder (looked in {Path.cwd()}); type data.root=FOLDER")
        need_whole("seed", seed, 0, 2**63 - 1)
        given = {"gallery": gallery, "queries": queries, "train": train, "neighbours": neighbours}
        self._files = VectorFiles(folder, given | {"labels": labels, "query_labels": query_labels})
        self._vectors = self._files.vectors
        self._held_out = self._hold_out(n_queries, seed)

    def train(self) -> Embeddings:
        """The training file's vectors (labels: none), else the gallery's."""
        return self._train if "train" in self._vectors else self.gallery()

    def queries(self) -> Embeddings:
        """Query row j has id 2^40 + j; the gallery's own vectors keep their ids."""
        return self._queries

    def gallery(self) -> Embeddings:
        """Gallery row i has id i; the same object as `queries()` where there are no others."""
        return self._gallery

    def truth(self) -> GroundTruth | None:
        """Equal label = relevant; none without label files."""
        queries, gallery = self.queries(), self.gallery()
        if gallery.labels is None:
            return None
        return GroundTruth(queries.ids, gallery.ids, query_labels=queries.labels, gallery_labels=gallery.labels)

    def neighbours(self) -> NDArray[np.int64] | None:
        """Gallery ids [q, m] as the file has them."""
        return self._files.neighbours

    @property
    def protocol(self) -> dict[str, Any]:
        """Files by name (never by path), shapes, dtypes, self rule, and the similarity that the file names, if any."""
        one_set = self.queries() is self.gallery()
        taken = "vectors held out of the gallery" if self._held_out is not None else "queries and gallery as given"
        return {
            "split": "one set" if one_set else taken,
            "self": "each vector is searched among the others; itself ignored by id" if one_set else "none",
            "group": "none",
            "crop": "none",
            "files": {name: file.name for name, file in sorted(self._files.sources.items())},
            "dtype": self._vectors["gallery"].dtype.name,
            "stored_similarity": None if self._files.similarity is None else self._files.similarity.value,
            "sizes": {"query": len(self.queries()), "gallery": len(self.gallery())},
        }

    @cached_property
    def _train(self) -> Embeddings:
        ids = np.arange(len(self._vectors["train"]), dtype=np.int64) + FIRST_TRAIN
        return Embeddings(ids, self._vectors["train"], fingerprint=self._files.fingerprint("train"))

    @cached_property
    def _gallery(self) -> Embeddings:
        ids = np.arange(len(self._vectors["gallery"]), dtype=np.int64)
        return self._own("gallery", ids, None if self._held_out is None else ~self._held_out)

    @cached_property
    def _queries(self) -> Embeddings:
        if "queries" in self._vectors:
            ids = np.arange(len(self._vectors["queries"]), dtype=np.int64) + FIRST_QUERY
            return self._own("queries", ids, None)
        if self._held_out is None:
            return self._gallery
        return self._own("gallery", np.arange(len(self._held_out), dtype=np.int64), self._held_out)

    def _own(self, name: str, ids: NDArray[np.int64], rows: NDArray[np.bool_] | None) -> Embeddings:
        """The vectors of one file, or some rows of it."""
        vectors, labels = self._vectors[name], self._files.labels.get(name)
        if rows is not None:
            ids, vectors = ids[rows], vectors[rows]
            labels = None if labels is None else labels[rows]
        digest = blake2b(self._files.fingerprint(name).encode() + ids.tobytes(), digest_size=16)
        digest.update(b"" if labels is None else labels.tobytes())
        return Embeddings(ids, vectors, labels, fingerprint=digest.hexdigest())

    def _hold_out(self, n_queries: int | None, seed: int) -> NDArray[np.bool_] | None:
        if n_queries is None:
            return None
        lost = [name for name in ("queries", "neighbours") if name in self._files.sources]
        if lost:
            raise BadConfig(f"data.n_queries and data.{lost[0]} exclude one another; type data.{lost[0]}=null")
        n = len(self._vectors["gallery"])
        need_whole("n_queries", n_queries, 1, n - 1, "every vector is searched for")
        held_out = np.zeros(n, dtype=bool)
        held_out[np.random.default_rng(seed).choice(n, n_queries, replace=False)] = True
        return held_out
