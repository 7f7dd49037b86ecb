"""The 98/98 protocol on fakes in the three layouts, and on the real crops."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import savemat

from retrieval_bench.data import cars196
from retrieval_bench.data.cars196 import Cars196
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound

Write = Callable[..., Path]
# (class, box counted from 1 with the last pixel in it); one image each.
CARS = [
    (1, (1, 1, 12, 10)),
    (84, (2, 3, 7, 9)),
    (85, (1, 1, 5, 5)),
    (98, (1, 1, 5, 5)),
    (99, (4, 2, 4, 2)),
    (196, (1, 1, 12, 9)),
]
NAMES = np.array([f"Car {i}" for i in range(1, 197)], dtype=object)
FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class")


def structs(rows: list[tuple[str, int, tuple[int, ...]]], field: str) -> np.ndarray:
    table = np.empty((1, len(rows)), [(name, object) for name in (field, *FIELDS)])
    for i, (name, label, box) in enumerate(rows):
        table[0, i] = (name, *box, label)
    return table


def write_devkit(root: Path, write_image: Write) -> None:
    (root / "devkit").mkdir(parents=True)
    for half, images in (("train", CARS[::2]), ("test", CARS[1::2])):  # the classification split: classes on both sides
        rows = [(f"{i:05}.jpg", label, box) for i, (label, box) in enumerate(images, start=1)]
        for name, _, _ in rows:
            write_image(root / f"cars_{half}" / name)
        file = "cars_train_annos.mat" if half == "train" else "cars_test_annos_withlabels.mat"
        savemat(root / "devkit" / file, {"annotations": structs(rows, "fname")})
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": NAMES})


def write_car_ims(root: Path, write_image: Write) -> None:
    rows = [(f"car_ims/{i:06}.jpg", label, box) for i, (label, box) in enumerate(CARS, start=1)]
    for name, _, _ in rows:
        write_image(root / name)
    savemat(root / "cars_annos.mat", {"annotations": structs(rows, "relative_im_path"), "class_names": NAMES})


def write_crops(root: Path, write_image: Write, size: tuple[int, int] = (16, 16)) -> None:
    rows = {"path": [], "official_split": [], "class_id": [], "class_name": []}
    for i, (label, _) in enumerate(CARS, start=1):
        path = write_image(root / "cropped_train" / f"{i:05}.jpg", size)
        values = (path.relative_to(root).as_posix(), "train", label, f"Car {label}")
        for column, value in zip(rows.values(), values, strict=True):
            column.append(value)
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)


LAYOUTS = {"devkit": write_devkit, "car_ims": write_car_ims, "labels.csv": write_crops}


@pytest.mark.parametrize("write", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_classes_decide_the_parts_in_every_layout(tmp_path: Path, write_image: Write, write: Write) -> None:
    write(tmp_path / "cars", write_image)
    data = Cars196(str(tmp_path / "cars"), check_sizes=False)
    for items, expected in ((data.train(), [1, 84]), (data.validation(), [85, 98]), (data.gallery(), [99, 196])):
        assert items.labels is not None
        assert sorted(items.labels.tolist()) == expected
    assert data.queries() is data.gallery()
    assert data.gallery().label_names[196] == "Car 196"
    assert data.protocol["sizes"] == {"train": 2, "validation": 2, "test": 2}
    for row, key in enumerate(data.gallery().keys):
        image = Image.open(tmp_path / "cars" / key).convert("RGB")
        np.testing.assert_array_equal(data.gallery().read(row)["image"], np.asarray(image))
    whole = Cars196(str(tmp_path / "cars"), check_sizes=False, validation_classes=0)
    assert [len(whole.train()), len(whole.validation())] == [4, 0]


@pytest.mark.parametrize("write", [write_devkit, write_car_ims], ids=["devkit", "car_ims"])
def test_official_boxes_count_from_one_and_include_the_last_pixel(
    tmp_path: Path, write_image: Write, write: Write
) -> None:
    write(tmp_path / "cars", write_image)
    data = Cars196(str(tmp_path / "cars"), crop=True, check_sizes=False)
    boxes = dict(CARS)
    for items in (data.train(), data.validation(), data.gallery()):
        assert items.labels is not None
        for row, label in enumerate(items.labels.tolist()):
            x1, y1, x2, y2 = boxes[label]
            whole = np.asarray(Image.open(tmp_path / "cars" / items.keys[row]).convert("RGB"))
            np.testing.assert_array_equal(items.read(row)["image"], whole[y1 - 1 : y2, x1 - 1 : x2])
    assert data.protocol["crop"] == "official boxes"
    assert Cars196(str(tmp_path / "cars"), check_sizes=False).protocol["crop"] == "none"


def test_stored_crops_have_a_size_if_square_and_are_not_cropped_again(tmp_path: Path, write_image: Write) -> None:
    write_crops(tmp_path / "square", write_image)
    write_crops(tmp_path / "oblong", write_image, (16, 12))
    data = Cars196(str(tmp_path / "square"), check_sizes=False)
    assert data.image_size == 16
    assert data.protocol["crop"] == "stored box crops"
    assert Cars196(str(tmp_path / "oblong"), check_sizes=False).image_size is None
    with pytest.raises(BadConfig, match=r"type data\.crop=false"):
        Cars196(str(tmp_path / "square"), crop=True, check_sizes=False)
    (tmp_path / "square" / "cropped_train" / "00001.jpg").write_bytes(
        b""
    )  # the run lists it; the next one shows the side
    assert Cars196(str(tmp_path / "square"), check_sizes=False).image_size == 16


def test_sizes_are_checked(tmp_path: Path, write_image: Write) -> None:
    write_crops(tmp_path, write_image)
    with pytest.raises(
        CorruptInput, match="it has 4 images of classes 1–98 and 2 of 99–196; the release has 8,054 and 8,131"
    ):
        Cars196(str(tmp_path))


def test_what_is_missing_is_named(tmp_path: Path, write_image: Write) -> None:
    with pytest.raises(DataNotFound, match=r"data\.root is not set; type data\.root=FOLDER, which holds cars_train/"):
        Cars196()
    with pytest.raises(DataNotFound, match="is not a folder"):
        Cars196(str(tmp_path / "nowhere"))
    with pytest.raises(
        DataNotFound, match=r"lacks devkit/cars_train_annos\.mat, devkit/cars_test_annos_withlabels\.mat"
    ):
        Cars196(str(tmp_path))
    write_devkit(tmp_path / "cars", write_image)
    (tmp_path / "cars" / "cars_test" / "00001.jpg").unlink()
    with pytest.raises(DataNotFound, match=r"1 of 6 files are not in .*: cars_test/00001\.jpg"):
        Cars196(str(tmp_path / "cars"), check_sizes=False)


def test_test_labels_beside_the_devkit_are_found(tmp_path: Path, write_image: Write) -> None:
    write_devkit(tmp_path, write_image)
    name = "cars_test_annos_withlabels.mat"
    (tmp_path / "devkit" / name).rename(tmp_path / name)
    assert len(Cars196(str(tmp_path), check_sizes=False).gallery()) == 2


def test_damaged_annotations(tmp_path: Path, write_image: Write) -> None:
    write_devkit(tmp_path, write_image)
    unlabelled = np.empty((1, 1), [(name, object) for name in ("fname", *FIELDS[:4])])
    unlabelled[0, 0] = ("00001.jpg", 1, 1, 2, 2)
    file = tmp_path / "devkit" / "cars_test_annos_withlabels.mat"
    savemat(file, {"annotations": unlabelled})
    with pytest.raises(CorruptInput, match="has no field class in `annotations`; the labelled file is needed"):
        Cars196(str(tmp_path), check_sizes=False)
    file.write_bytes(b"not a mat file" * 100)
    with pytest.raises(CorruptInput, match="is not a MATLAB file"):
        Cars196(str(tmp_path), check_sizes=False)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("class_id", 197, r"6 class ids outside 1 … 196: \[197\]"),
        ("class_id", "one", "must be whole numbers"),
        ("class_id", None, "has no column class_id; it has path"),
    ],
)
def test_damaged_labels(tmp_path: Path, write_image: Write, column: str, value: object, message: str) -> None:
    write_crops(tmp_path, write_image)
    rows = pd.read_csv(tmp_path / "labels.csv")
    rows = rows.drop(columns=column) if value is None else rows.assign(**{column: value})
    rows.to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(CorruptInput, match=message):
        Cars196(str(tmp_path), check_sizes=False)


@pytest.mark.parametrize("count", [-1, 98])
def test_validation_classes(count: int) -> None:
    with pytest.raises(BadConfig, match="type a whole number from 0 to 97"):
        Cars196(validation_classes=count)


@pytest.mark.data
def test_real_crops() -> None:
    data = Cars196()
    assert [len(data.train()), len(data.validation()), len(data.gallery())] == [6_874, 1_180, 8_131]
    assert len(data.train()) + len(data.validation()) == cars196.SIZES[0]
    labels = data.gallery().labels
    assert labels is not None
    assert sorted(set(labels.tolist())) == list(range(99, 197))
    assert np.bincount(labels).max() == 136
    assert data.image_size == 112
    assert data.gallery().read(8_130)["image"].shape == (112, 112, 3)
    assert data.gallery().label_names[196] == "smart fortwo Convertible 2012"
    root = Path(os.environ["RETRIEVAL_BENCH_DATA"]) / "cars196_112"
    assert Cars196(str(root)).gallery().fingerprint == data.gallery().fingerprint
