"""The four layouts of a folder of images, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval_bench.data.image_folder import ImageFolder
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound

Write = Callable[..., Path]


def classes(keys: object) -> set[str]:
    return {key.split("/")[-2] for key in keys}


def test_class_folders_are_split_class_disjointly(write_tree: Write) -> None:
    root = write_tree({f"c{i:02}": 3 for i in range(20)})
    data = ImageFolder(str(root), test_fraction=0.5, validation_fraction=0.2)
    parts = [classes(items.keys) for items in (data.train(), data.validation(), data.gallery())]
    assert [len(part) for part in parts] == [8, 2, 10]
    assert len(set.union(*parts)) == 20
    assert len(data.gallery()) == 30
    assert data.queries() is data.gallery()
    assert data.protocol["sizes"] == {"train": 24, "validation": 6, "test": 30}
    assert classes(ImageFolder(str(root), seed=1).gallery().keys) != parts[2]


def test_names_of_labels_and_truth(write_tree: Write) -> None:
    data = ImageFolder(str(write_tree({"cat": 2, "dog": 1, "emu/young": 2})), test_fraction=1)
    items = data.gallery()
    assert list(items.keys) == ["cat/00.png", "cat/01.png", "dog/00.png", "emu/young/00.png", "emu/young/01.png"]
    assert items.labels is not None
    assert [items.label_names[label] for label in items.labels.tolist()] == ["cat", "cat", "dog", "emu", "emu"]
    truth = data.truth()
    assert truth is not None
    assert truth.gallery_labels is not None
    assert truth.gallery_labels.tolist() == [0, 0, 1, 2, 2]
    assert len(data.train()) == 0


def test_train_and_test_folders_are_taken_as_they_are(write_tree: Write) -> None:
    tree = {f"train/c{i:02}": 2 for i in range(10)} | {"test/x": 3, "test/c00": 1}
    data = ImageFolder(str(write_tree(tree)), validation_fraction=0.2)
    assert classes(data.gallery().keys) == {"x", "c00"}
    assert len(classes(data.train().keys)) == 8
    assert len(classes(data.validation().keys)) == 2
    assert not classes(data.train().keys) & classes(data.validation().keys)
    given = ImageFolder(str(write_tree({"validation/v": 2})), validation_fraction=0.2)
    assert classes(given.validation().keys) == {"v"}
    assert len(classes(given.train().keys)) == 10


def test_query_and_gallery_folders(write_tree: Write) -> None:
    data = ImageFolder(str(write_tree({"query/a": 1, "query/only": 1, "gallery/a": 2, "gallery/b": 2})))
    assert data.queries() is not data.gallery()
    assert [len(data.queries()), len(data.gallery()), len(data.train())] == [2, 4, 0]
    truth = data.truth()
    assert truth is not None
    assert truth.query_labels is not None
    assert truth.gallery_labels is not None
    # One name space of labels; the class that the gallery lacks is allowed and has nothing relevant.
    relevant = [(truth.gallery_labels == label).sum() for label in truth.query_labels]
    assert relevant == [2, 0]
    assert data.protocol["self"] == "none"


def test_a_flat_folder_has_no_labels(write_tree: Write) -> None:
    data = ImageFolder(str(write_tree({".": 3})))
    assert len(data.gallery()) == 3
    assert data.gallery().labels is None
    assert data.truth() is None
    assert data.train() is data.gallery()


def test_other_files_are_counted_and_hidden_ones_ignored(write_tree: Write) -> None:
    root = write_tree({"a": 2, "b": 2, ".cache": 1})
    (root / "a" / "notes.txt").write_text("x")
    (root / "a" / ".DS_Store").write_text("x")
    data = ImageFolder(str(root), test_fraction=1)
    assert len(data.gallery()) == 4
    assert data.protocol["other_files"] == 1


def test_empty_class_folders_are_named(write_tree: Write) -> None:
    root = write_tree({"full": 1, "empty": 0, "text": 0})
    (root / "text" / "a.txt").write_text("x")
    with pytest.raises(DataNotFound, match=r"2 class folders hold no image: empty, text \(only \.txt\); remove them"):
        ImageFolder(str(root))
    with pytest.raises(DataNotFound, match=r"1 class folders hold no image: query/c"):
        ImageFolder(str(write_tree({"query/c": 0, "gallery/c": 1}, root.parent / "other")))


def test_missing_and_empty_roots(tmp_path: Path) -> None:
    with pytest.raises(
        DataNotFound, match=r"data\.root is not set; type data\.root=FOLDER, which holds <class>/<image>"
    ):
        ImageFolder()
    with pytest.raises(DataNotFound, match=r"data\.root=.*nowhere is not a folder"):
        ImageFolder(str(tmp_path / "nowhere"))
    with pytest.raises(DataNotFound, match="holds no images"):
        ImageFolder(str(tmp_path))


def test_mixed_layouts_are_refused(write_tree: Write, write_image: Write) -> None:
    root = write_tree({"a": 1})
    write_image(root / "loose.png")
    with pytest.raises(CorruptInput, match=r"1 images lie beside its folders: loose\.png"):
        ImageFolder(str(root))
    other = write_tree({"query/c": 1, "gallery/c": 1, "cats": 1}, root.parent / "other")
    with pytest.raises(CorruptInput, match="holds cats beside gallery and query"):
        ImageFolder(str(other))
    flat = write_tree({"train": 1, "test/c": 1}, root.parent / "flat")
    with pytest.raises(CorruptInput, match=r"train must hold class folders only; train/00\.png"):
        ImageFolder(str(flat))


def test_one_class_and_bad_fraction(write_tree: Write) -> None:
    root = write_tree({"only": 2})
    assert len(ImageFolder(str(root)).gallery()) == 2
    with pytest.raises(BadConfig, match=r"data\.test_fraction=2"):
        ImageFolder(str(root), test_fraction=2)
