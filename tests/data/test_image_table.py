"""A table of images: what its columns do, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from retrieval_bench.data.image_table import ImageTable
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound

Write = Callable[..., Path]
SPLIT = {
    "path": ["img/0.png", "img/1.png", "img/2.png", "img/3.png"],
    "label": ["7", "7", "8", "8"],
    "split": ["train", "validation", "test", "test"],
}
ROLE = SPLIT | {"label": ["x", "cat", "cat", "NA"]}
ROLE = {name: cells for name, cells in ROLE.items() if name != "split"} | {
    "role": ["train", "query", "gallery", "query"]
}


@pytest.fixture
def write_table(tmp_path: Path, write_image: Write) -> Write:
    for i in range(4):
        write_image(tmp_path / "img" / f"{i}.png")

    def write(columns: dict[str, list[object]], name: str = "table.csv") -> Path:
        rows = pd.DataFrame(columns)
        if name.endswith(".csv"):
            rows.to_csv(tmp_path / name, index=False)
        else:
            rows.to_parquet(tmp_path / name, index=False)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_split(write_table: Write, name: str) -> None:
    data = ImageTable(str(write_table(SPLIT, name)))
    assert list(data.gallery().keys) == ["img/2.png", "img/3.png"]
    assert data.queries() is data.gallery()
    assert [len(data.train()), len(data.validation())] == [1, 1]
    assert data.gallery().label_names == {0: "7", 1: "8"}
    assert data.protocol["sizes"] == {"train": 1, "validation": 1, "test": 2}
    assert data.protocol["group"] == data.protocol["crop"] == "none"


def test_csv_and_parquet_give_the_same_items(write_table: Write) -> None:
    numbers = SPLIT | {"label": [7, 7, 8, 8]}
    one, other = (ImageTable(str(write_table(numbers, name))).gallery() for name in ("t.csv", "t.parquet"))
    assert one.fingerprint == other.fingerprint
    assert one.ids.tolist() == other.ids.tolist()
    floats = ImageTable(str(write_table(SPLIT | {"label": [7.0, 7.0, 8.0, 8.0]}, "f.parquet"))).gallery()
    assert floats.label_names == one.label_names


def test_role_and_a_query_class_that_the_gallery_lacks(write_table: Write) -> None:
    data = ImageTable(str(write_table(ROLE)))
    assert list(data.queries().keys) == ["img/1.png", "img/3.png"]
    assert list(data.gallery().keys) == ["img/2.png"]
    truth = data.truth()
    assert truth is not None
    assert truth.query_labels is not None
    assert truth.gallery_labels is not None
    assert [(truth.gallery_labels == label).sum() for label in truth.query_labels] == [1, 0]
    assert "NA" in data.gallery().label_names.values()  # a class may be called NA


def test_groups_and_blank_ones(write_table: Write) -> None:
    columns = SPLIT | {"split": ["test"] * 4, "group": ["b", "", "b", ""]}
    data = ImageTable(str(write_table(columns)))
    groups = data.gallery().groups
    assert groups is not None
    assert groups[0] == groups[2]
    assert len(set(groups.tolist())) == 3
    truth = data.truth()
    assert truth is not None
    assert truth.query_groups is groups
    assert data.protocol["group"] == "gallery items of the query's group are ignored"


def test_boxes(write_table: Write) -> None:
    corners = {"x1": ["1", "", "2", ""], "y1": ["1", "", "3", ""], "x2": ["5", "", "7", ""], "y2": ["5", "", "9", ""]}
    path = write_table(SPLIT | corners)
    items = ImageTable(str(path)).gallery()
    whole = [np.asarray(Image.open(path.parent / key)) for key in items.keys]
    np.testing.assert_array_equal(items.read(0)["image"], whole[0][3:9, 2:7])
    np.testing.assert_array_equal(items.read(1)["image"], whole[1])


def test_root(write_table: Write, tmp_path: Path) -> None:
    path = write_table(SPLIT | {"path": [f"{i}.png" for i in range(4)]})
    assert len(ImageTable(str(path), root=str(tmp_path / "img")).gallery()) == 2
    with pytest.raises(
        DataNotFound, match=r"4 of 4 files are not in .*: 0\.png, 1\.png, 2\.png, 3\.png; put them there"
    ):
        ImageTable(str(path))
    with pytest.raises(DataNotFound, match=r"data\.root=nowhere is not a folder"):
        ImageTable(str(path), root="nowhere")


BAD = {
    "missing column": ({"path": ["img/0.png"], "split": ["test"]}, "has no column label; it has path, split"),
    "no split": ({"path": ["img/0.png"], "label": ["a"]}, r"has no column split \(or role\)"),
    "both": (SPLIT | {"role": ["train"] * 4}, "has both split and role"),
    "unknown split": (
        SPLIT | {"split": ["train", "val", "test", "TEST"]},
        r"column split holds 'TEST', 'val' \(2 rows\); allowed: train, validation, test$",
    ),
    "query in split": (
        SPLIT | {"split": ["query"] * 4},
        r"holds 'query' \(4 rows\); allowed: train, validation, test$",
    ),
    "duplicate paths": (
        SPLIT | {"path": ["img/0.png", "img/1.png", "./img/1.png", "img/../img/0.png"]},
        "2 paths stand twice",
    ),
    "blank label": (
        SPLIT | {"label": ["a", "", "b", ""]},
        "column label is blank or NaN in 2 data rows: 2, 4; fill it",
    ),
    "no test": (SPLIT | {"split": ["train"] * 4}, "no row has split = test"),
    "no gallery": (ROLE | {"role": ["query"] * 4}, "no row has role = gallery"),
    "part of a box": (SPLIT | {"x1": ["1"] * 4, "y1": ["1"] * 4}, "has x1, y1 of a box"),
    "empty box": (
        SPLIT | {"x1": ["5"] * 4, "y1": ["1"] * 4, "x2": ["5"] * 4, "y2": ["9"] * 4},
        r"4 boxes are empty: 5, 1, 5, 9 \(data row 1\), .*; x1 < x2",
    ),
    "box of words": (
        SPLIT | {n: ["a"] * 4 for n in ("x1", "y1", "x2", "y2")},
        r"4 boxes are not four whole numbers: a, a, a, a \(data row 1\)",
    ),
    "no rows": ({"path": [], "label": [], "split": []}, "has no rows"),
}


@pytest.mark.parametrize(("columns", "message"), BAD.values(), ids=BAD.keys())
def test_bad_tables(write_table: Write, columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(CorruptInput, match=message):
        ImageTable(str(write_table(columns)))


def test_missing_values_of_parquet_are_blank(write_table: Write) -> None:
    with pytest.raises(CorruptInput, match="column label is blank or NaN in 1 data rows: 2;"):
        ImageTable(str(write_table(SPLIT | {"label": ["a", None, "b", "b"]}, "t.parquet")))


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound, match=r"data\.table is not set; type data\.table=FILE, a \.csv or \.parquet"):
        ImageTable()
    with pytest.raises(DataNotFound, match="is not a file"):
        ImageTable(str(tmp_path / "none.csv"))
    for name in ("t.parquet", "t.csv", "t.xlsx"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00broken,\n\x00")
        with pytest.raises(CorruptInput):
            ImageTable(str(tmp_path / name))
    (tmp_path / "t.csv").write_bytes(b"")
    with pytest.raises(CorruptInput, match="cannot be read"):
        ImageTable(str(tmp_path / "t.csv"))


def write_csv(folder: Path, text: str, encoding: str = "utf-8") -> str:
    (folder / "own.csv").write_bytes(text.encode(encoding))
    return str(folder / "own.csv")


OWN = "path,label,split\nimg/0.png,ü,test\nimg/1.png,b,test\n"


def test_csv_as_spreadsheets_save_it(write_table: Write, tmp_path: Path) -> None:
    write_table(SPLIT)
    plain = ImageTable(write_csv(tmp_path, OWN)).gallery()
    marked = ImageTable(write_csv(tmp_path, OWN.replace("\n", "\r\n"), "utf-8-sig")).gallery()
    assert marked.label_names == plain.label_names == {0: "b", 1: "ü"}
    assert marked.fingerprint == plain.fingerprint
    for text, encoding, message in (
        (
            OWN.replace(",", ";"),
            "utf-8",
            r"own\.csv is separated by semicolons \('path;label;split'\); save it with commas",
        ),
        (OWN.replace(",", "\t"), "utf-8", "is separated by tabs"),
        (OWN, "utf-16", "is UTF-16 text; save it as CSV in UTF-8"),
        (OWN, "latin-1", "is not UTF-8 text; save it as CSV in UTF-8"),
    ):
        with pytest.raises(CorruptInput, match=message):
            ImageTable(write_csv(tmp_path, text, encoding))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,split\n", "it has no rows"),
        ("\n\n", "cannot be read: No columns"),
        ("path,label,split\na.png,a,test,x\nb.png,a,test,x\n", "its rows have more cells than its header has names"),
        ("path,label,split\na.png,a,test\nb.png,a,test,x\n", "Expected 3 fields in line 3, saw 4"),
        ("path,label,split\nimg/0.png,a\n", r"column split holds '' \(1 rows\); allowed"),
        ('path,label,split\n"img/0.png,a,test\n', "EOF inside string"),
        ("path,path,label,split\nimg/0.png,img/1.png,a,test\n", "it has two columns path; keep one"),
        ("path,label,split\nimg/0.png,nan,test\nimg/1.png,NaN,test\nimg/2.png,,test\n", "NaN in 3 data rows: 1, 2, 3;"),
        ("path,label,split\nimg/0.png,1.0,test\nimg/1.png,1,test\n", "1 numbers in two ways: 1.0 and 1; write one"),
        ("path,label,split\nimg/0.png,a,test\n./img/0.png,a,test\n", r"1 paths stand twice: img/0\.png"),
        ("Path,Label,Split\nimg/0.png,a,test\n", r"no column path, label, split \(or role\); it has Path, "),
    ],
)  # fmt: skip
def test_hostile_csv(write_table: Write, tmp_path: Path, text: str, message: str) -> None:
    write_table(SPLIT)
    with pytest.raises(CorruptInput, match=message) as caught:
        ImageTable(write_csv(tmp_path, text))
    assert "\n" not in str(caught.value)  # one problem is one line


def test_labels_of_every_kind(write_table: Write, tmp_path: Path) -> None:
    write_table(SPLIT)
    cells = ["2.50", "-3", '"two\nlines"', "1e3"]
    rows = "".join(f"img/{i}.png,{cell},test\n" for i, cell in enumerate(cells))
    items = ImageTable(write_csv(tmp_path, f"path,label,split\n{rows}")).gallery()
    assert items.labels is not None
    assert [items.label_names[label] for label in items.labels.tolist()] == ["2.50", "-3", "two\nlines", "1e3"]


def test_all_that_is_wrong_is_told_at_once(write_table: Write, tmp_path: Path) -> None:
    write_table(SPLIT)
    absolute = tmp_path / "img" / "3.png"
    text = f"path,split\nimg/0.png,test\n./img/0.png,TEST\n{absolute},val\n,test\ngone.png,test\n"
    with pytest.raises(CorruptInput) as caught:
        ImageTable(write_csv(tmp_path, text))
    head, *lines = str(caught.value).splitlines()
    assert head == f"{tmp_path}/own.csv: 6 things are wrong:"
    assert [line.partition(";")[0] for line in lines] == [
        "  - it has no column label",
        "  - column path is blank or NaN in 1 data rows: 4",
        "  - column split holds 'TEST', 'val' (2 rows)",
        "  - 1 paths stand twice: img/0.png",
        f"  - 1 paths are absolute: {absolute}",
        f"  - 1 of 4 files are not in {tmp_path}: gone.png",
    ]


def test_boxes_with_gaps_and_beyond_numbers(write_table: Write) -> None:
    corners = {"x1": [1.0, None, None, 2.0], "y1": [1.0, None, None, 3.0], "x2": [5.0, None, None, 7.0]}
    table = write_table(SPLIT | corners | {"y2": [5.0, None, None, 9.0]})
    assert "1.0" in table.read_text()  # pandas' way with gaps
    assert ImageTable(str(table)).gallery().read(1)["image"].shape == (6, 5, 3)
    huge = {"x1": ["9" * 30, "1.5", "", ""], "y1": [1, 1, "", ""], "x2": [2, 2, "", ""], "y2": [3, 3, "", ""]}
    with pytest.raises(
        CorruptInput, match=r"2 boxes are not four whole numbers: 9{30}, 1, 2, 3 \(data row 1\), 1\.5, 1"
    ):
        ImageTable(str(write_table(SPLIT | huge)))


def test_a_box_beyond_the_image_is_an_unreadable_item(write_table: Write) -> None:
    corners = {"x1": [0, 0, 50, 0], "y1": [0, 0, 50, 0], "x2": [5, 5, 60, 99], "y2": [5, 5, 60, 99]}
    items = ImageTable(str(write_table(SPLIT | corners))).gallery()
    with pytest.raises(CorruptInput, match=r"^the box \[50, 50, 60, 60\] holds nothing of an image of 12 × 10 pixels$"):
        items.read(0)
    assert items.read(1)["image"].shape == (10, 12, 3)  # what of the box lies inside


def test_hostile_parquet(write_table: Write, tmp_path: Path) -> None:
    table = write_table(SPLIT, "t.parquet")
    whole = table.read_bytes()
    for content in (b"", whole[:-20], whole[: len(whole) // 2], b"PAR1" + b"\0" * 50):
        table.write_bytes(content)
        with pytest.raises(CorruptInput, match=r"t\.parquet cannot be read: "):
            ImageTable(str(table))
    with pytest.raises(CorruptInput, match="it has no rows"):
        ImageTable(str(write_table({name: [] for name in SPLIT}, "t.parquet")))
    with pytest.raises(CorruptInput, match="column label holds ndarray; write text or whole numbers"):
        ImageTable(str(write_table(SPLIT | {"label": [[1], [1, 2], [1], [1]]}, "t.parquet")))
    pd.DataFrame(SPLIT).set_index("path").to_parquet(table)
    with pytest.raises(CorruptInput, match="it has no column path; it has label, split"):
        ImageTable(str(table))


def test_parameters_of_another_kind(write_table: Write, tmp_path: Path) -> None:
    table = str(write_table(SPLIT))
    with pytest.raises(BadConfig, match=r"data\.table=True is not a path"):
        ImageTable(True)  # type: ignore[arg-type]
    with pytest.raises(BadConfig, match=r"data\.image_size=big: type a whole number from 1 to 10000, or null"):
        ImageTable(table, image_size="big")  # type: ignore[arg-type]
    with pytest.raises(DataNotFound, match=r"data\.root=.*table\.csv is a file, not a folder"):
        ImageTable(table, root=table)
    with pytest.raises(DataNotFound, match=r"data\.table=.* is not a file"):
        ImageTable(os.fspath(tmp_path))
