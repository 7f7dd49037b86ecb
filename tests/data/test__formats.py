"""Files written by hand, byte by byte, and what is read from them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from retrieval_bench.data._formats import hdf5_keys, read_labels, read_matrix, read_vectors
from retrieval_bench.errors import CorruptInput, DataNotFound

VALUES = np.arange(15).reshape(5, 3)


def rows_with_length(path: Path, dtype: str) -> None:
    lengths = np.full((5, 1), 3, "<i4").view(np.uint8)
    path.write_bytes(np.hstack([lengths, VALUES.astype(dtype).view(np.uint8)]).tobytes())


def one_header(path: Path, dtype: str) -> None:
    path.write_bytes(np.array([5, 3], "<u4").tobytes() + VALUES.astype(dtype).tobytes())


def hdf5(path: Path, dtype: str) -> None:
    with h5py.File(path, "w") as file:
        file["only"] = VALUES.astype(dtype)


FORMATS: dict[str, tuple[Callable[[Path, str], None], str]] = {
    "a.npy": (lambda path, dtype: np.save(path, VALUES.astype(dtype)), "float16"),
    "b.npz": (lambda path, dtype: np.savez(path, only=VALUES.astype(dtype)), "int8"),
    "c.fvecs": (rows_with_length, "float32"),
    "d.bvecs": (rows_with_length, "uint8"),
    "e.ivecs": (rows_with_length, "int32"),
    "f.fbin": (one_header, "float32"),
    "g.u8bin": (one_header, "uint8"),
    "h.i8bin": (one_header, "int8"),
    "i.ibin": (one_header, "int32"),
    "j.hdf5": (hdf5, "float32"),
    "k.h5": (hdf5, "float64"),
    "L.FVECS": (rows_with_length, "float32"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_values_in_their_own_dtype_from_a_memory_map(tmp_path: Path, name: str) -> None:
    write, dtype = FORMATS[name]
    write(tmp_path / name, dtype)
    matrix = read_matrix(tmp_path / name)
    assert isinstance(matrix, np.memmap)
    assert matrix.dtype == dtype
    np.testing.assert_array_equal(matrix, VALUES)
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1


def test_fortran_order_and_compressed_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", only=np.asfortranarray(VALUES))
    np.savez_compressed(tmp_path / "c.npz", only=VALUES)
    np.testing.assert_array_equal(read_matrix(tmp_path / "f.npz"), VALUES)
    np.testing.assert_array_equal(read_matrix(tmp_path / "c.npz"), VALUES)


def test_chunked_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("only", data=VALUES, chunks=(2, 3), compression="gzip")
    np.testing.assert_array_equal(read_matrix(tmp_path / "a.h5"), VALUES)


def test_keys(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=VALUES, two=VALUES + 1)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["one"], file["two"] = VALUES, VALUES + 1
        file.attrs["distance"] = "angular"
    for name in ("a.npz", "a.hdf5"):
        np.testing.assert_array_equal(read_matrix(tmp_path / name, "two"), VALUES + 1)
        with pytest.raises(CorruptInput, match="is not said; it has one, two: type FILE:one"):
            read_matrix(tmp_path / name)
        with pytest.raises(CorruptInput, match="no array three; it has one, two"):
            read_matrix(tmp_path / name, "three")
    assert hdf5_keys(tmp_path / "a.hdf5") == (["one", "two"], {"distance": "angular"})


def test_ground_truth_file_with_distances(tmp_path: Path) -> None:
    one_header(tmp_path / "gt.ibin", "int32")
    with (tmp_path / "gt.ibin").open("ab") as file:
        file.write(np.zeros((5, 3), "<f4").tobytes())
    np.testing.assert_array_equal(read_matrix(tmp_path / "gt.ibin"), VALUES)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("c.fvecs", -1, "3 columns, so 16 bytes a row; 64 or 80 bytes are expected, 79 are there"),
        ("d.bvecs", 2, "3 columns, so 7 bytes a row; 35 or 42 bytes are expected, 37 are there"),
        ("f.fbin", -4, "5 × 3, so 68 bytes are expected; 64 are there"),
        ("g.u8bin", 1, "5 × 3, so 23 bytes are expected; 24 are there"),
        ("a.npy", -2, "158 bytes are expected for float16 [5, 3], 156 are there"),
    ],
)
def test_wrong_length_says_expected_and_given_bytes(tmp_path: Path, name: str, change: int, message: str) -> None:
    write, dtype = FORMATS[name]
    write(tmp_path / name, dtype)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:change] if change < 0 else data + b"\0" * change)
    with pytest.raises(CorruptInput) as caught:
        read_matrix(tmp_path / name)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_empty_and_foreign_files(tmp_path: Path, name: str) -> None:
    for content in (b"", b"\x01\x02", b"<html>no such file</html>" * 9):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CorruptInput, match=name):
            read_matrix(tmp_path / name)


@pytest.mark.parametrize("name", FORMATS)
def test_cut_short(tmp_path: Path, name: str) -> None:
    write, dtype = FORMATS[name]
    write(tmp_path / name, dtype)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) - 5])
    with pytest.raises(CorruptInput, match=name):
        read_matrix(tmp_path / name)


def test_rows_of_different_lengths(tmp_path: Path) -> None:
    rows_with_length(tmp_path / "a.fvecs", "float32")
    data = bytearray((tmp_path / "a.fvecs").read_bytes())
    data[32:36] = (4).to_bytes(4, "little")
    (tmp_path / "a.fvecs").write_bytes(data)
    with pytest.raises(CorruptInput, match="row 2 says 4 columns, row 0 says 3"):
        read_matrix(tmp_path / "a.fvecs")


class Attack:
    """Would make a folder if it were unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize("kind", ["object array", "bare pickle", "npz", "compressed npz"])
