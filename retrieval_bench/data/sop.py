"""Stanford Online Products: 120,053 photographs of 22,634 products from an auction site, 2 to 12 of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retrieval_bench.data._checks import Problems, need_share
from retrieval_bench.data._download import Archive, need_data
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import FileTable, Part, check_files, check_paths, set_apart
from retrieval_bench.data._listed import (
    Row,
    check_disjoint,
    need_inside,
    read_list,
    unlisted,
    whole_numbers,
)

SIZES = (59_551, 11_318, 60_502, 11_316)  # images and classes to train on, images and classes to test
TRAIN, TEST = "Ebay_train.txt", "Ebay_test.txt"
COLUMNS = ("image_id", "class_id", "super_class_id", "path")
ARCHIVE = Archive(
    url="http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
    page="cvgl.stanford.edu/projects/lifted_struct",
    size=3_083_860_082,
    sha256="b04fa78210e69fab050ce73939550e1cd0f96890bdd98ec9fee732c3b756ef48",
    holds="Stanford_Online_Products",
    marker="Ebay_train.txt",
)
LAYOUT = (
    "which holds Stanford_Online_Products/ (or what is in it: Ebay_train.txt, Ebay_test.txt, bicycle_final/, …);"
    f" or add data.download=true to {ARCHIVE.offer}. For research: Song et al. 2016"
)


class StanfordOnlineProducts(FileDataset):
    """Products of an auction site: test products are never trained on, each test image is searched among the others.

    Paper: Song et al. 2016, with its split. Labels are the official class ids 1 … 22,634; the 12 super-classes are not
    used. Size and SHA-256 of the archive are those that TensorFlow Datasets states; it is fetched without TLS (the
    publisher offers FTP and HTTP), so that it is the SHA-256 that says whose it is.

    Args:
        root: folder that holds Stanford_Online_Products/, or that folder; none takes sop or Stanford_Online_Products in
            the folder named by RETRIEVAL_BENCH_DATA.
        validation_fraction: share of the training classes to validate on, 0 … 1.
        seed: of that choice.
        check_sizes: refuse a copy without 59,551 images of 11,318 classes and 60,502 of 11,316.
        download: fetch the archive (3.1 GB) into root if the data are not there.

    Raises:
        DataNotFound: no such folder, no list inside, or listed files are missing; or the download fails.
        CorruptInput: other sizes than the official ones, or lists that cannot be read.
        BadConfig: a share outside 0 … 1.
        MissingExtra: a download without the library for it.
    """

    name = "sop"

    def __init__(
        self,
        root: str | None = None,
        validation_fraction: float = 0.15,
        seed: int = 0,
        check_sizes: bool = True,
        download: bool = False,
    ) -> None:
        need_share("validation_fraction", validation_fraction)
        folder = need_data(root, LAYOUT, ("sop", "Stanford_Online_Products"), ARCHIVE, download)
        need_inside(folder, (TRAIN, TEST), LAYOUT)
        train, test, labels = _read(folder, check_sizes)
        rows = [*train, *test]
        paths = [row[3] for row in rows]
        self.left_out, self.hidden_files = unlisted(folder, _folders(paths), paths, f"{TRAIN} or {TEST}")
        kept = set_apart([row[1] for row in train], validation_fraction, seed)
        parts = [Part.VALIDATION if row[1] in kept else Part.TRAIN for row in train] + [Part.TEST] * len(test)
        names = {label: _product(row) for label, row in zip(labels, rows, strict=True)}
        super().__init__(
            FileTable(folder, paths, parts, np.array(labels, np.int64), label_names=names),
            f"official train and test; validation: {validation_fraction:g} of the training classes, seed {seed}",
        )


def _product(row: Row) -> str:
    """`3 2 1 coffee_maker_final/….JPG` → coffee maker 2."""
    return f"{row[3].partition('/')[0].removesuffix('_final').replace('_', ' ')} {row[1]}"


def _folders(paths: Sequence[str]) -> list[str]:
    """The folders that hold images; lists and notes lie beside them."""
    return sorted({path.partition("/")[0] for path in paths if "/" in path})


def _read(folder: Path, check_sizes: bool) -> tuple[list[Row], list[Row], list[int]]:
    """Rows of both lists, and the labels of all; raises what is wrong with them."""
    problems = Problems(folder)
    halves = []
    for file in (TRAIN, TEST):
        with problems.collect():
            halves.append(read_list(folder / file, COLUMNS, problems, named=True))
    problems.raise_any()
    train, test = halves
    _check(folder, train, test, check_sizes, problems)
    labels = whole_numbers([row[1] for row in (*train, *test)], "the class ids", problems)
    problems.raise_any()
    return train, test, labels


def _check(folder: Path, train: list[Row], test: list[Row], check_sizes: bool, problems: Problems) -> None:
    found = tuple(number for half in (train, test) for number in (len(half), len({row[1] for row in half})))
    if check_sizes and found != SIZES:
        problems.add(
            "it has {:,} training images of {:,} classes and {:,} test images of {:,};".format(*found)
            + " the release has {:,} of {:,} and {:,} of {:,};".format(*SIZES)
            + " get the whole set, or type data.check_sizes=false"
        )
    check_disjoint((row[1] for row in train), (row[1] for row in test), problems)
    paths = [row[3] for row in (*train, *test)]
    check_paths(paths, problems)
    check_files(folder, paths, problems)
