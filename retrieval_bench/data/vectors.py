"""Vectors that somebody else made: the run enters at the embeddings and measures indexes only."""

from __future__ import annotations

from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data._files import label_codes
from retrieval_bench.data._formats import HDF5, SUFFIXES, WITH_KEYS, hdf5_keys, read_labels, read_matrix, read_vectors
from retrieval_bench.data.base import VectorDataset
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound
from retrieval_bench.types import Embeddings, GroundTruth, Similarity

FIRST_QUERY, FIRST_TRAIN = 2**40, 2**41  # query row j has id FIRST_QUERY + j; gallery row i has id i
CHUNK = 1 << 22  # bytes of a file that are hashed at a time
# ann-benchmarks' word for how its neighbours were found.
DISTANCES = {
    "euclidean": Similarity.EUCLIDEAN,
    "angular": Similarity.COSINE,
    "cosine": Similarity.COSINE,
    "dot": Similarity.DOT,
    "ip": Similarity.DOT,
}


class _Source(NamedTuple):
    path: Path
    key: str | None = None

    @property
    def name(self) -> str:
        """For the record: no folder."""
        return self.path.name if self.key is None else f"{self.path.name}:{self.key}"


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
        labels: class of each gallery vector: .npy [n], or text with one label on each line.
        query_labels: the same for the queries; needed where both labels and queries are given.
        n_queries: without queries: take that many vectors out of the gallery, by a seeded choice, and search for these
            only. (A query that stays in a graph index finds its neighbours too easily.) The rest of the
            gallery is then read into memory.
        seed: of that choice.
        root: folder that relative file names count from; none: the current directory.

    Raises:
        DataNotFound: no gallery given, or a file is missing.
        CorruptInput: a file cannot be read as what it should be, or the files do not fit one another.
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
        if gallery is None:
            raise DataNotFound(f"data.gallery is not set; type data.gallery=FILE ({', '.join(SUFFIXES)})")
        self._root = Path(root) if root else Path()
        if not self._root.is_dir():
            raise DataNotFound(f"data.root={root} is not a folder (looked in {Path.cwd()}); type data.root=FOLDER")
        self._digests: dict[Path, str] = {}  # of whole files: an HDF5 file is read once for all its arrays
        named = {"gallery": gallery, "queries": queries, "train": train, "neighbours": neighbours}
        self._files = {name: self._source(file) for name, file in named.items() if file is not None}
        self._stored_similarity = self._complete()
        self._vectors = {name: read_vectors(*file) for name, file in self._files.items() if name != "neighbours"}
        self._check_dims()
        self._held_out = self._hold_out(n_queries, seed)
        self._labels = self._read_labels(labels, query_labels)
        self._neighbours = self._read_neighbours()

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
        return self._neighbours

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
            "files": {name: file.name for name, file in sorted(self._files.items())},
            "dtype": self._vectors["gallery"].dtype.name,
            "stored_similarity": None if self._stored_similarity is None else self._stored_similarity.value,
            "sizes": {"query": len(self.queries()), "gallery": len(self.gallery())},
        }

    @cached_property
    def _train(self) -> Embeddings:
        ids = np.arange(len(self._vectors["train"]), dtype=np.int64) + FIRST_TRAIN
        return Embeddings(ids, self._vectors["train"], fingerprint=self._fingerprint("train"))

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
        vectors, labels = self._vectors[name], self._labels.get(name)
        if rows is not None:
            ids, vectors = ids[rows], vectors[rows]
            labels = None if labels is None else labels[rows]
        digest = blake2b(self._fingerprint(name).encode() + ids.tobytes(), digest_size=16)
        digest.update(b"" if labels is None else labels.tobytes())
        return Embeddings(ids, vectors, labels, fingerprint=digest.hexdigest())

    def _source(self, file: str) -> _Source:
        """`FILE` or `FILE:NAME`."""
        front, colon, key = file.rpartition(":")
        if colon and Path(front).suffix.lower() in WITH_KEYS:
            return _Source(self._root / front, key)
        return _Source(self._root / file)

    def _complete(self) -> Similarity | None:
        """Name the arrays of an ann-benchmarks file; the similarity by which its neighbours were found."""
        path, key = self._files["gallery"]
        if path.suffix.lower() not in HDF5 or key is not None or not path.is_file():
            return None
        names, attributes = hdf5_keys(path)
        if not {"train", "test"} <= set(names):
            return None
        own_queries = "queries" not in self._files
        self._files["gallery"] = _Source(path, "train")
        if own_queries:
            self._files["queries"] = _Source(path, "test")
        if not own_queries or "neighbors" not in names or "neighbours" in self._files:
            return None
        self._files["neighbours"] = _Source(path, "neighbors")
        distance = attributes.get("distance")
        if distance is not None and distance not in DISTANCES:
            raise CorruptInput(f"{path}: its distance is {distance}; allowed: {', '.join(DISTANCES)}")
        return None if distance is None else DISTANCES[distance]

    def _check_dims(self) -> None:
        dims = {name: vectors.shape[1] for name, vectors in self._vectors.items()}
        if len(set(dims.values())) > 1:
            said = ", ".join(f"{self._files[name].path} ({name}) {dim}" for name, dim in dims.items())
            raise CorruptInput(
                f"the vectors have different numbers of columns: {said}; give files that belong together"
            )

    def _hold_out(self, n_queries: int | None, seed: int) -> NDArray[np.bool_] | None:
        if n_queries is None:
            return None
        lost = [name for name in ("queries", "neighbours") if name in self._files]
        if lost:
            raise BadConfig(f"data.n_queries and data.{lost[0]} exclude one another; type data.{lost[0]}=null")
        n = len(self._vectors["gallery"])
        if not 1 <= n_queries < n:
            raise BadConfig(f"data.n_queries={n_queries}: the gallery has {n} vectors; type a number from 1 to {n - 1}")
        held_out = np.zeros(n, dtype=bool)
        held_out[np.random.default_rng(seed).choice(n, n_queries, replace=False)] = True
        return held_out

    def _read_labels(self, labels: str | None, query_labels: str | None) -> dict[str, NDArray[np.int64]]:
        files = {"gallery": labels, "queries": query_labels}
        given = {name: file for name, file in files.items() if file is not None}
        if given and given.keys() != self._vectors.keys() & files.keys():
            raise BadConfig(
                f"data.labels={labels}, data.query_labels={query_labels}: give a label file for each vector file"
                f" ({', '.join(sorted(self._vectors.keys() & files.keys()))}), or none"
            )
        texts = {name: read_labels(self._root / file) for name, file in given.items()}
        for name, text in texts.items():
            if len(text) != len(self._vectors[name]):
                raise CorruptInput(
                    f"{self._root / given[name]} has {len(text)} labels for the {len(self._vectors[name])} vectors of"
                    f" {self._files[name].path}; one label a row is expected"
                )
        codes, _ = label_codes([label for text in texts.values() for label in text])
        ends = np.cumsum([len(text) for text in texts.values()])[:-1]
        return dict(zip(texts, np.split(codes, ends), strict=True)) if texts else {}

    def _read_neighbours(self) -> NDArray[np.int64] | None:
        if "neighbours" not in self._files:
            return None
        path, key = self._files["neighbours"]
        rows = read_matrix(path, key)
        n, q = len(self._vectors["gallery"]), len(self._vectors.get("queries", self._vectors["gallery"]))
        if rows.dtype.kind not in "iu" or len(rows) != q:
            raise CorruptInput(
                f"{path}: {rows.dtype} {list(rows.shape)}; whole numbers [{q}, m] are expected, a row a query"
            )
        ids = rows.astype(np.int64)
        if ids.min() < 0 or ids.max() >= n:
            raise CorruptInput(f"{path}: rows {ids.min()} … {ids.max()}; the gallery has rows 0 … {n - 1}")
        return ids

    def _fingerprint(self, name: str) -> str:
        path, key = self._files[name]
        if path not in self._digests:
            digest = blake2b(digest_size=16)
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
            self._digests[path] = digest.hexdigest()
        return f"{self._digests[path]}:{key or ''}"
