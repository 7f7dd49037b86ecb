"""Files of vectors: ids, held-out queries, labels, ann-benchmarks files, and what does not fit together."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from retrieval_bench.data.vectors import FIRST_QUERY, FIRST_TRAIN, Vectors
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound

RNG = np.random.default_rng(0)
GALLERY = RNG.integers(0, 200, (20, 4)).astype(np.uint8)
QUERIES = RNG.integers(0, 200, (3, 4)).astype(np.uint8)
NEAREST = np.argsort(((QUERIES[:, None].astype(float) - GALLERY) ** 2).sum(2), axis=1)[:, :5].astype(np.int32)


@pytest.fixture
def root(tmp_path: Path) -> str:
    np.save(tmp_path / "g.npy", GALLERY)
    np.save(tmp_path / "q.npy", QUERIES)
    np.save(tmp_path / "n.npy", NEAREST)
    np.save(tmp_path / "wide.npy", np.zeros((3, 5), np.uint8))
    (tmp_path / "g.txt").write_text("\n".join("abcde"[i % 5] for i in range(20)) + "\n")
    (tmp_path / "q.txt").write_text("a\nz\ne\n")
    return str(tmp_path)


def test_queries_gallery_and_neighbours(root: str) -> None:
    data = Vectors("g.npy", "q.npy", neighbours="n.npy", root=root)
    gallery, queries = data.gallery(), data.queries()
    np.testing.assert_array_equal(gallery.vectors, GALLERY)
    np.testing.assert_array_equal(queries.vectors, QUERIES)
    assert isinstance(gallery.vectors, np.memmap)
    assert gallery.vectors.dtype == np.uint8
    assert gallery.ids.tolist() == list(range(20))
    assert queries.ids.tolist() == [FIRST_QUERY, FIRST_QUERY + 1, FIRST_QUERY + 2]
    assert data.gallery() is gallery
    assert data.train() is gallery
    assert data.truth() is None
    neighbours = data.neighbours()
    assert neighbours is not None
    assert neighbours.dtype == np.int64
    np.testing.assert_array_equal(neighbours, NEAREST)
    assert data.protocol["sizes"] == {"query": 3, "gallery": 20}
    assert data.protocol["files"] == {"gallery": "g.npy", "queries": "q.npy", "neighbours": "n.npy"}


def test_without_queries_each_is_searched_among_the_others(root: str) -> None:
    data = Vectors("g.npy", root=root)
    assert data.queries() is data.gallery()
    assert data.neighbours() is None
    assert data.protocol["split"] == "one set"
    assert "itself ignored by id" in data.protocol["self"]


def test_held_out_queries_leave_the_gallery_and_keep_their_ids(root: str) -> None:
    data = Vectors("g.npy", n_queries=6, labels="g.txt", root=root)
    gallery, queries = data.gallery(), data.queries()
    assert sorted([*gallery.ids.tolist(), *queries.ids.tolist()]) == list(range(20))
    assert len(queries) == 6
    for part in (gallery, queries):
        np.testing.assert_array_equal(part.vectors, GALLERY[part.ids])
        assert part.labels is not None
        assert part.labels.tolist() == (part.ids % 5).tolist()
    assert Vectors("g.npy", n_queries=6, root=root).queries().ids.tolist() == queries.ids.tolist()
    assert Vectors("g.npy", n_queries=6, seed=1, root=root).queries().ids.tolist() != queries.ids.tolist()
    assert len({gallery.fingerprint, queries.fingerprint, Vectors("g.npy", root=root).gallery().fingerprint}) == 3


def test_train_file(root: str) -> None:
    data = Vectors("g.npy", train="q.npy", root=root)
    np.testing.assert_array_equal(data.train().vectors, QUERIES)
    assert data.train().ids[0] == FIRST_TRAIN


def test_labels_of_both_files_share_one_name_space(root: str) -> None:
    truth = Vectors("g.npy", "q.npy", labels="g.txt", query_labels="q.txt", root=root).truth()
    assert truth is not None
    assert truth.query_labels is not None
    assert truth.gallery_labels is not None
    relevant = [np.flatnonzero(truth.gallery_labels == label).tolist() for label in truth.query_labels]
    assert relevant == [[0, 5, 10, 15], [], [4, 9, 14, 19]]


def test_one_byte_changes_the_fingerprint(root: str) -> None:
    before = Vectors("g.npy", root=root).gallery().fingerprint
    labelled = Vectors("g.npy", labels="g.txt", root=root).gallery().fingerprint
    assert Vectors("g.npy", root=root).gallery().fingerprint == before != labelled
    changed = GALLERY.copy()
    changed[19, 3] ^= 1
    np.save(Path(root) / "g.npy", changed)
    assert Vectors("g.npy", root=root).gallery().fingerprint != before


@pytest.fixture
def ann_file(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "set.hdf5", "w") as file:
        file["train"], file["test"] = GALLERY.astype(np.float32), QUERIES.astype(np.float32)
        file["neighbors"], file["distances"] = NEAREST, np.zeros(NEAREST.shape, np.float32)
        file.attrs["distance"] = "euclidean"
    return tmp_path / "set.hdf5"


def test_ann_benchmarks_file_brings_everything(ann_file: Path) -> None:
    data = Vectors(str(ann_file))
    np.testing.assert_array_equal(data.gallery().vectors, GALLERY)
    np.testing.assert_array_equal(data.queries().vectors, QUERIES)
    np.testing.assert_array_equal(data.neighbours(), NEAREST)
    assert data.protocol["stored_similarity"] == "euclidean"
    assert data.protocol["files"]["neighbours"] == "set.hdf5:neighbors"
    assert data.gallery().fingerprint != data.queries().fingerprint


def test_ann_benchmarks_file_with_parts_of_ones_own(ann_file: Path, root: str) -> None:
    alone = Vectors(f"{ann_file}:train")
    assert alone.queries() is alone.gallery()
    assert alone.neighbours() is None
    mixed = Vectors(str(ann_file), "q.npy", root=root)
    assert mixed.neighbours() is None  # those of the file belong to other queries
    assert mixed.protocol["stored_similarity"] is None


@pytest.mark.parametrize(("word", "similarity"), [("angular", "cosine"), ("dot", "dot"), (b"euclidean", "euclidean")])
def test_distance_names(ann_file: Path, word: str | bytes, similarity: str) -> None:
    with h5py.File(ann_file, "a") as file:
        file.attrs["distance"] = word
    assert Vectors(str(ann_file)).protocol["stored_similarity"] == similarity


def test_sets_are_no_vectors(ann_file: Path) -> None:
    with h5py.File(ann_file, "a") as file:
        file.attrs["distance"] = "jaccard"
    with pytest.raises(CorruptInput, match="its distance is jaccard; allowed: euclidean, angular"):
        Vectors(str(ann_file))


def test_arrays_of_one_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", gallery=GALLERY, queries=QUERIES)
    data = Vectors("all.npz:gallery", "all.npz:queries", root=str(tmp_path))
    np.testing.assert_array_equal(data.gallery().vectors, GALLERY)
    np.testing.assert_array_equal(data.queries().vectors, QUERIES)


def test_relative_files_count_from_the_current_directory(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert len(Vectors("g.npy").gallery()) == 20
    with pytest.raises(DataNotFound, match=r"data\.root=nowhere is not a folder"):
        Vectors("g.npy", root="nowhere")
    with pytest.raises(DataNotFound, match=r"data\.gallery is not set; type data\.gallery=FILE \(\.npy"):
        Vectors()
    with pytest.raises(DataNotFound, match=r"none\.npy is not a file"):
        Vectors("none.npy")


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"queries": "wide.npy"}, CorruptInput, r"different numbers of columns: .*\(gallery\) 4, .*\(queries\) 5"),
        ({"neighbours": "n.npy"}, CorruptInput, r"int32 \[3, 5\]; whole numbers \[20, m\]"),
        ({"queries": "q.npy", "neighbours": "q.npy"}, CorruptInput, "the gallery has rows 0 … 19"),
        ({"labels": "q.txt"}, CorruptInput, r"q\.txt has 3 labels for the 20 vectors of .*g\.npy"),
        (
            {"queries": "q.npy", "labels": "g.txt"},
            BadConfig,
            r"only data\.labels is given; .* each of gallery, queries, or for none: data\.labels=FILE data\.q",
        ),
        (
            {"query_labels": "q.txt"},
            BadConfig,
            "only data.query_labels is given; give labels for each of gallery, or for none: data.labels=FILE",
        ),
        ({"queries": "q.npy", "n_queries": 2}, BadConfig, r"type data\.queries=null"),
        ({"n_queries": 20}, BadConfig, "type a whole number from 1 to 19, or null: every vector is searched for"),
        ({"n_queries": "abc"}, BadConfig, "data.n_queries=abc: type a whole number from 1 to 19, or null"),
        ({"n_queries": 1.5}, BadConfig, "type a whole number"),
        ({"n_queries": 3, "seed": -1}, BadConfig, "data.seed=-1: type a whole number from 0"),
        ({"queries": True}, BadConfig, "data.queries=True is not a path"),
        ({"labels": 5}, DataNotFound, "5 is not a file; type the path of the labels"),
        ({"n_queries": 0}, BadConfig, "type a whole number from 1 to 19, or null: every vector is searched for"),
    ],
)
def test_what_does_not_fit(root: str, files: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Vectors("g.npy", root=root, **files)


def test_all_files_that_cannot_be_read_are_told_at_once(root: str) -> None:
    (Path(root) / "zero.npy").touch()
    with pytest.raises(CorruptInput) as caught:
        Vectors("none.npy", "zero.npy", neighbours="n.npy", labels="x.txt", root=root)
    assert str(caught.value).splitlines() == [
        "3 things are wrong:",
        f"  - {root}/none.npy is not a file; type its path, relative to data.root or absolute",
        f"  - {root}/zero.npy: the file is empty (0 bytes); copy or download it again",
        f"  - {root}/x.txt is not a file; type the path of the labels, relative to data.root or absolute",
    ]


def test_all_files_that_do_not_fit_are_told_at_once(root: str) -> None:
    with pytest.raises(CorruptInput, match=r"^4 things are wrong:(\n  - .*){4}$") as caught:
        Vectors("g.npy", "wide.npy", neighbours="g.npy", labels="q.txt", query_labels="g.txt", root=root)
    text = str(caught.value)
    assert all(said in text for said in ("numbers of columns", "q.txt has 3 labels", "g.txt has 20 labels", "uint8"))


def test_labels_in_the_vectors_own_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", x=GALLERY, labels=np.arange(20) % 5)
    labels = Vectors("all.npz:x", labels="all.npz:labels", root=str(tmp_path)).gallery().labels
    assert labels is not None
    assert labels.tolist() == [i % 5 for i in range(20)]
    with pytest.raises(CorruptInput, match=r"is not said; it has x, labels: type FILE:x"):
        Vectors("all.npz", root=str(tmp_path))


def test_hdf5_without_the_expected_names(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["deep/vectors"], file["base"] = GALLERY, QUERIES
        file["gone"] = h5py.SoftLink("/nowhere")
    with pytest.raises(CorruptInput, match=r"is not said; it has base, deep/vectors: type FILE:base"):
        Vectors("odd.h5", root=str(tmp_path))
    with pytest.raises(CorruptInput, match="it has no array train; it has base, deep/vectors"):
        Vectors("odd.h5:train", root=str(tmp_path))
    data = Vectors("odd.h5:deep/vectors", "odd.h5:base", root=str(tmp_path))
    np.testing.assert_array_equal(data.gallery().vectors, GALLERY)


def test_roots_and_names_of_digits(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(root) / "2024"
    folder.mkdir()
    np.save(folder / "7", GALLERY)
    (folder / "7.npy").rename(folder / "7.NPY")
    monkeypatch.chdir(root)
    assert len(Vectors("7.NPY", root=2024).gallery()) == 20  # type: ignore[arg-type]  # as Hydra hands it over
    with pytest.raises(DataNotFound, match=r"data\.gallery is not set"):
        Vectors("")


@pytest.mark.data
def test_real_sift() -> None:
    folder = str(Path(os.environ["RETRIEVAL_BENCH_DATA"]) / "vectors")
    data = Vectors(
        "sift128_caltech101_base100k_u8.npy",
        "sift128_caltech101_query1k_u8.npy",
        neighbours="sift128_caltech101_gt100_i32.npy",
        root=folder,
    )
    gallery, queries, neighbours = data.gallery(), data.queries(), data.neighbours()
    assert gallery.vectors.shape == (100_000, 128)
    assert queries.vectors.shape == (1_000, 128)
    assert gallery.vectors.dtype == queries.vectors.dtype == np.uint8
    assert isinstance(gallery.vectors, np.memmap)
    assert neighbours is not None
    query, near = queries.vectors[7].astype(float), neighbours[7]
    distances = np.sqrt(((gallery.vectors.astype(np.float32) - query) ** 2).sum(1))
    np.testing.assert_allclose(distances[near], np.sort(distances)[:100])


@pytest.mark.data
def test_real_glove() -> None:
    folder = str(Path(os.environ["RETRIEVAL_BENCH_DATA"]) / "vectors")
    data = Vectors("glove6b_100d_top50k_f16.npy", n_queries=1_000, root=folder)
    assert data.gallery().vectors.shape == (49_000, 100)
    assert data.queries().vectors.dtype == np.float16
