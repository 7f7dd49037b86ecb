"""The four layouts of a folder of images, and what is refused."""

from __future__ import annotations

import os
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


def test_what_is_no_image_is_told_with_its_reason(write_tree: Write) -> None:
    root = write_tree({"a": 2, "b/deep": 1, ".cache": 1})
    for name in ("a/notes.txt", "a/IMG.HEIC", "b/deep/Thumbs.db", "b/README", "a/.DS_Store", "list.csv"):
        (root / name).write_text("x")
    data = ImageFolder(str(root), test_fraction=1)
    assert data.left_out == [
        ("list.csv", "not an image: .csv"),
        ("a/IMG.HEIC", ".heic is not read; convert it to JPEG or PNG"),
        ("a/notes.txt", "not an image: .txt"),
        ("b/README", "not an image: no suffix"),
        ("b/deep/Thumbs.db", "not an image: .db"),
    ]
    assert data.hidden_files == 2
    assert data.protocol["other_files"] == 5
    assert len(data.gallery()) == 3


def test_names_of_every_kind(write_tree: Write) -> None:
    names = ["Zürich ö", "two\nlines", "日本", "a,b", "[red]"]
    data = ImageFolder(str(write_tree(dict.fromkeys(names, 1))), test_fraction=1)
    items = data.gallery()
    assert items.labels is not None
    assert {items.label_names[label] for label in items.labels.tolist()} == set(names)
    assert {key.partition("/")[0] for key in items.keys} == set(names)
    assert items.read(0)["image"].shape == (10, 12, 3)


def test_names_that_are_no_text_are_refused(write_tree: Write) -> None:
    root = write_tree({"a": 1, "b": 1})
    (root / "b").rename(root / os.fsdecode(b"\xff"))
    with pytest.raises(CorruptInput, match=r"1 names are not UTF-8: '\\udcff'; rename them"):
        ImageFolder(str(root))


def test_links_and_pipes(write_tree: Write) -> None:
    root = write_tree({"a": 1})
    (root / "a" / "up").symlink_to(root)
    (root / "ring").symlink_to("ring")
    (root / "b").symlink_to(root / "a")
    (root / "a" / "broken.png").symlink_to("nowhere")
    os.mkfifo(root / "a" / "pipe.png")
    data = ImageFolder(str(root), test_fraction=1)
    assert list(data.gallery().keys) == ["a/00.png", "a/broken.png", "b/00.png", "b/broken.png"]
    with pytest.raises(CorruptInput, match=r"^cannot be opened: No such file or directory$"):
        data.gallery().read(1)
    assert dict(data.left_out) == {
        "ring": "a link that leads nowhere",
        "a/up": "a link to a folder; not followed within a class",
        "a/pipe.png": "not a file (a pipe, a socket or a device)",
        "b/up": "a link to a folder; not followed within a class",
        "b/pipe.png": "not a file (a pipe, a socket or a device)",
    }


def test_folders_that_cannot_be_opened_are_named(write_tree: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_tree({"a": 1, "b/deep": 1, "b": 1})
    listdir = os.listdir

    def refuse(path: Path) -> list[str]:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(CorruptInput, match=r"1 folders cannot be opened: b/deep \(Permission denied\); type chmod"):
        ImageFolder(str(root))


def test_a_file_that_cannot_be_opened_is_unreadable(write_tree: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ImageFolder(str(write_tree({"a": 2})), test_fraction=1)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(CorruptInput, match=r"^cannot be opened: Permission denied$"):
        data.gallery().read(0)


def test_all_that_is_wrong_is_told_at_once(write_tree: Write, write_image: Write) -> None:
    root = write_tree({"train/a": 1, "train": 1, "test/e": 0, "val/a": 1})
    write_image(root / "loose.png")
    with pytest.raises(CorruptInput) as caught:
        ImageFolder(str(root))
    head, *lines = str(caught.value).splitlines()
    assert head == f"{root}: 4 things are wrong:"
    assert [line.partition(";")[0] for line in lines] == [
        "  - 1 images lie beside its folders: loose.png",
        "  - it holds val beside test and train",
        "  - 1 class folders hold no image: test/e",
        "  - train must hold class folders only",
    ]


def test_half_a_split_does_not_become_classes(write_tree: Write, tmp_path: Path) -> None:
    with pytest.raises(CorruptInput, match=r"train, val hold class folders .* a split needs train and test"):
        ImageFolder(str(write_tree({"train/a": 1, "train/b": 1, "val/a": 1})))
    vehicles = ImageFolder(str(write_tree({"train": 1, "bus": 1}, tmp_path / "vehicles")))
    assert sorted(vehicles.gallery().label_names.values()) == ["bus", "train"]
