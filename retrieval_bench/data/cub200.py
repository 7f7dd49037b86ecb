"""CUB-200-2011 (Caltech-UCSD Birds): 11,788 photographs of 200 species, classes 1–100 to train and 101–200 to test."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data._checks import Problems, need_whole, shorten
from retrieval_bench.data._download import Archive, need_data
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import FileTable, Part, check_files, check_paths
from retrieval_bench.data._listed import keyed, need_inside, unlisted, whole_numbers

SIZES = (5_864, 5_924)  # images of classes 1–100 and of classes 101–200
LAST_TRAIN, LAST = 100, 200
ARCHIVE = Archive(
    url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
    page="www.vision.caltech.edu/datasets/cub_200_2011",
    size=1_150_585_339,
    sha256="0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
    holds="CUB_200_2011",
    marker="images.txt",
)
LAYOUT = (
    "which holds CUB_200_2011/ (or what is in it: images.txt, image_class_labels.txt, bounding_boxes.txt, images/);"
    f" or add data.download=true to {ARCHIVE.offer}. For non-commercial research and education: Wah et al. 2011"
)
IMAGES, LABELS, BOXES = "images.txt", "image_class_labels.txt", "bounding_boxes.txt"


class Cub200(FileDataset):
    """Birds of 200 species: test classes are never trained on, each test image is searched among the others.

    Paper: Wah et al. 2011; split of Song et al. 2016. Labels are the official class ids 1 … 200. The official
    train/test split (a classification split: all classes on both sides) is not used. The publisher warns that some
    images are in ImageNet, too, so encoders pretrained there may have seen them. Size and SHA-256 of the archive are
    those that TensorFlow Datasets states.

    Args:
        root: folder that holds CUB_200_2011/, or that folder; none takes cub200 or CUB_200_2011 in the folder named by
            RETRIEVAL_BENCH_DATA.
        crop: crop to the official bounding boxes (metric-learning papers do not).
        validation_classes: the last that many of classes 1–100 are kept for validation; 0: all are trained on.
        check_sizes: refuse a copy without 5,864 and 5,924 images of the two halves.
        download: fetch the archive (1.2 GB) into root if the data are not there.

    Raises:
        DataNotFound: no such folder, no list inside, or listed files are missing; or the download fails.
        CorruptInput: other sizes than the official ones, or lists that cannot be read or do not fit one another.
        BadConfig: validation_classes not in 0 … 99.
        MissingExtra: a download without the library for it.
    """

    name = "cub200"

    def __init__(
        self,
        root: str | None = None,
        crop: bool = False,
        validation_classes: int = 15,
        check_sizes: bool = True,
        download: bool = False,
    ) -> None:
        need_whole("validation_classes", validation_classes, 0, LAST_TRAIN - 1)
        folder = need_data(root, LAYOUT, ("cub200", "CUB_200_2011"), ARCHIVE, download)
        need_inside(folder, [IMAGES, LABELS, *([BOXES] if crop else [])], LAYOUT)
        problems = Problems(folder)
        paths, labels, boxes = _read(folder, crop, problems)
        _check(folder, paths, labels, check_sizes, problems)
        self.left_out, self.hidden_files = unlisted(folder, ["images"], paths, IMAGES)
        first_test, first = LAST_TRAIN + 1, LAST_TRAIN + 1 - validation_classes
        table = FileTable(
            folder,
            paths,
            [Part.TEST if i >= first_test else Part.VALIDATION if i >= first else Part.TRAIN for i in labels],
            np.array(labels, np.int64),
            boxes=boxes,
            label_names={label: _species(path) for label, path in zip(labels, paths, strict=True)},
        )
        split = f"classes {first_test}–{LAST} test, {first}–{LAST_TRAIN} validation, rest train"
        super().__init__(table, split, "official boxes" if crop else "none")


def _species(path: str) -> str:
    """`images/001.Black_footed_Albatross/….jpg` → Black footed Albatross."""
    return path.split("/")[1].partition(".")[2].replace("_", " ")


def _read(folder: Path, crop: bool, problems: Problems) -> tuple[list[str], list[int], NDArray[np.int64] | None]:
    """Paths, class ids and boxes in the order of `images.txt`, if the lists fit one another; else raises."""
    with problems.collect():
        images = keyed(folder / IMAGES, ("image_id", "image_name"), problems)
        classes = keyed(folder / LABELS, ("image_id", "class_id"), problems)
        corners = keyed(folder / BOXES, ("image_id", "x", "y", "width", "height"), problems) if crop else {}
        for name, table in {LABELS: classes, **({BOXES: corners} if crop else {})}.items():
            lost = sorted(images.keys() ^ table.keys(), key=_order)
            if lost:
                problems.add(f"{len(lost)} image ids stand in {IMAGES} or {name}, not in both: {shorten(lost)}")
    problems.raise_any()
    paths = [f"images/{name}" for (name,) in images.values()]
    labels = whole_numbers([classes[key][0] for key in images], f"the class ids in {LABELS}", problems)
    boxes = _boxes([(key, *corners[key]) for key in images], problems) if crop else None
    problems.raise_any()
    return paths, labels, boxes


def _order(key: str) -> tuple[int, str]:
    """Numbers in their order, without trusting that they are numbers."""
    return len(key), key


def _boxes(rows: Sequence[tuple[str, ...]], problems: Problems) -> NDArray[np.int64]:
    """(id, x, y, width, height) in pixels counted from 0 → left, top, right, bottom."""
    boxes = np.zeros((len(rows), 4), np.int64)
    wrong = []
    for row, (key, *cells) in enumerate(rows):
        try:
            x, y, width, height = (float(cell) for cell in cells)
            boxes[row] = [round(x), round(y), round(x + width), round(y + height)]
        except (ValueError, OverflowError):  # no numbers, NaN, infinity
            wrong.append(key)
            continue
        if not (isfinite(width) and width > 0 and height > 0):
            wrong.append(key)
    if wrong:
        problems.add(f"{len(wrong)} boxes in {BOXES} are empty or no numbers: those of image ids {shorten(wrong)}")
    return boxes


def _check(folder: Path, paths: list[str], labels: list[int], check_sizes: bool, problems: Problems) -> None:
    outside = sorted({label for label in labels if not 1 <= label <= LAST})
    if outside:
        problems.add(f"class ids outside 1 … {LAST}: {shorten(outside)}")
    found = (sum(label <= LAST_TRAIN for label in labels), sum(label > LAST_TRAIN for label in labels))
    if check_sizes and found != SIZES:
        problems.add(
            f"it has {found[0]:,} images of classes 1–{LAST_TRAIN} and {found[1]:,} of {LAST_TRAIN + 1}–{LAST};"
            f" the release has {SIZES[0]:,} and {SIZES[1]:,}; get the whole set, or type data.check_sizes=false"
        )
    nowhere = [path for path in paths if path.count("/") < 2]
    if nowhere:
        problems.add(f"{len(nowhere)} images of {IMAGES} lie in no class folder: {shorten(nowhere)}")
    check_paths(paths, problems)
    check_files(folder, paths, problems)
    problems.raise_any()
