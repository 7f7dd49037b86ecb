"""Readers of vector files. Every reader gives the native dtype, memory-mapped wherever the format allows it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data._checks import shorten
from retrieval_bench.errors import CorruptInput, DataNotFound

Matrix = NDArray[np.generic]
ALLOWED = frozenset(("float16", "float32", "float64", "int8", "uint8"))
# TEXMEX (SIFT1M): every row opens with its length as int32. Jégou et al. 2011.
ROWS_WITH_LENGTH: dict[str, np.dtype[Any]] = {
    ".fvecs": np.dtype("<f4"),
    ".bvecs": np.dtype("u1"),
    ".ivecs": np.dtype("<i4"),
}
# Big-ANN benchmarks: uint32 rows, uint32 columns, then the values. Simhadri et al. 2022.
ONE_HEADER: dict[str, np.dtype[Any]] = {
    ".fbin": np.dtype("<f4"),
    ".u8bin": np.dtype("u1"),
    ".i8bin": np.dtype("i1"),
    ".ibin": np.dtype("<i4"),
}
HDF5 = frozenset((".hdf5", ".h5"))
WITH_KEYS = HDF5 | {".npz"}
WITH_ARRAYS = WITH_KEYS | {".npy"}
SUFFIXES = (".npy", ".npz", *ROWS_WITH_LENGTH, *ONE_HEADER, *HDF5)


def read_matrix(path: Path, key: str | None = None) -> Matrix:
    """A file's matrix [n, columns] in its own dtype.

    Args:
        path: .npy, .npz, .fvecs, .bvecs, .ivecs, .fbin, .u8bin, .i8bin, .ibin, .hdf5 or .h5.
        key: array of an .npz or HDF5 file; may be none where there is one array only.

    Raises:
        DataNotFound: no such file.
        CorruptInput: wrong length, pickled objects, not two-dimensional, no rows, an unknown suffix or key.
    """
    matrix = _read(path, key)
    if matrix.ndim != 2 or not matrix.size:
        raise CorruptInput(
            f"{path}: the array is {list(matrix.shape)}; a matrix [rows, columns] that is not empty is needed"
        )
    return matrix


def _read(path: Path, key: str | None) -> Matrix:
    """An array of any shape."""
    if not path.is_file():
        raise DataNotFound(f"{path} is not a file; type its path, relative to data.root or absolute")
    if not path.stat().st_size:
        raise CorruptInput(f"{path}: the file is empty (0 bytes); copy or download it again")
    suffix = path.suffix.lower()
    readers: dict[str, Callable[[], Matrix]] = {
        ".npy": lambda: _read_npy(path),
        ".npz": lambda: _read_npz(path, key),
        **dict.fromkeys(ROWS_WITH_LENGTH, lambda: _read_rows_with_length(path, ROWS_WITH_LENGTH[suffix])),
        **dict.fromkeys(ONE_HEADER, lambda: _read_one_header(path, ONE_HEADER[suffix])),
        **dict.fromkeys(HDF5, lambda: _read_hdf5(path, key)),
    }
    if suffix not in readers:
        raise CorruptInput(
            f"{path}: vectors of the kind {suffix or 'without a suffix'}; allowed: {', '.join(SUFFIXES)}"
        )
    return readers[suffix]()


def read_vectors(path: Path, key: str | None = None) -> Matrix:
    """`read_matrix`, refusing dtypes that are not vectors' (float16/32/64, int8, uint8); in native byte order."""
    matrix = read_matrix(path, key)
    if matrix.dtype.name not in ALLOWED:
        raise CorruptInput(f"{path}: dtype {matrix.dtype}; allowed: {', '.join(sorted(ALLOWED))}")
    return matrix if matrix.dtype.isnative else matrix.astype(matrix.dtype.newbyteorder("="))


def read_labels(path: Path, key: str | None = None) -> list[str]:
    """One label a row, as text: an array [n] of whole numbers or strings, or a text file with a label on each line.

    Raises:
        DataNotFound: no such file. CorruptInput: of another kind, not UTF-8, or with blank labels (counted).
    """
    if path.suffix.lower() in WITH_ARRAYS:
        values = _read(path, key)
        if values.ndim != 1 or values.dtype.kind not in "iuU":
            raise CorruptInput(
                f"{path}: labels are whole numbers or strings [n], not {values.dtype} {list(values.shape)}"
            )
        texts = [str(value) for value in values.tolist()]
    else:
        texts = _read_lines(path)
    blank = [row + 1 for row, text in enumerate(texts) if not text]
    if blank:
        raise CorruptInput(f"{path}: {len(blank)} labels are blank: rows {shorten(blank)}; write one for each row")
    return texts


def _read_lines(path: Path) -> list[str]:
    if not path.is_file():
        raise DataNotFound(f"{path} is not a file; type the path of the labels, relative to data.root or absolute")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorruptInput(f"{path}: not UTF-8 text with one label on each line: {error}; save it as UTF-8") from error
    return [line.strip() for line in text.removesuffix("\n").split("\n")]


def hdf5_keys(path: Path) -> tuple[list[str], dict[str, str]]:
    """Names of a file's arrays (`GROUP/NAME` where they lie in groups), and its text attributes (`distance`)."""
    import h5py

    names: list[str] = []
    with _open_hdf5(path) as file:
        file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
        attributes = {name: str(value) for name, value in file.attrs.items() if isinstance(value, str | bytes)}
    return names, attributes