def test_pickles_are_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    ran = tmp_path / "ran"
    attack = np.array([Attack(ran)], dtype=object)
    path = tmp_path / ("a.npz" if "npz" in kind else "a.npy")
    if kind == "object array":
        np.save(path, attack, allow_pickle=True)
    elif kind == "bare pickle":
        path.write_bytes(pickle.dumps(Attack(ran)))
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(path, only=attack)
    with pytest.raises(CorruptInput, match=r"pickle.* refused.* can run code"):
        read_matrix(path)
    with pytest.raises(CorruptInput):
        read_labels(path)
    assert not ran.exists()


def test_not_a_matrix(tmp_path: Path) -> None:
    for array, said in ((np.arange(4.0), r"\[4\]"), (np.zeros((2, 2, 2)), r"\[2, 2, 2\]")):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(CorruptInput, match=said):
            read_matrix(tmp_path / "a.npy")
    np.savez_compressed(tmp_path / "a.npz", only=np.zeros((0, 3)))
    with pytest.raises(CorruptInput, match=r"\[0, 3\]; a matrix"):
        read_matrix(tmp_path / "a.npz")


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64", "<U3"])
def test_dtypes_that_are_no_vectors(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", VALUES.astype(dtype))
    with pytest.raises(CorruptInput, match="allowed: float16, float32, float64, int8, uint8"):
        read_vectors(tmp_path / "a.npy")


def test_unknown_suffix_and_missing_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 2 3")
    with pytest.raises(CorruptInput, match=r"of the kind \.txt; allowed: \.npy, \.npz, \.fvecs"):
        read_matrix(tmp_path / "a.txt")
    with pytest.raises(DataNotFound, match=r"b\.npy is not a file"):
        read_matrix(tmp_path / "b.npy")


def test_labels(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("cat\ndog\nü\ncat\n", encoding="utf-8")
    assert read_labels(tmp_path / "a.txt") == ["cat", "dog", "ü", "cat"]
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfcat\r\n dog\r\ncat")  # as an editor on Windows saves it
    assert read_labels(tmp_path / "a.txt") == ["cat", "dog", "cat"]
    np.save(tmp_path / "a.npy", np.array([2**24 + 1, 2**24, -1]))
    assert read_labels(tmp_path / "a.npy") == ["16777217", "16777216", "-1"]
    np.save(tmp_path / "b.npy", np.array([0.5]))
    with pytest.raises(CorruptInput, match="labels are whole numbers or strings"):
        read_labels(tmp_path / "b.npy")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(CorruptInput, match="not UTF-8 text"):
        read_labels(tmp_path / "b.txt")
    (tmp_path / "b.txt").write_text("a\n\nb\n\n")
    with pytest.raises(CorruptInput, match=r"2 labels are blank: rows 2, 4; write one for each row"):
        read_labels(tmp_path / "b.txt")
    with pytest.raises(DataNotFound, match="is not a file"):
        read_labels(tmp_path / "c.txt")


def test_rows_of_different_lengths_are_told_before_the_files_length(tmp_path: Path) -> None:
    rows = [np.r_[np.int32(n), np.ones(n, np.float32).view(np.int32)] for n in (2, 3, 2)]
    np.concatenate(rows).astype("<i4").tofile(tmp_path / "a.fvecs")
    with pytest.raises(CorruptInput, match="row 1 says 3 columns, row 0 says 2; all must have as many"):
        read_matrix(tmp_path / "a.fvecs")


def test_foreign_byte_order_is_turned(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES.astype(">f4"))
    vectors = read_vectors(tmp_path / "a.npy")
    assert vectors.dtype.isnative and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, VALUES)


@pytest.mark.parametrize("name", FORMATS)
def test_zero_bytes_are_called_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(CorruptInput, match=r"the file is empty \(0 bytes\); copy or download it again"):
        read_matrix(tmp_path / name)
