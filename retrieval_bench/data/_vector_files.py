"""The files of a set of vectors: which array is what, read together, and whether they fit one another."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data._checks import Problems, need_path
from retrieval_bench.data._files import label_codes
from retrieval_bench.data._formats import (
    HDF5,
    SUFFIXES,
    WITH_KEYS,
    Matrix,
    hdf5_keys,
    read_labels,
    read_matrix,
    read_vectors,
)
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound
from retrieval_bench.types import Similarity

LABELLED = {"labels": "gallery", "query_labels": "queries"}  # parameter → the vectors that it labels
# ann-benchmarks' word for how its neighbours were found.
DISTANCES = {
    "euclidean": Similarity.EUCLIDEAN,
    "angular": Similarity.COSINE,
    "cosine": Similarity.COSINE,
    "dot": Similarity.DOT,
    "ip": Similarity.DOT,
}


class Source(NamedTuple):
    """A file, or one array of it."""

    path: Path
    key: str | None = None

    @property
    def name(self) -> str:
        """For the record: no folder."""
        return self.path.name if self.key is None else f"{self.path.name}:{self.key}"


class VectorFiles:
    """What was given, completed by what an ann-benchmarks file brings, read and checked.

    Attributes:
        sources: gallery, queries, train, neighbours → where it lies; only what there is.
        vectors: the same without neighbours → [n, dim] in its own dtype.
        labels: gallery, queries → codes [n] in one name space, where label files are given.
        neighbours: [q, m] gallery rows, or none. similarity: by which the file says they were found, or none.

    Raises:
        DataNotFound, CorruptInput, BadConfig: all that is wrong, in one error.
    """

    def __init__(self, root: Path, given: Mapping[str, str | None]) -> None:
        self._root = root
        self._digests: dict[Path, str] = {}  # of whole files: an HDF5 file is read once for all its arrays
        found = {name: self._source(path) for name, file in given.items() if (path := need_path(name, file))}
        if "gallery" not in found:
            raise DataNotFound(f"data.gallery is not set; type data.gallery=FILE ({', '.join(SUFFIXES)})")
        self._label_sources = {LABELLED[name]: source for name, source in found.items() if name in LABELLED}
        self.sources = {name: source for name, source in found.items() if name not in LABELLED}
        self.similarity: Similarity | None = None
        self.vectors: dict[str, Matrix] = {}
        self.labels: dict[str, NDArray[np.int64]] = {}
        self.neighbours: NDArray[np.int64] | None = None
        self._texts: dict[str, list[str]] = {}
        self._stored: Matrix | None = None
        self._read()
        problems = Problems()
        self._check_dims(problems)
        self._check_labels(problems)
        self._check_neighbours(problems)
        problems.raise_any()

    def fingerprint(self, name: str) -> str:
        """Digest of the bytes of the file that an array lies in, and the array's name."""
        path, key = self.sources[name]
        if path not in self._digests:
            with path.open("rb") as file:
                self._digests[path] = file_digest(file, partial(blake2b, digest_size=16)).hexdigest()
        return f"{self._digests[path]}:{key or ''}"

    def _source(self, file: str) -> Source:
        """`FILE` or `FILE:NAME`."""
        front, colon, key = file.rpartition(":")
        if colon and Path(front).suffix.lower() in WITH_KEYS:
            return Source(self._root / front, key)
        return Source(self._root / file)

    def _read(self) -> None:
        problems = Problems()
        with problems.collect():
            self.similarity = self._complete()
        for name, source in self.sources.items():
            with problems.collect():
                if name == "neighbours":
                    self._stored = read_matrix(*source)
                else:
                    self.vectors[name] = read_vectors(*source)
        for name, source in self._label_sources.items():
            with problems.collect():
                self._texts[name] = read_labels(*source)
        problems.raise_any()

    def _complete(self) -> Similarity | None:
        """Name the arrays of an ann-benchmarks file; the similarity by which its neighbours were found."""
        path, key = self.sources["gallery"]
        if path.suffix.lower() not in HDF5 or key is not None or not path.is_file():
            return None
        names, attributes = hdf5_keys(path)
        if not {"train", "test"} <= set(names):
            return None
        own_queries = "queries" not in self.sources
        self.sources["gallery"] = Source(path, "train")
        if own_queries:
            self.sources["queries"] = Source(path, "test")
        if not own_queries or "neighbors" not in names or "neighbours" in self.sources:
            return None
        self.sources["neighbours"] = Source(path, "neighbors")
        distance = attributes.get("distance")
        if distance is not None and distance not in DISTANCES:
            raise CorruptInput(f"{path}: its distance is {distance}; allowed: {', '.join(DISTANCES)}")
        return None if distance is None else DISTANCES[distance]

    def _check_dims(self, problems: Problems) -> None:
        dims = {name: vectors.shape[1] for name, vectors in self.vectors.items()}
        if len(set(dims.values())) > 1:
            said = ", ".join(f"{self.sources[name].path} ({name}) {dim}" for name, dim in dims.items())
            problems.add(f"the vectors have different numbers of columns: {said}; give files that belong together")

    def _check_labels(self, problems: Problems) -> None:
        """The labels of both sides, in one name space."""
        searched = self.vectors.keys() & set(LABELLED.values())
        if not self._texts:
            return
        if self._texts.keys() != searched:
            given = ", ".join(f"data.{name}" for name, side in LABELLED.items() if side in self._texts)
            problems.add(
                f"only {given} is given; give labels for each of {', '.join(sorted(searched))}, or for none:"
                f" {' '.join(f'data.{name}=FILE' for name, side in LABELLED.items() if side in searched)}",
                BadConfig,
            )
            return
        for name, text in self._texts.items():
            if len(text) != len(self.vectors[name]):
                problems.add(
                    f"{self._label_sources[name].path} has {len(text)} labels for the {len(self.vectors[name])} vectors"
                    f" of {self.sources[name].path}; one label a row is expected"
                )
        codes, _ = label_codes([label for text in self._texts.values() for label in text])
        ends = np.cumsum([len(text) for text in self._texts.values()])[:-1]
        self.labels = dict(zip(self._texts, np.split(codes, ends), strict=True))

    def _check_neighbours(self, problems: Problems) -> None:
        rows = self._stored
        if rows is None:
            return
        path = self.sources["neighbours"].path
        n, q = len(self.vectors["gallery"]), len(self.vectors.get("queries", self.vectors["gallery"]))
        if rows.dtype.kind not in "iu" or len(rows) != q:
            problems.add(f"{path}: {rows.dtype} {list(rows.shape)}; whole numbers [{q}, m] are expected, a row a query")
            return
        ids = rows.astype(np.int64)
        if ids.min() < 0 or ids.max() >= n:
            problems.add(f"{path}: rows {ids.min()} … {ids.max()}; the gallery has rows 0 … {n - 1}")
        self.neighbours = ids
