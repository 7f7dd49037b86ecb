"""What holds of every data set in `conf/data`, on fakes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from retrieval_bench.cli import CONF
from retrieval_bench.data.base import Dataset
from retrieval_bench.media.clip import Clip
from retrieval_bench.media.sampling import SegmentSampling

Write = Callable[..., Path]
VECTORS = "vectors"  # brings no items, and so no parts to train on
CLOSED = {"ucf101", "hmdb51"}  # all classes on both sides, and the gallery is trained on: their sources are disjoint
NAMES = sorted(file.stem for file in (CONF / "data").glob("*.yaml") if file.stem != VECTORS)


def _cars(root: Path, image: Write) -> dict[str, Any]:
    rows = [(image(root / "c" / f"{label}.png").relative_to(root).as_posix(), label) for label in (1, 84, 85, 98, 99)]
    table = pd.DataFrame(rows, columns=["path", "class_id"]).assign(official_split="train", class_name="a car")
    table.to_csv(root / "labels.csv", index=False)
    return {"root": str(root), "check_sizes": False}


def _cifar(root: Path, image: Write) -> dict[str, Any]:
    del image
    (root / "cifar-100-binary").mkdir()
    for file, labels in (("train", [5, 69, 70, 79, 80, 99]), ("test", [0, 75, 80])):
        heads = np.array([[label // 5, label] for label in labels], np.uint8)
        pixels = np.zeros((len(labels), 3 * 32 * 32), np.uint8)
        (root / "cifar-100-binary" / f"{file}.bin").write_bytes(np.hstack([heads, pixels]).tobytes())
    names = "\n".join(f"kind_{i}" for i in range(100))
    (root / "cifar-100-binary" / "fine_label_names.txt").write_text(names + "\n")
    return {"root": str(root), "check_sizes": False}


def _cub(root: Path, image: Write) -> dict[str, Any]:
    release = root / "CUB_200_2011"
    names = {label: f"{label:03}.A_Bird/A_Bird_{label:04}.png" for label in (1, 85, 86, 100, 101, 200)}
    for name in names.values():
        image(release / "images" / name)
    (release / "images.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(names.values(), 1)))
    (release / "image_class_labels.txt").write_text("".join(f"{i} {label}\n" for i, label in enumerate(names, 1)))
    (release / "bounding_boxes.txt").write_text("".join(f"{i} 0.0 0.0 5.0 5.0\n" for i in range(1, len(names) + 1)))
    return {"root": str(root), "check_sizes": False}


def _inshop(root: Path, image: Write) -> dict[str, Any]:
    rows = [(f"img/A/B/id_{i:08}/0{n}_1_front.jpg", f"id_{i:08}", "train") for i in range(1, 11) for n in (1, 2)]
    test = [(f"img/A/B/id_{i:08}/0{n}_1_front.jpg", f"id_{i:08}", n) for i in (11, 12) for n in ("query", "gallery")]
    rows += [(path.replace("0query", "01").replace("0gallery", "02"), item, str(part)) for path, item, part in test]
    for path, _, _ in rows:
        image(root / "Img" / path)
    (root / "Eval").mkdir()
    lines = [str(len(rows)), "image_name item_id evaluation_status", *(" ".join(row) for row in rows)]
    (root / "Eval" / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return {"root": str(root), "validation_fraction": 0.3, "check_sizes": False}


def _omniglot(root: Path, image: Write) -> dict[str, Any]:
    for alphabet in range(6):
        for number in range(3):
            name = f"{3 * alphabet + number + 1:04}_01.png"
            image(root / "images_background" / f"A{alphabet}" / f"character0{number + 1}" / name, (105, 105), "1")
    return {"root": str(root), "validation_fraction": 0.4}


def _sop(root: Path, image: Write) -> dict[str, Any]:
    release = root / "Stanford_Online_Products"
    for file, classes in (("Ebay_train.txt", range(1, 11)), ("Ebay_test.txt", range(11, 14))):
        lines = ["image_id class_id super_class_id path"]
        lines += [f"{label} {label} 1 mug_final/{label}_0.JPG" for label in classes]
        for label in classes:
            image(release / f"mug_final/{label}_0.JPG")
        (release / file).write_text("\n".join(lines) + "\n")
    (release / "Ebay_info.txt").write_text("image_id class_id super_class_id path\n")
    return {"root": str(root), "validation_fraction": 0.3, "check_sizes": False}


def _folder(root: Path, image: Write) -> dict[str, Any]:
    for name in "abcdefgh":
        image(root / name / "0.png")
    return {"root": str(root), "validation_fraction": 0.5}


def _table(root: Path, image: Write) -> dict[str, Any]:
    rows = [(part[0], part) for part in ("train", "validation", "query", "gallery")]
    rows = [("q" if label == "g" else label, part) for label, part in rows]
    table = pd.DataFrame(rows, columns=["label", "role"]).assign(path=[f"{i}.png" for i in range(len(rows))])
    for path in table["path"]:
        image(root / path)
    table.to_csv(root / "table.csv", index=False)
    return {"table": str(root / "table.csv")}


def _glyphs(root: Path, image: Write) -> dict[str, Any]:
    del image
    return {"cache": str(root), "image_size": 32, "n_classes": 20}


def _copies(root: Path, image: Write) -> dict[str, Any]:
    del image
    return {"cache": str(root), "image_size": 32, "tile": 128, "n_gallery": 500, "variants": 1}


def _clip() -> Clip:
    return Clip(SegmentSampling(2), None, None, None, None)


def _motions(root: Path, image: Write) -> dict[str, Any]:
    del image
    return {"clip": _clip(), "cache": str(root), "image_size": 32, "frames": 8, "train_clips": 1, "test_clips": 1}


def _moments(root: Path, image: Write) -> dict[str, Any]:
    del image
    counts = {"n_videos": 1, "train_videos": 1, "validation_videos": 1}
    return {"clip": _clip(), "cache": str(root), "image_size": 32, "rate": 2.0, **counts}


def _digits(root: Path, image: Write) -> dict[str, Any]:
    del root, image
    return {}


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _clip() -> Clip:
    return Clip(SegmentSampling(3), 16, 12, None, None)


def _video_folder(root: Path, image: Write) -> dict[str, Any]:
    del image
    _touch(*(root / name / "0.avi" for name in "abcdefgh"))
    return {"clip": _clip(), "root": str(root), "validation_fraction": 0.5}


def _video_table(root: Path, image: Write) -> dict[str, Any]:
    return {"clip": _clip(), **_table(root, image)}  # nothing is decoded here


def _ucf(root: Path, image: Write) -> dict[str, Any]:
    del image
    names = {
        part: [f"v_YoYo_g{group:02}_c01" for group in groups]
        for part, groups in (("train", range(8, 12)), ("test", [1, 2]))
    }
    _touch(*(root / "UCF-101" / "YoYo" / f"{name}.avi" for part in names.values() for name in part))
    (root / "ucfTrainTestlist").mkdir()
    for part, number in (("train", " 101"), ("test", "")):
        text = "".join(f"YoYo/{name}.avi{number}\n" for name in names[part])
        (root / "ucfTrainTestlist" / f"{part}list01.txt").write_text(text)
    return {"clip": _clip(), "root": str(root)}


def _hmdb(root: Path, image: Write) -> dict[str, Any]:
    del image
    names = {f"film{i}_wave_f_cm_np1_ba_med_0.avi": part for i, part in enumerate((1, 1, 1, 1, 2, 2))}
    _touch(*(root / "hmdb51_org" / "wave" / name for name in names))
    (root / "splits").mkdir()
    text = "".join(f"{name} {part} \n" for name, part in names.items())
    (root / "splits" / "wave_test_split1.txt").write_text(text)
    return {"clip": _clip(), "root": str(root), "check_sizes": False}


FAKES: dict[str, Callable[[Path, Write], dict[str, Any]]] = {
    "cars196": _cars, "cifar100": _cifar, "cub200": _cub, "inshop": _inshop, "omniglot": _omniglot, "sop": _sop,
    "image_folder": _folder, "image_table": _table, "glyphs": _glyphs, "copies": _copies, "digits": _digits,
    "video_folder": _video_folder, "video_table": _video_table, "ucf101": _ucf, "hmdb51": _hmdb,
    "motions": _motions, "moments": _moments,
}  # fmt: skip


def fake(name: str, root: Path, image: Write) -> Dataset:
    node = yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text())
    module, _, kind = node["_target_"].rpartition(".")
    made = getattr(importlib.import_module(module), kind)(**FAKES[name](root, image))
    assert isinstance(made, Dataset)
    return made


SAME_CLASSES = {"motions"}  # their parts differ in what the classes are shown on: the groups


@pytest.mark.parametrize("name", [name for name in NAMES if name not in CLOSED])
def test_labels_are_one_name_space_and_no_class_stands_in_two_parts(
    name: str, tmp_path: Path, write_image: Write
) -> None:
    """Every shipped data set documents its parts as disjoint: in classes, or else in sources."""
    data = fake(name, tmp_path, write_image)
    labels = {}
    for part, items in {"train": data.train(), "validation": data.validation(), "test": data.gallery()}.items():
        assert len(items) > 0, f"the fake has no {part} items, and would show nothing"
        if items.labels is None:
            assert (name, part) in {("copies", "test"), ("moments", "test")}, "relevant are lists, not labels"
            continue
        assert items.labels.dtype == np.int64 and items.labels.min() >= 0 and items.labels.max() < 2**31
        kept = items.groups if name in SAME_CLASSES else items.labels
        assert kept is not None
        labels[part] = set(kept.tolist())
    assert {"train", "validation"} <= set(labels)
    assert len(set.union(*labels.values())) == sum(map(len, labels.values())), "parts share a class"


@pytest.mark.parametrize("name", sorted(CLOSED))
def test_closed_sets_of_classes_have_no_source_in_two_parts(name: str, tmp_path: Path, write_image: Write) -> None:
    data = fake(name, tmp_path, write_image)
    parts = {"train": data.train(), "validation": data.validation(), "test": data.queries()}
    groups = []
    for part, items in parts.items():
        assert len(items) > 0, f"the fake has no {part} items, and would show nothing"
        assert items.labels is not None and items.groups is not None
        assert set(items.labels.tolist()) == set(data.gallery().labels.tolist())
        groups.append(set(items.groups.tolist()))
    assert len(set.union(*groups)) == sum(map(len, groups)), "parts share a source"
    assert {*data.train().ids.tolist(), *data.validation().ids.tolist()} == set(data.gallery().ids.tolist())


@pytest.mark.parametrize("name", sorted({"video_folder", "video_table"} | CLOSED))
def test_a_clip_says_what_a_video_is(name: str, tmp_path: Path, write_image: Write) -> None:
    data = fake(name, tmp_path, write_image)
    assert data.inputs == ("rgb",)
    assert data.protocol["clip"] == _clip().describe()
    assert data.clip is not None and data.clip.describe() == _clip().describe()
