"""The files of one measured index. Each appears whole or not at all, so whatever is there is finished."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._messages import Served
from retrieval_bench.errors import CorruptInput
from retrieval_bench.record import write_json, written_whole
from retrieval_bench.search.base import Index
from retrieval_bench.types import SearchResult

Columns = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """What is measured of a built index: one effort (none where there is no knob) at one depth."""

    effort: int | None
    k: int

    def __str__(self) -> str:
        return f"e{'none' if self.effort is None else self.effort}-k{self.k}"


@dataclass(frozen=True)
class Clients:
    """How many ask at once in a round, and for how many seconds."""

    count: int
    seconds: float

    def __str__(self) -> str:
        return f"c{self.count}-{self.seconds:g}s"


def _write_table(path: Path, columns: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with written_whole(path, "wb") as file:
        pq.write_table(pa.table(dict(columns)), file)


def _lists(values: NDArray[np.generic]) -> Any:
    """[q, k] → an arrow column of q lists."""
    import pyarrow as pa

    q, k = values.shape
    return pa.ListArray.from_arrays(pa.array(np.arange(q + 1, dtype=np.int32) * k), pa.array(values.reshape(-1)))


def _read_table(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path).combine_chunks()


@dataclass(frozen=True)
class Store:
    """Reads and writes `folder`, which belongs to one index with its build parameters and build seed.

    Whatever reads raises CorruptInput where a file is damaged.
    """

    folder: Path

    @contextmanager
    def _undamaged(self) -> Iterator[None]:
        try:
            yield
        except PermissionError:
            raise
        except (OSError, ValueError, KeyError, EOFError, RuntimeError) as error:  # faiss raises RuntimeError
            told = str(error).partition("\n")[0]
            raise CorruptInput(
                f"a file in {self.folder} is damaged ({told}); remove that folder and type the command of the run"
                " again: it measures this index anew and nothing else"
            ) from error

    @property
    def index(self) -> Path:
        """Where the finished index lies."""
        return self.folder / "index"

    def build(self) -> Columns | None:
        """What is known of the build; none if nothing was tried yet."""
        file = self.folder / "build.json"
        with self._undamaged():
            return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def write_build(self, build: Mapping[str, Any]) -> None:
        """Write `build.json`."""
        write_json(self.folder / "build.json", dict(build))

    def load_into(self, index: Index) -> None:
        """Let an index load what it saved."""
        with self._undamaged():
            index.load(self.index)

    def fresh_index(self) -> Path:
        """An empty folder to save into; `adopt_index` makes it the index."""
        part = self.folder / "index.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        return part

    def adopt_index(self, part: Path) -> None:
        """Move a saved index to its place."""
        shutil.rmtree(self.index, ignore_errors=True)
        part.rename(self.index)

    def write_ids(self, ids: NDArray[np.int64]) -> None:
        """Write the gallery id of each row of the index."""
        with written_whole(self.folder / "ids.npy", "wb") as file:
            np.save(file, ids)

    def ids(self) -> NDArray[np.int64]:
        """What `write_ids` wrote."""
        with self._undamaged():
            ids: NDArray[np.int64] = np.load(self.folder / "ids.npy", allow_pickle=False)
        return ids

    def clear(self) -> None:
        """Forget everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _found(self, point: Point) -> Path:
        return self.folder / f"neighbours-{point}.parquet"

    def _batch(self, point: Point) -> Path:
        return self.folder / f"batch-{point}.json"

    def has_found(self, point: Point) -> bool:
        """The lists and the batch time are there."""
        return self._found(point).exists() and self._batch(point).exists()

    def write_found(self, point: Point, query_ids: NDArray[np.int64], result: SearchResult, batch: Columns) -> None:
        """Write the lists of all queries, and how long the batch took."""
        import pyarrow as pa

        counted = result.candidates
        columns = {
            "query_id": query_ids,
            "ids": _lists(result.ids),
            "scores": _lists(result.scores),
            "candidates": pa.nulls(len(query_ids), pa.int64()) if counted is None else counted,
        }
        _write_table(self._found(point), columns)
        write_json(self._batch(point), batch)

    def found(self, point: Point) -> tuple[SearchResult, Columns]:
        """What `write_found` wrote, in the same order."""
        with self._undamaged():
            table = _read_table(self._found(point))
            batch = json.loads(self._batch(point).read_text(encoding="utf-8"))
        q = len(table)
        ids, scores = (
            table[name].combine_chunks().flatten().to_numpy(False).reshape(q, -1) for name in ("ids", "scores")
        )
        counted = table["candidates"]
        candidates = None if counted.null_count else counted.to_numpy()
        return SearchResult(ids, scores, candidates), batch

    def _times(self, point: Point, number: int) -> Path:
        return self.folder / f"times-{point}-p{number}.parquet"

    def passes(self, point: Point, wanted: int) -> list[int]:
        """Numbers of the finished passes, from 1."""
        return [i for i in range(1, wanted + 1) if self._times(point, i).exists()]

    def write_times(self, point: Point, number: int, query_ids: NDArray[np.int64], ns: NDArray[np.int64]) -> None:
        """Write one pass, in the order in which the queries were asked."""
        _write_table(self._times(point, number), {"query_id": query_ids, "ns": ns})

    def times(self, point: Point, numbers: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Timed query ids [m], rising, and nanoseconds [pass, m]."""
        with self._undamaged():
            tables = [_read_table(self._times(point, i)) for i in numbers]
        ids = [table["query_id"].to_numpy() for table in tables]
        orders = [np.argsort(column) for column in ids]
        ns = [table["ns"].to_numpy()[order] for table, order in zip(tables, orders, strict=True)]
        return ids[0][orders[0]], np.stack(ns)

    def _rounds(self, point: Point, clients: Clients, number: int) -> Path:
        return self.folder / f"clients-{point}-{clients}-p{number}.parquet"

    def rounds(self, point: Point, clients: Clients, wanted: int) -> list[int]:
        """Numbers of the finished rounds of these clients, from 1."""
        return [i for i in range(1, wanted + 1) if self._rounds(point, clients, i).exists()]

    def whole_rounds(self, point: Point, wanted: int) -> Clients | None:
        """Whose rounds are all there; of several the newest, none where there are none."""
        last = sorted(self.folder.glob(f"clients-{point}-*-p{wanted}.parquet"), key=lambda file: file.stat().st_mtime)
        told = (file.name.removeprefix(f"clients-{point}-c").split("s-p")[0].split("-", 1) for file in reversed(last))
        some = (Clients(int(count), float(seconds)) for count, seconds in told)
        return next((clients for clients in some if len(self.rounds(point, clients, wanted)) == wanted), None)

    def write_round(self, point: Point, clients: Clients, number: int, served: Served) -> None:
        """Write what the clients of one round measured."""
        columns = {
            "client": served.client,
            "ns": served.nanoseconds,
            "seconds": np.full(len(served.client), served.seconds),
        }
        _write_table(self._rounds(point, clients, number), columns)

    def read_rounds(self, point: Point, clients: Clients, numbers: Sequence[int]) -> list[Served]:
        """What `write_round` wrote."""
        with self._undamaged():
            tables = [_read_table(self._rounds(point, clients, i)) for i in numbers]
            return [Served(t["ns"].to_numpy(), t["client"].to_numpy(), float(t["seconds"][0].as_py())) for t in tables]

    def _collided(self, point: Point) -> Path:
        return self.folder / f"collisions-e{'none' if point.effort is None else point.effort}.parquet"

    def has_collided(self, point: Point) -> bool:
        """Pairs were asked for at this effort; where a backend has no theory, the table is empty."""
        return self._collided(point).exists()

    def write_collided(self, point: Point, columns: Columns) -> None:
        """Write pairs of a query and a gallery item: a row each."""
        _write_table(self._collided(point), columns)

    def collided(self, point: Point) -> Any:
        """What `write_collided` wrote, an arrow table."""
        with self._undamaged():
            return _read_table(self._collided(point))
