"""CIFAR-100: 60,000 photographs of 32 × 32 pixels, 600 of each of 100 classes; 80 classes to train and 20 to test."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data._checks import Problems, need_whole, shorten
from retrieval_bench.data._download import Archive, need_data
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import FileTable, Part
from retrieval_bench.data._listed import need_inside
from retrieval_bench.data.base import Arrays
from retrieval_bench.errors import CorruptInput

SIDE = 32
RECORD = 2 + 3 * SIDE * SIDE  # bytes: coarse class, fine class, then the red, green and blue plane
SIZES = {"train": 50_000, "test": 10_000}  # images in each file
COARSE, FINE, LAST_TRAIN = 20, 100, 79
FIRST_TEST = LAST_TRAIN + 1
NAMES = "fine_label_names.txt"
ARCHIVE = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    page="www.cs.toronto.edu/~kriz/cifar.html",
    size=168_513_733,
    sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    holds="cifar-100-binary",
    marker="train.bin",
)
LAYOUT = (
    "which holds cifar-100-binary/ (or what is in it: train.bin and test.bin of the binary version); or add"
    f" data.download=true to {ARCHIVE.offer}. The publisher states no licence and asks to cite Krizhevsky 2009"
)


class Cifar100(FileDataset):
    """Small photographs: classes 0–79 train, 80–99 test; each test image is searched among the others.

    Paper: Krizhevsky 2009, its fine classes, numbered in alphabetical order. Images of both official files are taken:
    the parts differ in classes, not in images of the same classes. The binary version is read, for nothing of it needs
    to be unpickled. Keys are file and place in it: `train/00000`. Size and SHA-256 of the archive are those that
    TensorFlow Datasets states.

    Args:
        root: folder that holds cifar-100-binary/, or that folder; none takes cifar100 or cifar-100-binary in the folder
            named by RETRIEVAL_BENCH_DATA.
        validation_classes: the last that many of classes 0–79 are kept for validation; 0: all are trained on.
        check_sizes: refuse a copy without 50,000 and 10,000 images in the two files, or 600 of a class.
        download: fetch the archive (169 MB) into root if the data are not there.

    Raises:
        DataNotFound: no such folder, or no binary files inside; or the download fails.
        CorruptInput: other sizes than the official ones, a file that is cut off, or class numbers that do not exist.
        BadConfig: validation_classes not in 0 … 79.
        MissingExtra: a download without the library for it.
    """

    name = "cifar100"

    def __init__(
        self,
        root: str | None = None,
        validation_classes: int = 10,
        check_sizes: bool = True,
        download: bool = False,
    ) -> None:
        need_whole("validation_classes", validation_classes, 0, LAST_TRAIN)
        folder = need_data(root, LAYOUT, ("cifar100", "cifar-100-binary"), ARCHIVE, download)
        need_inside(folder, [f"{file}.bin" for file in SIZES], LAYOUT)
        problems = Problems(folder)
        classes = {file: _classes(folder / f"{file}.bin", problems) for file in SIZES}
        problems.raise_any()
        _check(classes, check_sizes, problems)
        names = _names(folder / NAMES, problems)
        problems.raise_any()
        keys = [f"{file}/{record:05}" for file, labels in classes.items() for record in range(len(labels))]
        labels = np.concatenate(list(classes.values()))
        first = FIRST_TEST - validation_classes
        parts = [
            Part.TEST if i >= FIRST_TEST else Part.VALIDATION if i >= first else Part.TRAIN for i in labels.tolist()
        ]
        super().__init__(
            _Records(folder, keys, parts, labels, label_names=names),
            f"classes {FIRST_TEST}–{FINE - 1} test, {first}–{LAST_TRAIN} validation, rest train; both official files",
            image_size=SIDE,
        )


@dataclass(frozen=True, eq=False)
class _Records(FileTable):
    """Images that lie in two files; `paths` are file and place in it."""

    def read(self, row: int) -> Arrays:
        pixels = np.frombuffer(self._record(row), np.uint8, offset=2)
        return {"image": np.ascontiguousarray(pixels.reshape(3, SIDE, SIDE).transpose(1, 2, 0))}

    def _fingerprint(self, rows: NDArray[np.int64]) -> str:
        digest = blake2b(digest_size=16)
        for row in rows:
            try:
                content = self._record(int(row))
            except CorruptInput as error:  # the item is listed as unreadable
                content = str(error).encode()
            digest.update(self.paths[row].encode() + content)
        return digest.hexdigest()

    def _record(self, row: int) -> bytes:
        """Opened anew for each image: safe in threads, and in another process."""
        file, _, place = self.paths[row].partition("/")
        try:
            with (self.root / f"{file}.bin").open("rb") as records:
                records.seek(int(place) * RECORD)
                content = records.read(RECORD)
        except OSError as error:
            raise CorruptInput(f"{file}.bin cannot be opened: {error.strerror}") from error
        if len(content) < RECORD:
            raise CorruptInput(f"{file}.bin ends before this image")
        return content


def _classes(path: Path, problems: Problems) -> NDArray[np.int64]:
    """Fine class of each image of a file: int64 [n]."""
    content = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    if not len(content) or len(content) % RECORD:
        problems.add(
            f"{path.name} has {len(content):,} bytes; images of {RECORD:,} bytes each are needed. Get it again"
        )
        return np.empty(0, np.int64)
    coarse, fine = content.reshape(-1, RECORD)[:, :2].T
    wrong = int(((coarse >= COARSE) | (fine >= FINE)).sum())
    if wrong:
        problems.add(
            f"{wrong:,} images of {path.name} have a class that does not exist (coarse up to {coarse.max()}, fine up to"
            f" {fine.max()}; the last are {COARSE - 1} and {FINE - 1}): not the binary version of CIFAR-100"
        )
    labels: NDArray[np.int64] = fine.astype(np.int64)
    return labels


def _check(classes: dict[str, NDArray[np.int64]], check_sizes: bool, problems: Problems) -> None:
    found = {file: len(labels) for file, labels in classes.items()}
    counts = np.bincount(np.concatenate(list(classes.values())), minlength=FINE)
    odd = [f"{label} ({counts[label]})" for label in np.flatnonzero(counts != sum(SIZES.values()) // FINE)]
    if check_sizes and (found != SIZES or odd):
        problems.add(
            f"it has {found['train']:,} images in train.bin and {found['test']:,} in test.bin, and {len(odd)} classes"
            f" without 600 images{f': {shorten(odd)}' if odd else ''}; the release has {SIZES['train']:,} and"
            f" {SIZES['test']:,}, 600 of each class; get the whole set, or type data.check_sizes=false"
        )


def _names(path: Path, problems: Problems) -> dict[int, str]:
    """Names of the fine classes, if the file is there."""
    if not path.is_file():
        return {}
    names = path.read_text(encoding="utf-8", errors="replace").split()
    if len(names) != FINE:
        problems.add(f"{path.name} has {len(names)} names; {FINE} are needed. Get it again, or remove it")
    return {label: name.replace("_", " ") for label, name in enumerate(names)}
