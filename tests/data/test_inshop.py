"""Queries apart from the gallery, on fakes in the official layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval_bench.data import inshop
from retrieval_bench.data.inshop import InShop
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound

Write = Callable[..., Path]
LIST = "Eval/list_eval_partition.txt"
TRAIN, TEST = range(1, 11), range(11, 14)  # garments: two training images each; two queries and a gallery image each


def path(garment: int, number: int) -> str:
    return f"img/WOMEN/Dresses/id_{garment:08}/{number:02}_1_front.jpg"


def rows() -> list[tuple[str, str, str]]:
    train = [(path(garment, number), f"id_{garment:08}", "train") for garment in TRAIN for number in (1, 2)]
    test = [(path(i, number), f"id_{i:08}", ("query", "query", "gallery")[number]) for i in TEST for number in range(3)]
    return train + test


def write_list(root: Path, table: list[tuple[str, str, str]], count: int | None = None, end: str = "\n") -> None:
    lines = [str(len(table) if count is None else count), "image_name item_id evaluation_status"]
    lines += [f"{name:<60} {item} {status:<8}" for name, item, status in table]  # aligned, as in the release
    (root / LIST).parent.mkdir(parents=True, exist_ok=True)
    (root / LIST).write_bytes((end.join(lines) + end).encode())


@pytest.fixture
def root(tmp_path: Path, write_image: Write) -> Path:
    for name, _, _ in rows():
        write_image(tmp_path / "Img" / name)
    write_list(tmp_path, rows())
    return tmp_path


def garments(items: object) -> set[int]:
    return set(items.labels.tolist())


def test_queries_are_apart_from_the_gallery(root: Path) -> None:
    data = InShop(str(root), validation_fraction=0.2, check_sizes=False)
    assert data.protocol["sizes"] == {"train": 16, "validation": 4, "query": 6, "gallery": 3}
    assert data.protocol["self"] == "none"
    assert garments(data.train()) | garments(data.validation()) == set(TRAIN)
    assert garments(data.train()) & garments(data.validation()) == set()
    assert garments(data.queries()) == garments(data.gallery()) == set(TEST)
    assert set(data.queries().keys) & set(data.gallery().keys) == set()
    assert list(data.gallery().keys) == [path(garment, 2) for garment in TEST]
    assert data.gallery().label_names[11] == "id_00000011"
    assert data.queries().read(0)["image"].shape == (10, 12, 3)
    other = InShop(str(root), validation_fraction=0.2, seed=2, check_sizes=False)
    assert garments(other.validation()) != garments(data.validation())


def test_a_gallery_image_is_relevant_to_both_queries_of_its_garment(root: Path) -> None:
    truth = InShop(str(root), check_sizes=False).truth()
    assert truth is not None
    assert truth.query_labels is not None and truth.gallery_labels is not None
    assert truth.query_labels.tolist() == [11, 11, 12, 12, 13, 13]
    assert truth.gallery_labels.tolist() == [11, 12, 13]
    assert truth.query_groups is None


def test_images_may_lie_beside_the_list(root: Path) -> None:
    keys = list(InShop(str(root), check_sizes=False).train().keys)
    (root / "Img" / "img").rename(root / "img")
    assert list(InShop(str(root), check_sizes=False).train().keys) == keys


def test_carriage_returns_make_no_difference(root: Path) -> None:
    before = InShop(str(root), check_sizes=False).train().fingerprint
    write_list(root, rows(), end="\r\n")
    assert InShop(str(root), check_sizes=False).train().fingerprint == before


def test_sizes_are_checked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        CorruptInput,
        match="it has 20 training images of 10 garments, 6 queries and 3 gallery images;"
        " the release has 25,882 training images of 3,997 garments, 14,218 queries and 12,612 gallery images",
    ):
        InShop(str(root))
    monkeypatch.setattr(inshop, "SIZES", (20, 10, 6, 3))
    assert len(InShop(str(root)).gallery()) == 3


def test_what_is_missing_is_named_and_whom_to_ask(tmp_path: Path, root: Path) -> None:
    with pytest.raises(DataNotFound, match=r"data\.root is not set.*ask for .* mmlab\.ie\.cuhk\.edu\.hk"):
        InShop()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataNotFound, match=r"lacks Eval/list_eval_partition\.txt.*whose agreement you have to accept"):
        InShop(str(tmp_path / "empty"))
    (root / "Img" / path(1, 1)).unlink()
    with pytest.raises(DataNotFound, match=r"1 of 29 files are not in .*Img: img/WOMEN/Dresses/id_00000001/01_1_front"):
        InShop(str(root), check_sizes=False)
    (root / "Img" / "img").rename(root / "Img" / "elsewhere")
    with pytest.raises(DataNotFound, match="lacks Img/img/;"):
        InShop(str(root))
    (root / "Img" / "img.zip").touch()
    with pytest.raises(DataNotFound, match=r"lacks Img/img/ \(Img/img\.zip is there: unpack it in Img/\)"):
        InShop(str(root))


def test_files_that_the_list_lacks_are_left_out(root: Path, write_image: Write) -> None:
    write_image(root / "Img" / path(99, 1))
    data = InShop(str(root), check_sizes=False)
    assert data.left_out == [(path(99, 1), "not in Eval/list_eval_partition.txt")]


def table(**changes: tuple[str, str, str]) -> list[tuple[str, str, str]]:
    """The fake's rows, some of them (`last`, `first`) others."""
    found = rows()
    return [changes.get("first", found[0]), *found[1:-1], changes.get("last", found[-1])]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (table(last=(path(13, 2), "id_00000013", "test")), "evaluation_status holds test; allowed: train, query, gall"),
        (table(last=(path(13, 1), "id_00000013", "gallery")), r"1 paths stand twice: .*id_00000013/01_1_front\.jpg"),
        (table(first=(path(1, 1), "id_00000013", "train")), "1 classes are in the training and in the test part: id_"),
        (table(first=(path(1, 1), "dress", "train")), "1 of the item ids are no whole numbers: dress"),
        (table(first=(path(1, 1), "id_00000001 dress", "train")), r"1 lines of .* have not the 3 cells .*: line 3 "),
        ([row for row in rows() if row[2] != "query"], "no row has evaluation_status = query"),
        ([], "has no rows"),
    ],
)
def test_damaged_lists(root: Path, changed: list[tuple[str, str, str]], message: str) -> None:
    write_list(root, changed)
    with pytest.raises(CorruptInput, match=message):
        InShop(str(root), check_sizes=False)


def test_a_list_that_was_cut_off(root: Path) -> None:
    write_list(root, rows()[:-2], count=29)
    with pytest.raises(CorruptInput, match=r"says '29' in its first line, 27 rows follow"):
        InShop(str(root), check_sizes=False)


def test_a_share_is_needed() -> None:
    with pytest.raises(BadConfig, match=r"data\.validation_fraction=-1: type a share"):
        InShop(validation_fraction=-1)
