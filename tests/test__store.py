"""The files of one measured index."""

from pathlib import Path

import numpy as np
import pytest

from retrieval_bench._messages import Served
from retrieval_bench._store import Clients, Point, Store
from retrieval_bench.errors import CorruptInput
from retrieval_bench.search.exact import Exact
from retrieval_bench.search.hnsw import HNSW
from retrieval_bench.types import SearchResult, Similarity

POINT, CLIENTS = Point(16, 2), Clients(2, 0.25)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two queries of a gallery of three, one pass."""
    store, queries = Store(tmp_path / "index"), np.array([7, 8])
    store.write_build({"build_s": 1.5})
    store.write_ids(np.array([3, 1, 2]))
    found = SearchResult(np.array([[3, 1], [2, -1]]), np.array([[0.5, 0.25], [0.75, -np.inf]], np.float32))
    store.write_found(POINT, queries, found, {"batch_s": 0.5})
    store.write_times(POINT, 1, queries[::-1], np.array([20, 10]))
    store.write_round(POINT, CLIENTS, 1, Served(np.array([5, 6, 7]), np.array([0, 0, 1]), 0.25))
    store.write_collided(POINT, {"candidate": np.array([True, False])})
    return store


def read_all(store: Store) -> None:
    store.build()
    store.ids()
    store.found(POINT)
    store.times(POINT, [1])
    store.read_rounds(POINT, CLIENTS, [1])
    store.collided(POINT)


def test_what_was_written_is_read(store: Store) -> None:
    assert store.build() == {"build_s": 1.5}
    assert store.ids().tolist() == [3, 1, 2]
    found, batch = store.found(POINT)
    assert (found.ids.tolist(), batch) == ([[3, 1], [2, -1]], {"batch_s": 0.5})
    ids, ns = store.times(POINT, [1])
    assert (ids.tolist(), ns.tolist()) == ([7, 8], [[10, 20]]), "in the order of the ids"
    (served,) = store.read_rounds(POINT, CLIENTS, [1])
    assert (served.nanoseconds.tolist(), served.client.tolist(), served.seconds) == ([5, 6, 7], [0, 0, 1], 0.25)
    assert store.collided(POINT).to_pydict() == {"candidate": [True, False]}
    assert Store(store.folder / "none").build() is None
    assert store.whole_rounds(POINT, 1) == CLIENTS
    assert store.whole_rounds(POINT, 2) is None, "the second is missing"


@pytest.mark.parametrize(
    "name",
    [
        "build.json",
        "ids.npy",
        "neighbours-e16-k2.parquet",
        "batch-e16-k2.json",
        "times-e16-k2-p1.parquet",
        "clients-e16-k2-c2-0.25s-p1.parquet",
        "collisions-e16.parquet",
    ],
)
@pytest.mark.parametrize("half", [0.0, 0.5])
def test_a_damaged_file_is_named_with_the_remedy(store: Store, name: str, half: float) -> None:
    file = store.folder / name
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * half)])
    with pytest.raises(CorruptInput, match=f"a file in {store.folder} is damaged .*remove that folder"):
        read_all(store)


@pytest.mark.parametrize("make", [Exact, HNSW])
def test_a_damaged_index_is_named_with_the_remedy(store: Store, make: type[Exact | HNSW]) -> None:
    store.index.mkdir()
    index = make()
    index.build(np.eye(4, dtype=np.float32), Similarity.DOT, 0)
    index.save(store.index)
    store.load_into(make())
    for file in store.index.iterdir():
        file.write_bytes(b"x")
    with pytest.raises(CorruptInput, match=f"a file in {store.folder} is damaged"):
        store.load_into(make())
