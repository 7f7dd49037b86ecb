"""What the LSH backends share: hash tables, a bucket-ordered gallery, threads, files; a family adds hash functions."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.search._collisions import NormalRows, normal_rows
from retrieval_bench.search._frame import (
    Frame,
    Rotation,
    block_rows,
    bring,
    centred,
    orthogonal,
    principal,
    projected,
    sample,
    with_directions,
)
from retrieval_bench.search._handle import held
from retrieval_bench.search._probes import Probes, Tables, tables_of
from retrieval_bench.search._scan import WORDS, Store, all_signs
from retrieval_bench.search.base import Family, Index
from retrieval_bench.types import Similarity

META, ARRAYS = "lsh.json", "lsh.npz"
SHARE = 1 / 64  # of the candidates, scored exactly beside `rerank` ones: more probes find more
LEADING = 64  # principal directions that sketches are made of
CHUNK = 64  # queries a thread takes at once
PROBES_A_SLOT, MOST_PROBES = 16, 1 << 20


def automatic_bits(n: int) -> int:
    """Bits of a key for n vectors: log2 n up to 9, then half a bit for every doubling beyond 2^17."""
    octaves = np.log2(n)
    return int(min(octaves, 9) + max(0, octaves - 17) / 2)


class LSH(Index):
    """Hash tables whose buckets are read in the order of their promise, sieved by sketches and scored exactly.

    Args:
        tables: hash tables; each is probed `probes` times.
        rotation: where the directions of the hash functions come from.
        sketch_bits: bits of the sketch that sieves what the buckets hold; 0 = everything is scored.
        rerank: vectors scored exactly for each neighbour asked for, beside 1/64 of what the buckets hold.
        efforts: values of `probes`, the buckets that a query reads in each table; more than 16 for each slot of a
            table, or 2^20, are not tried.
    """

    similarities: ClassVar[frozenset[Similarity]] = frozenset(Similarity)
    family: ClassVar[Family] = Family.LSH
    knob: ClassVar[str | None] = "probes"
    _functions: ClassVar[type]  # named tuple of the hash functions' numbers

    def __init__(self, tables: int, rotation: str, sketch_bits: int, rerank: int, efforts: Sequence[int]) -> None:
        if rotation not in tuple(Rotation):
            raise BadConfig(f"rotation={rotation}: {' or '.join(Rotation)} is needed")
        if tables < 1 or rerank < 1 or sketch_bits not in [64 * words for words in WORDS]:
            raise BadConfig(
                f"tables={tables}, sketch_bits={sketch_bits}, rerank={rerank}: tables and rerank from 1, and"
                f" sketch_bits of {', '.join(str(64 * words) for words in WORDS)} are needed"
            )
        self.tables, self.rotation, self.sketch_bits, self.rerank = tables, Rotation(rotation), sketch_bits, rerank
        self.efforts = tuple(efforts)
        self._threads = 1
        self._asked: tuple[NDArray[np.float32], int] = (np.empty((0, 0), np.float32), 1)
        self._parts: tuple[Any, ...] = ()
        self._handle: Any = None

    def warm(self, dtype: np.dtype[Any]) -> None:
        """Load the compiled code, or compile it."""
        self.build(np.eye(4, 8, dtype=dtype), Similarity.EUCLIDEAN, 0)
        self.search(np.ones((1, 8), np.float32), 1, 1)
        self.candidates()
        self.close()

    @abstractmethod
    def _draw(
        self, n: int, rows: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], tuple[Any, ...]]:
        """Directions [dim, m] and the hash functions' other numbers, for n vectors like the centred sample `rows`."""

    def _directions(self, rows: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Directions [dim, tables · count]. PCA: the leading ones; further tables turn twice as many."""
        if self.rotation is Rotation.RANDOM:
            return rng.standard_normal((rows.shape[1], self.tables * count)).astype(np.float32)
        leading = principal(rows, min(rows.shape[1], count if self.tables == 1 else 2 * count), rng)
        turned = [leading @ orthogonal(leading.shape[1], count, rng) for _ in range(self.tables - 1)]
        return np.concatenate([leading[:, :count], *turned], axis=1)

    @abstractmethod
    def _keys(self, projections: NDArray[np.float32], functions: Any) -> NDArray[np.int64]:
        """Keys [tables, b] of projections [b, m]."""

    @property
    @abstractmethod
    def _kernels(self) -> tuple[Callable[..., None], Callable[..., Any]]:
        """Compiled (search, probe) of the family; probe returns `Probes` and the query's projections."""

    @abstractmethod
    def _chances(
        self, table: int, projections: NDArray[np.float64], rows: NormalRows, probes: Probes
    ) -> NDArray[np.float64]:
        """Probability [m] that rows fall into the probed buckets of a table, given the query's projections."""

    def build(self, vectors: NDArray[np.generic], similarity: Similarity, seed: int) -> None:
        """Hash the gallery [n, dim] block by block and copy it in the order of the buckets; uint8 stays uint8."""
        rng = np.random.default_rng(seed)
        frame = centred(vectors, similarity, rng)
        rows = bring(sample(vectors, rng), frame, False)
        directions, functions = self._draw(len(vectors), rows, rng)
        frame = with_directions(frame, directions, *self._sketch(rows, rng))
        keys, words = self._hashed(vectors, frame, functions)
        tables, orders = tables_of(keys)
        stored = vectors.dtype if vectors.dtype == np.uint8 else np.dtype(np.float32)
        place = np.empty(len(vectors), np.int32)
        place[orders[0]] = np.arange(len(vectors), dtype=np.int32)
        store = Store(
            vectors[orders[0]].astype(stored, copy=False),
            orders[0].astype(np.int32),
            place[orders[1:]],
            np.ascontiguousarray(words[orders].transpose(0, 2, 1)),
            similarity is Similarity.EUCLIDEAN,
            self.rerank,
            SHARE,
        )
        self._adopt((frame, functions, tables, store))

    def _sketch(self, rows: NDArray[np.float32], rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
        if self.sketch_bits == 0:
            return (np.zeros((rows.shape[1], 0), np.float32),)
        if self.rotation is Rotation.PCA:
            leading = principal(rows, min(rows.shape[1], LEADING), rng)
            return leading, orthogonal(leading.shape[1], self.sketch_bits, rng)
        return (orthogonal(rows.shape[1], self.sketch_bits, rng),)

    def _hashed(
        self, vectors: NDArray[np.generic], frame: Frame, functions: tuple[Any, ...]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Keys [tables, n] and sketches [n, words]."""
        keys = np.empty((self.tables, len(vectors)), np.int64)
        words = np.empty((len(vectors), self.sketch_bits // 64), np.uint64)
        step = block_rows(max(vectors.shape[1], frame.matrix.shape[1]))
        for start in range(0, len(vectors), step):
            own, sketch = projected(bring(vectors[start : start + step], frame, False), frame)
            keys[:, start : start + step] = self._keys(own, functions)
            all_signs(sketch, words[start : start + step])
        return keys, words

    def _adopt(self, parts: tuple[Any, ...]) -> None:
        self._parts, self._handle = parts, held(parts)

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As in `Index`; one compiled call a query, or one for each chunk of a batch."""
        probes = self._bounded(effort)
        if not queries.flags.carray:  # compiled for writable, contiguous arrays only
            queries = np.array(queries, np.float32, order="C")
        self._asked = queries, probes
        kernel, q = self._kernels[0], len(queries)
        rows, scores = np.empty((q, k), np.int64), np.empty((q, k), np.float32)
        if q <= CHUNK or self._threads == 1:
            kernel(self._handle, queries, probes, rows, scores)
            return rows, scores
        with ThreadPoolExecutor(self._threads) as pool:
            parts = [slice(start, start + CHUNK) for start in range(0, q, CHUNK)]
            for done in [pool.submit(kernel, self._handle, queries[p], probes, rows[p], scores[p]) for p in parts]:
                done.result()
        return rows, scores

    def candidates(self) -> NDArray[np.int64]:
        """Vectors in the buckets that the last call read, each once: [q]. Looked up anew; a search does not count."""
        queries, probes = self._asked
        return np.array([len(rows) for rows in self.candidate_sets(queries, probes)], np.int64)

    def candidate_sets(self, queries: NDArray[np.float32], effort: int | None) -> list[NDArray[np.int64]]:
        """As in `Index`: rising gallery rows, before the sketches."""
        store: Store = self._parts[3]
        sets = []
        for query in queries:
            probes, _ = self._probed(query, effort)
            found = []
            for table, spans in enumerate(probes.spans.tolist()):
                for start, stop in spans:
                    found.append(store.rows[store.places[table - 1, start:stop] if table else slice(start, stop)])
            sets.append(np.unique(np.concatenate(found)).astype(np.int64))
        return sets

    def collision(
        self, queries: NDArray[np.float32], rows: NDArray[np.int64], effort: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """As in `Index`, over centred vectors; none where the directions come from the gallery.

        The buckets that are read depend on the query's own projections, so these are given and only the row's are
        random: normal, with what the angle between the two makes them share.
        """
        if self.rotation is Rotation.PCA:
            return None
        frame, store = self._parts[0], self._parts[3]
        place = np.empty(len(store.rows), np.int64)
        place[store.rows] = np.arange(len(store.rows))
        similarity, chance = np.empty(rows.shape), np.empty(rows.shape)
        for i, query in enumerate(queries):
            probes, projections = self._probed(query, effort)
            q = bring(query[None], frame, True)[0].astype(np.float64)
            x = bring(store.vectors[place[rows[i]]], frame, False).astype(np.float64)
            pair = normal_rows(q, x)
            similarity[i] = self._similarity(pair)
            missed = np.ones(rows.shape[1])
            for table in range(self.tables):
                missed *= 1 - self._chances(table, projections.astype(np.float64), pair, probes)
            chance[i] = 1 - missed
        return similarity, chance

    def _similarity(self, rows: NormalRows) -> NDArray[np.float64]:
        return rows.cosine

    def _probed(self, query: NDArray[np.float32], effort: int | None) -> tuple[Probes, NDArray[np.float32]]:
        query = np.require(query, np.float32, ["C", "W"])
        return self._kernels[1](self._handle, query, self._bounded(effort))  # type: ignore[no-any-return]

    def _bounded(self, effort: int | None) -> int:
        """Probes of a table: many times its buckets, or a million, at most, since lists of probes take memory."""
        return 1 if effort is None else min(effort, PROBES_A_SLOT * self._parts[2].keys.shape[1], MOST_PROBES)

    def save(self, path: Path) -> None:
        """Write `lsh.npz` and `lsh.json` into the folder."""
        arrays: dict[str, Any] = {}
        numbers: dict[str, Any] = {}
        for i, part in enumerate(self._parts):
            for j, value in enumerate(part):
                into = arrays if isinstance(value, np.ndarray) else numbers
                into[f"{i}.{j}"] = value
        np.savez(path / ARRAYS, allow_pickle=False, **arrays)
        (path / META).write_text(json.dumps(numbers), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Read what `save` wrote.

        Raises:
            CorruptInput: the folder does not hold what `save` wrote.
        """
        try:
            values = json.loads((path / META).read_text(encoding="utf-8"))
            with np.load(path / ARRAYS, allow_pickle=False) as arrays:
                values |= {name: arrays[name] for name in arrays.files}
            kinds: tuple[Any, ...] = (Frame, self._functions, Tables, Store)
            parts = [kind(*(values[f"{i}.{j}"] for j in range(len(kind._fields)))) for i, kind in enumerate(kinds)]
        except (OSError, ValueError, KeyError) as error:
            raise CorruptInput(f"{path} holds no saved LSH index; delete the folder and run again") from error
        self._adopt(tuple(parts))

    def close(self) -> None:
        """Free the index."""
        self._parts, self._handle = (), None

    def set_threads(self, threads: int) -> None:
        """Threads of a batch search."""
        self._threads = threads
