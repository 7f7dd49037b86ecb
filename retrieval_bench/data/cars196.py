"""Cars196 (Stanford Cars): 16,185 photographs of 196 car models, classes 1–98 to train and 99–196 to test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval_bench.data._checks import Problems, need_root, need_whole
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import FileTable, Part, check_files, check_paths
from retrieval_bench.data._table import read_csv
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound

SIZES = (8_054, 8_131)  # images of classes 1–98 and of classes 99–196
LAST_TRAIN, LAST = 98, 196
PROBED = 5  # images looked at for the side of stored crops
LAYOUT = (
    "which holds cars_train/, cars_test/ and devkit/ (with cars_train_annos.mat and cars_test_annos_withlabels.mat),"
    " or car_ims/ and cars_annos.mat, or labels.csv (path, class_id, class_name) beside its crops."
    " The images: Krause et al. 2013, 'Stanford Cars', for non-commercial research"
)
BOX = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"]


class Cars196(FileDataset):
    """Zero-shot protocol: test classes are never trained on, every test image is searched among the other test images.

    Paper: Krause et al. 2013; split of Song et al. 2016. Labels are the official class ids 1 … 196. The official
    train/test split (a classification split: all classes on both sides) is not used.

    Args:
        root: folder of the data; none takes cars196 or cars196_112 in the folder named by RETRIEVAL_BENCH_DATA.
        crop: crop to the official bounding boxes (metric-learning papers do not). Not for stored crops (labels.csv).
        validation_classes: the last that many of classes 1–98 are kept for validation; 0: all are trained on.
        check_sizes: refuse a copy without 8,054 and 8,131 images of the two halves.

    Raises:
        DataNotFound: no such folder, or none of the three layouts inside; a listed file is missing.
        CorruptInput: other sizes than the official ones, or annotations that cannot be read.
        BadConfig: validation_classes not in 0 … 97, or crop on stored crops.
    """

    name = "cars196"

    def __init__(
        self,
        root: str | None = None,
        crop: bool = False,
        validation_classes: int = 14,
        check_sizes: bool = True,
    ) -> None:
        need_whole("validation_classes", validation_classes, 0, LAST_TRAIN - 1)
        folder = need_root(root, LAYOUT, ("cars196", "cars196_112"))
        rows, stored_crops = _read_rows(folder)
        if crop and stored_crops:
            raise BadConfig("data.crop=true: the images beside labels.csv are crops already; type data.crop=false")
        labels = _whole_numbers(rows["class_id"], folder)
        _check(folder, labels, rows["path"].tolist(), check_sizes)
        first_test, first = LAST_TRAIN + 1, LAST_TRAIN + 1 - validation_classes
        table = FileTable(
            folder,
            rows["path"].tolist(),
            [Part.TEST if i >= first_test else Part.VALIDATION if i >= first else Part.TRAIN for i in labels.tolist()],
            labels,
            boxes=_boxes(rows) if crop else None,
            label_names=dict(zip(labels.tolist(), rows["class_name"].tolist(), strict=True)),
        )
        super().__init__(
            table,
            f"classes {first_test}–{LAST} test, {first}–{LAST_TRAIN} validation, rest train",
            "stored box crops" if stored_crops else "official boxes" if crop else "none",
            _side(table) if stored_crops else None,
        )


def _read_rows(folder: Path) -> tuple[pd.DataFrame, bool]:
    """Columns path, class_id, class_name and, in the official layouts, the box; and whether the images are crops."""
    if (folder / "labels.csv").is_file():
        rows = read_csv(folder / "labels.csv")
        lost = [name for name in ("path", "class_id", "class_name") if name not in rows.columns]
        if lost:
            raise CorruptInput(
                f"{folder / 'labels.csv'} has no column {', '.join(lost)}; it has {', '.join(rows.columns)}"
            )
        return rows, True
    if (folder / "cars_annos.mat").is_file():
        table = _annotations(folder / "cars_annos.mat", "relative_im_path")
        return _named(table, folder / "cars_annos.mat"), False
    train, names = folder / "devkit" / "cars_train_annos.mat", folder / "devkit" / "cars_meta.mat"
    tests = [path / "cars_test_annos_withlabels.mat" for path in (folder / "devkit", folder)]
    test = next((path for path in tests if path.is_file()), tests[0])
    missing = [str(path.relative_to(folder)) for path in (train, test, names) if not path.is_file()]
    if missing:
        raise DataNotFound(f"{folder} lacks {', '.join(missing)}; type data.root=FOLDER, {LAYOUT}")
    halves = []
    for path, images in ((train, "cars_train"), (test, "cars_test")):
        half = _annotations(path, "fname")
        half["path"] = [f"{images}/{name}" for name in half["path"]]
        halves.append(half)
    return _named(pd.concat(halves, ignore_index=True), names), False


def _load_mat(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        return dict(loadmat(path, squeeze_me=True))
    except (ValueError, TypeError, OSError, KeyError, IndexError, NotImplementedError) as error:
        raise CorruptInput(f"{path} is not a MATLAB file that scipy can read: {error}; download it again") from error


def _annotations(path: Path, file_field: str) -> pd.DataFrame:
    table = np.atleast_1d(_load_mat(path).get("annotations", np.empty(0)))
    names = {file_field: "path", "class": "class_id", **{name: name for name in BOX}}
    lost = [name for name in names if name not in (table.dtype.names or ())]
    if lost:
        raise CorruptInput(f"{path} has no field {', '.join(lost)} in `annotations`; the labelled file is needed")
    return pd.DataFrame({new: table[old].tolist() for old, new in names.items()})


def _named(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    names = np.atleast_1d(_load_mat(path).get("class_names", np.empty(0))).tolist()
    rows["class_name"] = [str(names[i - 1]) if 0 < i <= len(names) else str(i) for i in rows["class_id"].tolist()]
    return rows


def _whole_numbers(column: pd.Series[Any], folder: Path) -> NDArray[np.int64]:
    try:
        return np.array([int(value) for value in column.tolist()], np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise CorruptInput(f"the class ids in {folder} must be whole numbers 1 … {LAST}: {error}") from error


def _boxes(rows: pd.DataFrame) -> NDArray[np.int64]:
    # The release counts pixels from 1 and includes the last one.
    boxes: NDArray[np.int64] = rows[BOX].to_numpy(np.int64) - np.array([1, 1, 0, 0])
    return boxes


def _check(folder: Path, labels: NDArray[np.int64], paths: list[str], check_sizes: bool) -> None:
    problems = Problems(folder)
    outside = labels[(labels < 1) | (labels > LAST)]
    if len(outside):
        problems.add(f"{len(outside)} class ids outside 1 … {LAST}: {np.unique(outside)[:5].tolist()}")
    found = (int((labels <= LAST_TRAIN).sum()), int((labels > LAST_TRAIN).sum()))
    if check_sizes and found != SIZES:
        problems.add(
            f"it has {found[0]:,} images of classes 1–{LAST_TRAIN} and {found[1]:,} of {LAST_TRAIN + 1}–{LAST};"
            f" the release has {SIZES[0]:,} and {SIZES[1]:,}; get the whole set, or type data.check_sizes=false"
        )
    check_paths(paths, problems)
    check_files(folder, paths, problems)
    problems.raise_any()


def _side(table: FileTable) -> int | None:
    """The side of the stored squares, as the first readable image shows it."""
    for row in range(min(PROBED, len(table.paths))):
        try:
            height, width = table.read(row)["image"].shape[:2]
        except CorruptInput:
            continue  # the run lists it as unreadable
        return int(height) if height == width else None
    return None
