"""What all data sets of image files share."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval_bench.data._checks import Problems
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import FileTable, Part, check_files, class_split, group_codes, label_codes, set_apart
from retrieval_bench.data.base import item_id
from retrieval_bench.errors import CorruptInput, DataNotFound

Write = Callable[..., Path]
NAMES = ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]


@pytest.fixture
def table(tmp_path: Path, write_image: Write) -> FileTable:
    for name in NAMES:
        write_image(tmp_path / name)
    return FileTable(
        tmp_path,
        NAMES,
        [Part.TRAIN, Part.TEST, Part.TEST, Part.TEST],
        labels=np.array([0, 0, 1, 1]),
        label_names={0: "a"},
    )


def made(table: FileTable) -> FileDataset:
    return FileDataset(table, "as given")


def test_items_are_the_rows_of_a_part_in_table_order(table: FileTable) -> None:
    items = made(table).gallery()
    assert list(items.keys) == NAMES[1:]
    assert items.ids.tolist() == [item_id(name) for name in NAMES[1:]]
    assert items.labels is not None
    assert items.labels.tolist() == [0, 1, 1]
    for row, name in enumerate(NAMES[1:]):
        np.testing.assert_array_equal(items.read(row)["image"], np.asarray(Image.open(table.root / name)))


def test_fingerprint_sees_one_byte_of_one_file(table: FileTable) -> None:
    before, train = made(table).gallery().fingerprint, made(table).train().fingerprint
    assert made(table).gallery().fingerprint == before
    path, times = table.root / NAMES[2], (table.root / NAMES[2]).stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert made(table).gallery().fingerprint != before
    assert made(table).train().fingerprint == train


@pytest.mark.parametrize("column", ["paths", "labels", "groups", "boxes"])
def test_fingerprint_sees_what_is_known_of_a_file(table: FileTable, column: str) -> None:
    known = {
        "paths": table.paths,
        "labels": np.arange(4),
        "groups": np.arange(4),
        "boxes": np.tile(np.array([0, 0, 5, 5]), (4, 1)),
    }
    one = FileTable(table.root, parts=table.parts, **known)
    known[column] = [NAMES[0], NAMES[2], NAMES[1], NAMES[3]] if column == "paths" else known[column] + 1
    other = FileTable(table.root, parts=table.parts, **known)
    assert made(one).gallery().fingerprint != made(other).gallery().fingerprint


def test_items_go_to_another_process(table: FileTable) -> None:
    items = made(table).gallery()
    again = pickle.loads(pickle.dumps(items))
    np.testing.assert_array_equal(again.read(2)["image"], items.read(2)["image"])


def test_an_unreadable_file_gives_its_reason_alone_and_stops_nothing_else(table: FileTable) -> None:
    (table.root / NAMES[1]).write_bytes(b"")
    (table.root / NAMES[2]).unlink()
    items = made(table).gallery()
    with pytest.raises(CorruptInput, match=r"^the file is empty \(0 bytes\)$"):
        items.read(0)
    with pytest.raises(CorruptInput, match=r"^cannot be opened: No such file or directory$"):
        items.read(1)
    assert items.read(2)["image"].shape == (10, 12, 3)


def test_missing_files_are_counted_and_named(table: FileTable) -> None:
    problems = Problems("t.csv")
    check_files(table.root, NAMES, problems)
    assert len(problems) == 0
    for name in NAMES[:2]:
        (table.root / name).unlink()
    check_files(table.root, NAMES, problems)
    with pytest.raises(DataNotFound, match=r"^t\.csv: 2 of 4 files .*a/0\.png, a/1\.png"):
        problems.raise_any()


def test_boxes_crop_and_an_empty_one_is_corrupt(table: FileTable) -> None:
    boxes = np.array([[0, 0, 0, 0], [2, 3, 7, 9], [-5, -5, 100, 4], [12, 0, 20, 5]])
    items = FileTable(table.root, NAMES, [Part.TEST] * 4, boxes=boxes).items(np.arange(4))
    whole = [np.asarray(Image.open(table.root / name)) for name in NAMES]
    np.testing.assert_array_equal(items.read(0)["image"], whole[0])
    np.testing.assert_array_equal(items.read(1)["image"], whole[1][3:9, 2:7])
    np.testing.assert_array_equal(items.read(2)["image"], whole[2][:4])
    with pytest.raises(CorruptInput, match=r"^the box .* holds nothing of an image of 12 × 10"):
        items.read(3)


def test_a_path_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptInput, match=r"1 paths stand twice: a\.png"):
        FileTable(tmp_path, ["a.png", "b.png", "a.png"], [Part.TEST] * 3)


def test_absolute_paths_never_become_keys(tmp_path: Path) -> None:
    with pytest.raises(CorruptInput, match=r"1 paths are absolute: .*a\.png; .* data\.root=FOLDER"):
        FileTable(tmp_path, [str(tmp_path / "a.png"), "b.png"], [Part.TEST] * 2)


def test_class_split_is_disjoint_sized_and_seeded() -> None:
    names = [f"c{i}" for i in range(40)] * 2
    split = class_split(names, 0.5, 0.25, seed=0)
    counts = [list(split.values()).count(part) for part in (Part.TEST, Part.VALIDATION, Part.TRAIN)]
    assert counts == [20, 5, 15]
    assert split == class_split(names[::-1], 0.5, 0.25, seed=0)
    assert split != class_split(names, 0.5, 0.25, seed=1)
    assert set(class_split(names, 1, 0.25, 0).values()) == {Part.TEST}
    assert list(class_split(names, 0, 0, 0).values()).count(Part.TEST) == 1


def test_label_codes() -> None:
    codes, names = label_codes(["b", "a", "b", "ü"])
    assert codes.tolist() == [1, 0, 1, 2]
    assert names == {0: "a", 1: "b", 2: "ü"}


def test_rows_of_several_parts_are_in_table_order(tmp_path: Path) -> None:
    parts = [Part.VALIDATION, Part.QUERY, Part.TRAIN, Part.VALIDATION]
    table = FileTable(tmp_path, NAMES, parts)
    assert table.rows(Part.TRAIN, Part.VALIDATION).tolist() == [0, 2, 3]
    assert table.rows(Part.GALLERY).tolist() == []


def test_group_codes() -> None:
    codes = group_codes(["b", "", "a", "b", ""]).tolist()
    assert codes[0] == codes[3] and len(set(codes)) == 4
    assert group_codes([]).tolist() == []


def test_set_apart_is_a_share_of_the_classes() -> None:
    names = [f"c{i}" for i in range(40)] * 2
    assert len(set_apart(names, 0.25, 0)) == 10
    assert set_apart(names, 0.25, 0) == set_apart(names[::-1], 0.25, 0) != set_apart(names, 0.25, 1)
    assert set_apart(names, 0.01, 0) == set() == set_apart([], 0.5, 0)
