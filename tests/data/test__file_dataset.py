"""Parts of a table as a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import FileTable, Part

Write = Callable[..., Path]
NAMES = ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
LABELS = np.array([0, 0, 1, 1])


@pytest.fixture
def root(tmp_path: Path, write_image: Write) -> Path:
    for name in NAMES:
        write_image(tmp_path / name)
    return tmp_path


def test_leave_one_out_is_one_object(root: Path) -> None:
    table = FileTable(root, NAMES, [Part.TRAIN, Part.TEST, Part.TEST, Part.TEST], LABELS)
    data = FileDataset(table, "by hand", "boxes", 12)
    assert data.queries() is data.gallery() is data.gallery()
    assert len(data.validation()) == 0
    assert list(data.train().keys) == NAMES[:1]
    truth = data.truth()
    assert truth is not None
    assert truth.query_labels is not None
    assert truth.query_labels.tolist() == [0, 1, 1]
    assert data.protocol == {
        "split": "by hand",
        "self": "each test image is searched among the others; itself ignored by id",
        "group": "none",
        "crop": "boxes",
        "image_size": 12,
        "sizes": {"train": 1, "test": 3},
    }


def test_queries_and_gallery_with_groups(root: Path) -> None:
    parts = [Part.QUERY, Part.GALLERY, Part.QUERY, Part.GALLERY]
    data = FileDataset(FileTable(root, NAMES, parts, LABELS, groups=np.array([5, 6, 7, 7])), "given")
    assert list(data.queries().keys) == NAMES[::2]
    assert list(data.gallery().keys) == NAMES[1::2]
    truth = data.truth()
    assert truth is not None
    assert truth.query_groups is not None
    assert truth.query_groups.tolist() == [5, 7]
    assert data.protocol["self"] == "none"
    assert data.protocol["group"] == "gallery items of the query's group are ignored"


def test_without_labels_all_is_gallery_and_training(root: Path) -> None:
    data = FileDataset(FileTable(root, NAMES, [Part.TEST] * 4), "none")
    assert data.train() is data.gallery()
    assert data.truth() is None
    assert len(data.validation()) == 0


def test_a_gallery_of_several_parts(root: Path) -> None:
    parts = [Part.TRAIN, Part.QUERY, Part.VALIDATION, Part.TRAIN]
    searched = (Part.TRAIN, Part.VALIDATION)
    data = FileDataset(FileTable(root, NAMES, parts, LABELS), "given", searched=searched)
    assert list(data.queries().keys) == [NAMES[1]]
    assert list(data.gallery().keys) == [NAMES[0], NAMES[2], NAMES[3]]
    assert list(data.train().keys) == [NAMES[0], NAMES[3]]
    assert list(data.validation().keys) == [NAMES[2]]
    assert data.gallery() is data.gallery() is not data.train()
    assert data.protocol["sizes"] == {"train": 2, "validation": 1, "query": 1, "gallery": 3}
    parts[2] = Part.TRAIN
    whole = FileDataset(FileTable(root, NAMES, parts, LABELS), "given", searched=searched)
    assert whole.train() is whole.gallery()
    assert whole.validation() is not whole.train() and len(whole.validation()) == 0
