"""What `data check` says of a data set."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from retrieval_bench._data_check import SHOWN, Checked, check_data
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import FileTable, Part
from retrieval_bench.data.image_folder import ImageFolder
from retrieval_bench.data.vectors import Vectors
from retrieval_bench.experiment import silent


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(path)


def printed(found: Checked) -> list[str]:
    console = Console(width=500)
    with console.capture() as captured:
        console.print(found)
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("query/a/0.png", "query/a/1.png", "query/lost/2.png", "gallery/a/3.png", "gallery/b/4.png"):
        draw(tmp_path / name)
    return tmp_path


def test_a_sound_folder(root: Path) -> None:
    found = check_data(ImageFolder(str(root)), silent)
    assert found.wrong == 0
    assert printed(found)[1:] == [
        "train: 0 items",
        "validation: 0 items",
        "queries: 3 items, 2 classes of 1–2",
        "gallery: 2 items, 2 classes of 1–1",
        "queries with nothing relevant in the gallery: 1 (classes lost); left out of the means",
        "unreadable: 0",
    ]


def test_what_cannot_be_read_and_what_is_left_out(root: Path) -> None:
    (root / "query/a/0.png").write_bytes(b"")
    (root / "gallery/b/two\nlines.txt").touch()
    (root / "gallery/b/.hidden").touch()
    for i in range(SHOWN + 5):
        (root / f"gallery/b/{i:02}.heic").touch()
    found = check_data(ImageFolder(str(root)), silent)
    assert found.wrong == 1
    lines = printed(found)[6:]
    assert lines[:4] == [
        "unreadable: 1",
        "  query/a/0.png: the file is empty (0 bytes)",
        f"left out, for they are no items: {SHOWN + 6}",
        "  gallery/b/00.heic: .heic is not read; convert it to JPEG or PNG",
    ]
    assert lines[-2:] == ["  … and 6 more", "hidden names (.…), not looked at: 1"]


def test_names_stay_on_one_line(root: Path) -> None:
    (root / "gallery/b/two\nlines.txt").touch()
    assert "  'gallery/b/two\\nlines.txt': not an image: .txt" in printed(check_data(ImageFolder(str(root)), silent))


def test_one_set_is_read_once(tmp_path: Path) -> None:
    draw(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"x")
    seen = []
    found = check_data(ImageFolder(str(tmp_path)), lambda task, done, total: seen.append((task, done, total)))
    assert seen == [("read train", 1, 2), ("read train", 2, 2)]
    assert found.wrong == 1
    assert {"queries: the same items as train", "gallery: the same items as train"} <= set(printed(found))


class Searched(FileDataset):
    """A gallery that is trained on."""

    name = "searched"


def test_an_item_of_two_parts_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{i}.png" for i in range(4)]
    for name in names[:3]:
        draw(tmp_path / name)
    (tmp_path / names[3]).touch()
    parts = [Part.QUERY, Part.TRAIN, Part.VALIDATION, Part.TRAIN]
    table = FileTable(tmp_path, names, parts, np.zeros(4, np.int64))
    read, rows = FileTable.read, list[int]()
    monkeypatch.setattr(FileTable, "read", lambda self, row: (rows.append(row), read(self, row))[1])
    found = check_data(Searched(table, "by hand", searched=(Part.TRAIN, Part.VALIDATION)), silent)
    assert sorted(rows) == [0, 1, 2, 3]
    assert found.wrong == 1
    assert {"train: 2 items, 1 classes of 2–2", "gallery: 3 items, 1 classes of 3–3"} <= set(printed(found))


def test_vectors_are_read(tmp_path: Path) -> None:
    vectors = np.ones((4, 3), np.float32)
    vectors[2] = 0
    np.save(tmp_path / "g.npy", vectors)
    found = check_data(Vectors("g.npy", root=str(tmp_path)), silent)
    assert found.wrong == 0
    lines = printed(found)
    assert lines[1:3] == ["train: the gallery's", "queries: the gallery's"]
    assert lines[3] == "gallery: 4 × 3 float32"
    assert lines[4].startswith("  zero vectors have no direction, so no cosine: rows [2]")
    vectors[1, 0] = np.nan
    np.save(tmp_path / "q.npy", vectors)
    found = check_data(Vectors("g.npy", "q.npy", root=str(tmp_path)), silent)
    assert found.wrong == 1
    assert any(line.startswith("  NaN or infinite values") for line in printed(found))