def _read_npy(path: Path) -> Matrix:
    try:
        array: Matrix = np.lib.format.open_memmap(path, mode="r")
        return array
    except (ValueError, EOFError, OSError) as error:
        raise CorruptInput(f"{path}: {_reason(path, error)}") from error


def _reason(path: Path, error: Exception) -> str:
    """What numpy's refusal means for the user."""
    with path.open("rb") as file:
        try:
            shape, _, dtype = _npy_header(file)
        except ValueError:
            return f"not a .npy file ({error}); pickles are refused, for they can run code: save with numpy.save"
        if dtype.hasobject:
            return "holds pickled objects, which are refused, for they can run code; save a numeric array"
        expected, given = file.tell() + int(np.prod(shape)) * dtype.itemsize, path.stat().st_size
    if expected == given:
        return str(error)
    return f"{expected} bytes are expected for {dtype} {list(shape)}, {given} are there; copy or download it again"


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether column by column, and dtype; the values follow. ValueError: no .npy file."""
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _read_npz(path: Path, key: str | None) -> Matrix:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            member = archive.getinfo(f"{_pick(path, names, key)}.npy")
        if member.compress_type == zipfile.ZIP_STORED:
            return _map_member(path, member)
        with np.load(path, allow_pickle=False) as arrays:
            array: Matrix = arrays[member.filename.removesuffix(".npy")]
            return array
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, KeyError) as error:
        hint = "; pickled objects are refused, for they can run code" if "ickle" in str(error) else ""
        raise CorruptInput(f"{path}: {error}{hint}") from error


def _map_member(path: Path, member: zipfile.ZipInfo) -> Matrix:
    """An uncompressed array of an .npz, mapped where it lies in the file."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)  # of the local header: lengths of the name and of the extra field
        name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
        file.seek(member.header_offset + 30 + name + extra)
        shape, fortran, dtype = _npy_header(file)
        if dtype.hasobject:
            raise ValueError(f"array {member.filename} holds pickled objects")
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _read_rows_with_length(path: Path, dtype: np.dtype[Any]) -> Matrix:
    size = path.stat().st_size
    if size < 4:
        raise CorruptInput(f"{path}: {size} bytes; at least the 4 bytes of the first row's length are expected")
    dim = int(np.fromfile(path, "<i4", 1)[0])
    width = 4 + dim * dtype.itemsize
    if dim >= 1 and width <= size:
        _check_lengths(path, np.dtype([("length", "<i4"), ("values", dtype, (dim,))]), size // width)
    if dim < 1 or size % width:
        near = f"{size // width * width} or {(size // width + 1) * width}" if dim >= 1 else "another number of"
        raise CorruptInput(
            f"{path}: row 0 says {dim} columns, so {width} bytes a row; {near} bytes are expected, {size} are there"
        )
    rows = np.memmap(path, np.dtype([("length", "<i4"), ("values", dtype, (dim,))]), "r")
    values: Matrix = rows["values"]
    return values


def _check_lengths(path: Path, row: np.dtype[Any], n: int) -> None:
    """All whole rows must tell the length of the first one."""
    lengths = np.memmap(path, row, "r", shape=(n,))["length"]
    wrong = np.flatnonzero(lengths != lengths[0])
    if len(wrong):
        raise CorruptInput(
            f"{path}: row {wrong[0]} says {lengths[wrong[0]]} columns, row 0 says {lengths[0]}; all must have as many,"
            " or the file is damaged"
        )


def _read_one_header(path: Path, dtype: np.dtype[Any]) -> Matrix:
    size = path.stat().st_size
    if size < 8:
        raise CorruptInput(f"{path}: {size} bytes; at least the 8 bytes of the header are expected")
    n, dim = (int(value) for value in np.fromfile(path, "<u4", 2))
    expected = 8 + n * dim * dtype.itemsize
    # A ground-truth file of Big-ANN holds n × dim ids, then as many float32 distances.
    both = dtype.kind == "i" and dtype.itemsize == 4 and size == expected + n * dim * 4
    if size != expected and not both:
        raise CorruptInput(f"{path}: its header says {n} × {dim}, so {expected} bytes are expected; {size} are there")
    if not n * dim:
        raise CorruptInput(f"{path}: its header says {n} × {dim}: no vectors")
    return np.memmap(path, dtype, "r", 8, (n, dim))


def _open_hdf5(path: Path) -> Any:
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise CorruptInput(f"{path}: not an HDF5 file, or cut short: {error}; download it again") from error


def _read_hdf5(path: Path, key: str | None) -> Matrix:
    names, _ = hdf5_keys(path)
    with _open_hdf5(path) as file:
        dataset = file[_pick(path, names, key)]
        offset = dataset.id.get_offset()
        if offset is None:  # chunked or compressed
            array: Matrix = dataset[:]
            return array
        return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)


def _pick(path: Path, names: list[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key is None or key not in names:
        given = "which of its arrays is meant is not said" if key is None else f"it has no array {key}"
        raise CorruptInput(
            f"{path}: {given}; it has {', '.join(names) or 'none'}: type FILE:{names[0] if names else 'NAME'}"
        )
    return key
