"""The class-disjoint protocol on fakes in the official binary layout."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from retrieval_bench.data import cifar100
from retrieval_bench.data.cifar100 import Cifar100
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound

CLASSES = {"train": [5, 69, 70, 79, 80, 99, 5], "test": [80, 0, 75]}


def write_cifar(release: Path) -> dict[str, np.ndarray]:
    """Returns the pixels of each file: uint8 [n, 3, 32, 32]."""
    release.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = {}
    for file, classes in CLASSES.items():
        pixels[file] = rng.integers(0, 256, (len(classes), 3, 32, 32), np.uint8)
        heads = np.array([[label // 5, label] for label in classes], np.uint8)
        (release / f"{file}.bin").write_bytes(np.hstack([heads, pixels[file].reshape(len(classes), -1)]).tobytes())
    (release / "fine_label_names.txt").write_text("\n".join(f"kind_of_{i}" for i in range(100)) + "\n\n")
    return pixels


@pytest.fixture
def pixels(tmp_path: Path) -> dict[str, np.ndarray]:
    return write_cifar(tmp_path / "cifar-100-binary")


@pytest.fixture
def root(tmp_path: Path, pixels: dict[str, np.ndarray]) -> Path:
    """A folder that holds the release."""
    return tmp_path


def labels(items: object) -> list[int]:
    return items.labels.tolist()


def test_classes_of_both_files_decide_the_parts(root: Path) -> None:
    data = Cifar100(str(root), check_sizes=False)
    assert labels(data.train()) == [5, 69, 5, 0]
    assert labels(data.validation()) == [70, 79, 75]
    assert labels(data.gallery()) == [80, 99, 80]
    assert list(data.gallery().keys) == ["train/00004", "train/00005", "test/00000"]
    assert data.queries() is data.gallery()
    assert data.gallery().label_names[99] == "kind of 99"
    assert data.image_size == 32
    assert data.protocol["sizes"] == {"train": 4, "validation": 3, "test": 3}
    assert data.protocol["split"] == "classes 80–99 test, 70–79 validation, rest train; both official files"
    assert len(Cifar100(str(root), validation_classes=0, check_sizes=False).validation()) == 0


def test_pixels_are_planes_of_red_green_and_blue(root: Path, pixels: dict[str, np.ndarray]) -> None:
    data = Cifar100(str(root), check_sizes=False)
    for items in (data.train(), data.validation(), data.gallery()):
        for row, key in enumerate(items.keys):
            file, place = key.split("/")
            image = items.read(row)["image"]
            np.testing.assert_array_equal(image, np.moveaxis(pixels[file][int(place)], 0, -1))
            assert image.flags.c_contiguous and image.flags.writeable


def test_the_release_itself_may_be_the_root(root: Path) -> None:
    outer, inner = (Cifar100(str(place), check_sizes=False) for place in (root, root / "cifar-100-binary"))
    assert outer.train().fingerprint == inner.train().fingerprint


def test_fingerprint_sees_one_byte_of_its_own_part(root: Path) -> None:
    before = Cifar100(str(root), check_sizes=False)
    train, test = before.train().fingerprint, before.gallery().fingerprint
    path = root / "cifar-100-binary" / "train.bin"
    content = bytearray(path.read_bytes())
    content[3074 - 1] ^= 1
    path.write_bytes(content)
    after = Cifar100(str(root), check_sizes=False)
    assert after.train().fingerprint != train
    assert after.gallery().fingerprint == test


def test_items_go_to_another_process(root: Path) -> None:
    items = Cifar100(str(root), check_sizes=False).train()
    copy = pickle.loads(pickle.dumps(items))
    np.testing.assert_array_equal(copy.read(2)["image"], items.read(2)["image"])
    assert copy.fingerprint == items.fingerprint


def test_a_file_that_shrinks_or_goes_makes_unreadable_items(root: Path) -> None:
    items = Cifar100(str(root), check_sizes=False).gallery()
    path = root / "cifar-100-binary" / "train.bin"
    path.write_bytes(path.read_bytes()[: 5 * 3074])
    assert items.read(0)["image"].shape == (32, 32, 3)
    with pytest.raises(CorruptInput, match=r"^train\.bin ends before this image$"):
        items.read(1)
    path.unlink()
    with pytest.raises(CorruptInput, match=r"train\.bin cannot be opened"):
        items.read(0)
    assert items.fingerprint


def test_sizes_are_checked(root: Path) -> None:
    with pytest.raises(
        CorruptInput,
        match=r"it has 7 images in train\.bin and 3 in test\.bin, and 100 classes without 600 images: 0 \(1\), 1 \(0\)"
        r".*; the release has 50,000 and 10,000, 600 of each class; get the whole set",
    ):
        Cifar100(str(root))


def test_the_sizes_of_the_release_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar100, "SIZES", {"train": 200, "test": 100})
    heads = np.array([[label // 5, label] for label in range(100)], np.uint8)
    records = np.hstack([heads, np.zeros((100, 3072), np.uint8)]).tobytes()
    (tmp_path / "train.bin").write_bytes(records * 2)
    (tmp_path / "test.bin").write_bytes(records)
    data = Cifar100(str(tmp_path))
    assert data.protocol["sizes"] == {"train": 210, "validation": 30, "test": 60}
    assert data.gallery().label_names == {}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound, match=r"data\.root is not set.*data\.download=true to fetch it \(169 MB\)"):
        Cifar100()
    (tmp_path / "train.bin").touch()
    with pytest.raises(DataNotFound, match=r"lacks test\.bin; type data\.root=FOLDER"):
        Cifar100(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], r"test\.bin has 9,221 bytes; images of 3,074 bytes each are needed"),
        (lambda content: b"", r"test\.bin has 0 bytes"),
        (
            lambda content: content[:1] + b"\x64" + content[2:],
            r"1 images of test\.bin have a class that does not exist",
        ),
        (lambda content: b"\x14" + content[1:], r"coarse up to 20, fine up to 80; the last are 19 and 99"),
    ],
)
def test_damaged_files(root: Path, change: object, message: str) -> None:
    path = root / "cifar-100-binary" / "test.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CorruptInput, match=message):
        Cifar100(str(root), check_sizes=False)


def test_names_of_another_number(root: Path) -> None:
    (root / "cifar-100-binary" / "fine_label_names.txt").write_text("apple\nbear\n")
    with pytest.raises(CorruptInput, match=r"fine_label_names\.txt has 2 names; 100 are needed"):
        Cifar100(str(root), check_sizes=False)


@pytest.mark.parametrize("count", [-1, 80])
def test_validation_classes(count: int) -> None:
    with pytest.raises(BadConfig, match="type a whole number from 0 to 79"):
        Cifar100(validation_classes=count)
