"""The 100/100 protocol on fakes in the official layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval_bench.data import cub200
from retrieval_bench.data.cub200 import Cub200
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound

Write = Callable[..., Path]
# (class, box x y width height counted from 0); one image each.
BIRDS = [
    (1, (0, 0, 12, 10)),
    (85, (1, 2, 6, 7)),
    (86, (0, 0, 5, 5)),
    (100, (0, 0, 5, 5)),
    (101, (3, 1, 1, 1)),
    (200, (4, 2, 100, 100)),
]


def name(bird: int) -> str:
    label = BIRDS[bird - 1][0]
    return f"{label:03}.Some_Bird_{label}/Some_Bird_{bird:04}.png"


@pytest.fixture
def root(tmp_path: Path, write_image: Write) -> Path:
    """A folder that holds the release."""
    release = tmp_path / "CUB_200_2011"
    for bird in range(1, len(BIRDS) + 1):
        write_image(release / "images" / name(bird))
    rows = {"images.txt": "", "image_class_labels.txt": "", "bounding_boxes.txt": ""}
    for bird, (label, box) in enumerate(BIRDS, start=1):
        rows["images.txt"] += f"{bird} {name(bird)}\n"
        rows["image_class_labels.txt"] += f"{bird} {label}\n"
        rows["bounding_boxes.txt"] += f"{bird} {' '.join(f'{value:.1f}' for value in box)}\n"
    for file, text in rows.items():
        (release / file).write_text(text)
    return tmp_path


def labels(items: object) -> list[int]:
    return sorted(items.labels.tolist())


def change(root: Path, file: str, old: str, new: str) -> None:
    path = root / "CUB_200_2011" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_classes_decide_the_parts(root: Path) -> None:
    data = Cub200(str(root), check_sizes=False)
    assert [labels(items) for items in (data.train(), data.validation(), data.gallery())] == [
        [1, 85],
        [86, 100],
        [101, 200],
    ]
    assert data.queries() is data.gallery()
    assert data.gallery().label_names[200] == "Some Bird 200"
    assert data.protocol["sizes"] == {"train": 2, "validation": 2, "test": 2}
    assert data.protocol["split"] == "classes 101–200 test, 86–100 validation, rest train"
    assert data.protocol["crop"] == "none"
    assert list(data.train().keys) == [f"images/{name(1)}", f"images/{name(2)}"]
    for row, key in enumerate(data.gallery().keys):
        image = Image.open(root / "CUB_200_2011" / key).convert("RGB")
        np.testing.assert_array_equal(data.gallery().read(row)["image"], np.asarray(image))
    whole = Cub200(str(root), validation_classes=0, check_sizes=False)
    assert [len(whole.train()), len(whole.validation())] == [4, 0]


def test_the_release_itself_may_be_the_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer, inner = (Cub200(str(place), check_sizes=False).gallery() for place in (root, root / "CUB_200_2011"))
    assert list(outer.keys) == list(inner.keys)
    assert outer.fingerprint == inner.fingerprint
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(root))
    assert list(Cub200(check_sizes=False).gallery().keys) == list(outer.keys)


def test_boxes_count_from_zero_and_end_at_the_image(root: Path) -> None:
    data = Cub200(str(root), crop=True, check_sizes=False)
    boxes = dict(BIRDS)
    for items in (data.train(), data.validation(), data.gallery()):
        assert items.labels is not None
        for row, label in enumerate(items.labels.tolist()):
            x, y, width, height = boxes[label]
            whole = np.asarray(Image.open(root / "CUB_200_2011" / items.keys[row]).convert("RGB"))
            np.testing.assert_array_equal(items.read(row)["image"], whole[y : y + height, x : x + width])
    assert data.protocol["crop"] == "official boxes"
    assert data.gallery().fingerprint != Cub200(str(root), check_sizes=False).gallery().fingerprint


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n\n"])
def test_line_ends_and_blank_lines_make_no_difference(root: Path, end: str) -> None:
    before = Cub200(str(root), crop=True, check_sizes=False).train()
    for path in (root / "CUB_200_2011").glob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_text().replace("\n", end).rstrip().encode())
    after = Cub200(str(root), crop=True, check_sizes=False).train()
    assert list(after.keys) == list(before.keys)
    assert after.fingerprint == before.fingerprint


def test_the_order_of_the_other_lists_is_free(root: Path) -> None:
    before = Cub200(str(root), crop=True, check_sizes=False).gallery().fingerprint
    for file in ("image_class_labels.txt", "bounding_boxes.txt"):
        path = root / "CUB_200_2011" / file
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert Cub200(str(root), crop=True, check_sizes=False).gallery().fingerprint == before


def test_sizes_are_checked(root: Path) -> None:
    with pytest.raises(
        CorruptInput, match="it has 4 images of classes 1–100 and 2 of 101–200; the release has 5,864 and 5,924"
    ):
        Cub200(str(root))


def test_the_sizes_of_the_release_pass(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cub200, "SIZES", (4, 2))
    assert len(Cub200(str(root)).gallery()) == 2


def test_what_is_missing_is_named(tmp_path: Path, root: Path) -> None:
    with pytest.raises(DataNotFound, match=r"data\.root is not set.*data\.download=true to fetch it \(1\.2 GB\)"):
        Cub200()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataNotFound, match=r"lacks images\.txt, image_class_labels\.txt; type data\.root=FOLDER"):
        Cub200(str(tmp_path / "empty"))
    (root / "CUB_200_2011" / "bounding_boxes.txt").unlink()
    assert len(Cub200(str(root), check_sizes=False).train()) == 2
    with pytest.raises(DataNotFound, match=r"lacks bounding_boxes\.txt"):
        Cub200(str(root), crop=True, check_sizes=False)
    for bird in (1, 2, 3, 4, 5, 6):
        (root / "CUB_200_2011" / "images" / name(bird)).unlink()
    with pytest.raises(DataNotFound, match=r"6 of 6 files are not in .*(\n.*)Some_Bird_0001\.png(\n.*){6}put them"):
        Cub200(str(root), check_sizes=False)


def test_an_unreadable_image_is_an_item_that_says_why(root: Path) -> None:
    (root / "CUB_200_2011" / "images" / name(5)).write_bytes(b"")
    items = Cub200(str(root), check_sizes=False).gallery()
    with pytest.raises(CorruptInput, match="empty"):
        items.read(0)
    assert items.read(1)["image"].shape == (10, 12, 3)


def test_files_that_no_list_names_are_left_out(root: Path, write_image: Write) -> None:
    folder = root / "CUB_200_2011" / "images" / "001.Some_Bird_1"
    write_image(folder / "more.png")
    (folder / ".DS_Store").touch()
    data = Cub200(str(root), check_sizes=False)
    assert data.left_out == [("images/001.Some_Bird_1/more.png", "not in images.txt")]
    assert data.hidden_files == 1
    assert len(data.train()) == 2


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("image_class_labels.txt", "6 200\n", "6 201\n", r"class ids outside 1 … 200: 201"),
        ("image_class_labels.txt", "6 200\n", "6 two\n", r"1 of the class ids in .* are no whole numbers: two"),
        ("image_class_labels.txt", "6 200\n", "", r"1 image ids stand in images\.txt or .*, not in both: 6"),
        ("image_class_labels.txt", "6 200\n", "6\n", r"1 lines of .* have not the 2 cells image_id, class_id: line 6"),
        ("image_class_labels.txt", "6 200\n", "6 200\n6 100\n", r"1 of image_id stand twice in .*: 6; keep one"),
        ("images.txt", f"2 {name(2)}", f"2 {name(1)}", r"1 paths stand twice: images/001\.Some_Bird_1/"),
        ("images.txt", f"2 {name(2)}", "2 loose.png", r"1 images of images\.txt lie in no class folder: images/loose"),
        ("bounding_boxes.txt", "4.0 2.0 100.0 100.0", "4.0 2.0 0.0 100.0", r"1 boxes in .* image ids 6"),
        ("bounding_boxes.txt", "4.0 2.0 100.0 100.0", "4.0 2.0 nan 100.0", r"1 boxes in .* image ids 6"),
        ("bounding_boxes.txt", "4.0 2.0 100.0 100.0", "4.0 2.0 inf 1e300", r"1 boxes in .* image ids 6"),
    ],
)
def test_damaged_lists(root: Path, file: str, old: str, new: str, message: str) -> None:
    change(root, file, old, new)
    with pytest.raises(CorruptInput, match=message):
        Cub200(str(root), crop=True, check_sizes=False)


def test_a_list_that_is_no_text(root: Path) -> None:
    (root / "CUB_200_2011" / "images.txt").write_bytes(b"1 caf\xe9.png\n")
    with pytest.raises(CorruptInput, match=r"images\.txt is not UTF-8 text"):
        Cub200(str(root), check_sizes=False)


@pytest.mark.parametrize("count", [-1, 100])
def test_validation_classes(count: int) -> None:
    with pytest.raises(BadConfig, match="type a whole number from 0 to 99"):
        Cub200(validation_classes=count)
