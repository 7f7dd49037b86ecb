"""The official split on fakes in the official layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval_bench.data import sop
from retrieval_bench.data.sop import StanfordOnlineProducts
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound

Write = Callable[..., Path]
TRAIN, TEST = range(1, 11), range(11, 15)  # classes, two images each


def path(label: int, number: int) -> str:
    return f"{'coffee_maker' if label % 2 else 'mug'}_final/{label}_{number}.JPG"


def write_sop(release: Path, write_image: Write) -> Path:
    image = 0
    for file, classes in (("Ebay_train.txt", TRAIN), ("Ebay_test.txt", TEST)):
        lines = ["image_id class_id super_class_id path"]
        for label in classes:
            for number in (0, 1):
                image += 1
                write_image(release / path(label, number))
                lines.append(f"{image} {label} {1 + label % 2} {path(label, number)}")
        (release / file).write_text("\n".join(lines) + "\n")
    (release / "Ebay_info.txt").write_text("image_id class_id super_class_id path\n")
    return release


@pytest.fixture
def root(tmp_path: Path, write_image: Write) -> Path:
    """A folder that holds the release."""
    write_sop(tmp_path / "Stanford_Online_Products", write_image)
    return tmp_path


def classes(items: object) -> set[int]:
    return set(items.labels.tolist())


def test_the_lists_decide_the_parts_and_a_seed_the_validation(root: Path) -> None:
    data = StanfordOnlineProducts(str(root), validation_fraction=0.3, check_sizes=False)
    assert classes(data.train()) | classes(data.validation()) == set(TRAIN)
    assert classes(data.train()) & classes(data.validation()) == set()
    assert [len(classes(items)) for items in (data.train(), data.validation())] == [7, 3]
    assert classes(data.gallery()) == set(TEST)
    assert data.queries() is data.gallery()
    assert data.protocol["sizes"] == {"train": 14, "validation": 6, "test": 8}
    assert data.gallery().label_names[11] == "coffee maker 11"
    assert list(data.gallery().keys)[:2] == [path(11, 0), path(11, 1)]
    assert data.gallery().read(0)["image"].shape == (10, 12, 3)
    assert data.left_out == []
    other = StanfordOnlineProducts(str(root), validation_fraction=0.3, seed=1, check_sizes=False)
    assert classes(other.validation()) != classes(data.validation())
    assert other.gallery().fingerprint == data.gallery().fingerprint
    assert len(StanfordOnlineProducts(str(root), validation_fraction=0, check_sizes=False).validation()) == 0


def test_each_test_image_is_relevant_to_the_other_of_its_product(root: Path) -> None:
    truth = StanfordOnlineProducts(str(root), check_sizes=False).truth()
    assert truth is not None
    assert truth.gallery_labels is not None
    assert np.bincount(truth.gallery_labels)[11:].tolist() == [2, 2, 2, 2]


def test_the_release_itself_may_be_the_root(root: Path) -> None:
    inner = StanfordOnlineProducts(str(root / "Stanford_Online_Products"), check_sizes=False)
    assert list(inner.train().keys) == list(StanfordOnlineProducts(str(root), check_sizes=False).train().keys)


def test_carriage_returns_make_no_difference(root: Path) -> None:
    before = StanfordOnlineProducts(str(root), check_sizes=False).train().fingerprint
    for file in (root / "Stanford_Online_Products").glob("Ebay_*.txt"):
        file.write_bytes(file.read_text().replace("\n", "\r\n").encode())
    assert StanfordOnlineProducts(str(root), check_sizes=False).train().fingerprint == before


def test_sizes_are_checked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        CorruptInput,
        match="it has 20 training images of 10 classes and 8 test images of 4;"
        " the release has 59,551 of 11,318 and 60,502 of 11,316; get the whole set",
    ):
        StanfordOnlineProducts(str(root))
    monkeypatch.setattr(sop, "SIZES", (20, 10, 8, 4))
    assert len(StanfordOnlineProducts(str(root)).gallery()) == 8


def test_what_is_missing_is_named(tmp_path: Path, root: Path) -> None:
    with pytest.raises(DataNotFound, match=r"data\.root is not set.*data\.download=true to fetch it \(3\.1 GB\)"):
        StanfordOnlineProducts()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataNotFound, match=r"lacks Ebay_train\.txt, Ebay_test\.txt; type data\.root=FOLDER"):
        StanfordOnlineProducts(str(tmp_path / "empty"))
    for label in TEST:
        for number in (0, 1):
            (root / "Stanford_Online_Products" / path(label, number)).unlink()
    with pytest.raises(
        DataNotFound, match=r"8 of 28 files are not in .*:\n    coffee_maker_final/11_0\.JPG(\n.*){8}put them there"
    ):
        StanfordOnlineProducts(str(root), check_sizes=False)


def test_files_that_no_list_names_are_left_out(root: Path, write_image: Write) -> None:
    write_image(root / "Stanford_Online_Products" / "mug_final" / "99_0.JPG")
    data = StanfordOnlineProducts(str(root), check_sizes=False)
    assert data.left_out == [("mug_final/99_0.JPG", "not in Ebay_train.txt or Ebay_test.txt")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "image_id class_id",
            "id class",
            r"Ebay_test\.txt begins with 'id class super_class_id path'; its header must",
        ),
        ("21 11 ", "21 10 ", "1 classes are in the training and in the test part: 10"),
        ("21 11 ", "21 x ", "1 of the class ids are no whole numbers: x"),
        ("11_0.JPG", "11_1.JPG", r"1 paths stand twice: coffee_maker_final/11_1\.JPG"),
        ("coffee_maker_final/11_0.JPG", "", r"1 lines of Ebay_test\.txt have not the 4 cells .*: line 2 \(21 11 2\)"),
        ("coffee_maker_final/11_0.JPG", "/tmp/11_0.JPG", r"1 paths are absolute: /tmp/11_0\.JPG"),
    ],
)
def test_damaged_lists(root: Path, old: str, new: str, message: str) -> None:
    file = root / "Stanford_Online_Products" / "Ebay_test.txt"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(CorruptInput, match=message):
        StanfordOnlineProducts(str(root), check_sizes=False)


def test_all_that_is_wrong_is_told_at_once(root: Path) -> None:
    (root / "Stanford_Online_Products" / "Ebay_train.txt").write_text("")
    (root / "Stanford_Online_Products" / "Ebay_test.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(CorruptInput) as caught:
        StanfordOnlineProducts(str(root))
    assert "Ebay_train.txt has no rows" in str(caught.value)
    assert "Ebay_test.txt is not UTF-8 text" in str(caught.value)


def test_a_share_is_needed() -> None:
    with pytest.raises(BadConfig, match=r"data\.validation_fraction=2: type a share"):
        StanfordOnlineProducts(validation_fraction=2)
