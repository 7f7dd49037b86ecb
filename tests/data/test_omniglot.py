"""Official and small layouts, on fakes; the real small sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval_bench.data.omniglot import Omniglot
from retrieval_bench.errors import BadConfig, DataNotFound

Write = Callable[..., Path]


def write_characters(top: Path, write_image: Write, alphabets: dict[str, range]) -> None:
    """Two drawings of each character; the numbers are the characters' own, as in the release."""
    for alphabet, numbers in alphabets.items():
        for order, number in enumerate(numbers, start=1):
            for drawer in (1, 2):
                write_image(top / alphabet / f"character{order:02}" / f"{number:04}_{drawer:02}.png", (105, 105), "1")


@pytest.fixture
def small(tmp_path: Path, write_image: Write) -> Path:
    shared = {"Greek": range(1, 4)}
    write_characters(tmp_path / "images_background_small1", write_image, shared | {"Korean": range(4, 8)})
    second = shared | {"Latin": range(8, 10), "Tagalog": range(10, 13)}
    write_characters(tmp_path / "images_background_small2", write_image, second)
    return tmp_path


def alphabets(keys: object) -> set[str]:
    return {key.split("/")[-3] for key in keys}


def test_the_union_of_the_small_sets_has_each_drawing_once(small: Path) -> None:
    data = Omniglot(str(small), validation_fraction=0.5)
    parts = [data.train(), data.validation(), data.gallery()]
    names = [key.split("/")[-1] for items in parts for key in items.keys]
    assert sorted(names) == [f"{number:04}_{drawer:02}.png" for number in range(1, 13) for drawer in (1, 2)]
    assert [len(alphabets(items.keys)) for items in parts] == [1, 1, 2]
    assert set.union(*(alphabets(items.keys) for items in parts)) == {"Greek", "Korean", "Latin", "Tagalog"}
    assert data.queries() is data.gallery()
    assert data.image_size == 105
    image = data.gallery().read(0)["image"]
    assert image.shape == (105, 105, 3)
    assert set(image.ravel().tolist()) == {0, 255}


def test_split_by_character_is_class_disjoint(small: Path) -> None:
    data = Omniglot(str(small), split_by="character", validation_fraction=0.5)
    labels = []
    for items in (data.train(), data.validation(), data.gallery()):
        assert items.labels is not None
        labels.append(set(items.labels.tolist()))
    assert [len(part) for part in labels] == [3, 3, 6]
    assert len(set.union(*labels)) == 12
    other = Omniglot(str(small), split_by="character", seed=1)
    assert list(other.gallery().keys) != list(data.gallery().keys)


def test_official_evaluation_set_is_the_test_part(tmp_path: Path, write_image: Write) -> None:
    write_characters(tmp_path / "images_background", write_image, {f"B{i}": range(3 * i, 3 * i + 3) for i in range(4)})
    write_characters(tmp_path / "images_evaluation", write_image, {"E1": range(100, 102), "E2": range(102, 104)})
    data = Omniglot(str(tmp_path), validation_fraction=0.25)
    assert alphabets(data.gallery().keys) == {"E1", "E2"}
    assert [len(alphabets(items.keys)) for items in (data.train(), data.validation())] == [3, 1]
    assert "official evaluation set" in data.protocol["split"]
    assert data.protocol["sizes"] == {"train": 18, "validation": 6, "test": 8}
    assert len(Omniglot(str(tmp_path), validation_fraction=0).validation()) == 0


def test_drawers_are_no_group(small: Path) -> None:
    data = Omniglot(str(small))
    assert data.gallery().groups is None
    truth = data.truth()
    assert truth is not None
    assert truth.gallery_labels is not None
    assert set(Counter(truth.gallery_labels.tolist()).values()) == {2}


def test_errors(tmp_path: Path, small: Path) -> None:
    with pytest.raises(DataNotFound, match=r"data\.root is not set.*brendenlake/omniglot"):
        Omniglot()
    (tmp_path / "other").mkdir()
    with pytest.raises(DataNotFound, match="holds no images_background"):
        Omniglot(str(tmp_path / "other"))
    with pytest.raises(BadConfig, match=r"data\.split_by=drawer: type one of alphabet, character"):
        Omniglot(str(small), split_by="drawer")
    (small / "images_background_small1" / "Korean" / "character99").mkdir()
    with pytest.raises(DataNotFound, match="folders without a drawing: images_background_small1/Korean/character99"):
        Omniglot(str(small))


@pytest.mark.data
def test_real_small_sets() -> None:
    data = Omniglot(test_fraction=1)
    items = data.gallery()
    assert len(items) == 4_840
    assert items.labels is not None
    assert Counter(Counter(items.labels.tolist()).values()) == {20: 242}
    assert len(alphabets(items.keys)) == 8
    assert items.read(0)["image"].shape == (105, 105, 3)
    halves = Omniglot()
    assert len(alphabets(halves.gallery().keys)) == 4
    assert len(halves.train()) + len(halves.validation()) + len(halves.gallery()) == 4_840
