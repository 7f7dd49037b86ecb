"""Both protocols of UCF101 on fakes in the official layout, the traps of its lists; the real clips of six classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from retrieval_bench.data import ucf101
from retrieval_bench.data.ucf101 import Ucf101
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound
from retrieval_bench.media.clip import Clip

Write = Callable[..., Path]
# class → (folder, number); the official set writes one of them in two ways
CLASSES = {
    "Archery": ("Archery", 3),
    "HandStandPushups": ("HandstandPushups", 37),
    "Mixing": ("Mixing", 54),
    "YoYo": ("YoYo", 101),
}
GROUPS = {"train": (8, 9, 10, 11), "test": (1, 2)}
PER_GROUP = 2


def names(part: str, label: str) -> list[str]:
    return [f"v_{label}_g{group:02}_c{i:02}" for group in GROUPS[part] for i in range(1, PER_GROUP + 1)]


def listing(part: str, folders: Mapping[str, tuple[str, int]] = CLASSES) -> str:
    """A split list: with the class's number for training, without for test."""
    lines = [
        f"{folder}/{name}.avi" + (f" {number}" if part == "train" else "")
        for label, (folder, number) in folders.items()
        for name in names(part, label)
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture
def root(touch_tree: Write) -> Path:
    return build(touch_tree)


def build(touch_tree: Write, pattern: str = "UCF-101/{folder}/{name}.avi", **place: Path) -> Path:
    """Clips in a layout, and the lists of split 1 in the official one."""
    paths = [
        pattern.format(folder=folder, name=name)
        for label, (folder, _) in CLASSES.items()
        for part in GROUPS
        for name in names(part, label)
    ]
    root = touch_tree(paths, **place)
    (root / "ucfTrainTestlist").mkdir()
    for part in GROUPS:
        (root / "ucfTrainTestlist" / f"{part}list01.txt").write_text(listing(part))
    lines = "".join(f"{number} {folder}\n" for folder, number in CLASSES.values())
    (root / "ucfTrainTestlist" / "classInd.txt").write_text(lines)
    return root


def change(root: Path, file: str, edit: Callable[[str], str]) -> None:
    path = root / "ucfTrainTestlist" / file
    before = path.read_text()
    assert edit(before) != before
    path.write_text(edit(before))


def sources(items: Any) -> set[str]:
    return {key.rpartition("/")[2].rpartition("_c")[0] for key in items.keys}


def test_test_clips_search_the_training_clips(root: Path, clip: Clip) -> None:
    data = Ucf101(clip, str(root))
    assert [len(part) for part in (data.queries(), data.gallery())] == [4 * 4, 4 * 8]
    assert sources(data.queries()) == {f"v_{label}_g0{group}" for label in CLASSES for group in (1, 2)}
    assert data.queries().labels is not None and data.gallery().labels is not None
    for items in (data.queries(), data.gallery(), data.train()):
        assert set(items.labels.tolist()) == {3, 37, 54, 101}
        assert items.label_names == {3: "Archery", 37: "HandstandPushups", 54: "Mixing", 101: "YoYo"}
    assert data.gallery().keys[0] == "UCF-101/Archery/v_Archery_g08_c01.avi"
    assert data.inputs == ("rgb",)
    truth = data.truth()
    assert truth is not None and truth.query_groups is data.queries().groups
    assert data.left_out == [] and data.hidden_files == 0


def test_validation_is_of_whole_sources_that_stay_in_the_gallery(root: Path, clip: Clip) -> None:
    data = Ucf101(clip, str(root), validation_fraction=0.5)
    train, validation, gallery = sources(data.train()), sources(data.validation()), sources(data.gallery())
    assert Counter(source.split("_")[1] for source in validation) == dict.fromkeys(CLASSES, 2)
    assert not train & validation and train | validation == gallery
    assert {*data.train().ids.tolist(), *data.validation().ids.tolist()} == {*data.gallery().ids.tolist()}
    assert data.protocol["sizes"] == {"train": 16, "validation": 16, "query": 16, "gallery": 32}
    assert sources(Ucf101(clip, str(root), validation_fraction=0.5, seed=1).validation()) != validation
    few = Ucf101(clip, str(root), validation_fraction=0.01)
    assert len(sources(few.validation())) == 2 * 4, "two sources of a class, so that each finds another"
    most = Ucf101(clip, str(root), validation_fraction=1)
    assert len(sources(most.train())) == 4, "the last source of a class is trained on"


def test_without_validation_the_gallery_is_what_is_trained_on(root: Path, clip: Clip) -> None:
    data = Ucf101(clip, str(root), validation_fraction=0)
    assert data.train() is data.gallery()
    assert len(data.validation()) == 0
    assert data.protocol["sizes"] == {"train": 32, "query": 16, "gallery": 32}


def test_the_choice_of_sources_does_not_hang_on_the_other_classes(root: Path, touch_tree: Write, clip: Clip) -> None:
    whole = sources(Ucf101(clip, str(root)).validation())
    for folder, _ in list(CLASSES.values())[:2]:
        for path in (root / "UCF-101" / folder).iterdir():
            path.unlink()
        (root / "UCF-101" / folder).rmdir()
    part = Ucf101(clip, str(root))
    assert sources(part.validation()) == {source for source in whole if source.split("_")[1] in ("Mixing", "YoYo")}
    assert part.protocol["classes"] == "2 of 101"


def test_protocol_of_a_split(root: Path, clip: Clip) -> None:
    assert Ucf101(clip, str(root)).protocol == {
        "split": "official split 1; validation: 0.15 of the training sources, seed 0",
        "self": "none",
        "group": "gallery items of the query's group are ignored",
        "clip": clip.describe(),
        "sizes": {"train": 16, "validation": 16, "query": 16, "gallery": 32},
        "classes": "4 of 101",
        "trained_on": "the gallery without the validation sources: all classes, no source of a query",
        "sources": "class and gNN; checked: none is both trained on and tested",
    }


def test_classes_that_are_never_trained_on(root: Path, clip: Clip) -> None:
    data = Ucf101(clip, str(root), protocol="classes", validation_classes=15)
    assert data.queries() is data.gallery()
    parts = (data.train(), data.validation(), data.gallery())
    assert [sorted(set(items.labels.tolist())) for items in parts] == [[3], [37], [54, 101]]
    assert [len(items) for items in parts] == [12, 12, 24]
    groups = data.gallery().groups
    assert groups is not None and sorted(Counter(groups.tolist()).values()) == [PER_GROUP] * 12
    truth = data.truth()
    assert truth is not None and truth.query_groups is groups
    said = data.protocol
    assert said["split"] == "classes 52–101 test, 37–51 validation, rest train"
    assert said["self"] == "each test video is searched among the others; itself ignored by id"
    assert said["trained_on"] == "other classes than those of queries and gallery"
    assert said["sizes"] == {"train": 12, "validation": 12, "test": 24}
    none = Ucf101(clip, str(root), protocol="classes", validation_classes=0)
    assert none.protocol["split"] == "classes 52–101 test, none validation, rest train"
    assert len(none.train()) == 24


def test_classes_need_some_to_test(root: Path, clip: Clip) -> None:
    for part in GROUPS:
        some = {label: CLASSES[label] for label in ("Archery", "HandStandPushups")}
        (root / "ucfTrainTestlist" / f"{part}list01.txt").write_text(listing(part, some))
    with pytest.raises(DataNotFound, match=r"none of the classes 52–101, .* type data\.protocol=split, or data\.root="):
        Ucf101(clip, str(root), protocol="classes", check_sizes=False)


@pytest.mark.parametrize(
    "pattern",
    [
        "UCF-101/{folder}/{name}.mp4",
        "videos/{folder}/{name}.avi",
        "UCF-101/{name}.avi",
        "{folder}/{name}.webm",
        "{name}.avi",
        "UCF101/deep/{folder}/{name}.avi",
    ],
)
def test_layouts_and_formats(root: Path, touch_tree: Write, tmp_path: Path, clip: Clip, pattern: str) -> None:
    official, other = Ucf101(clip, str(root)), Ucf101(clip, str(build(touch_tree, pattern, root=tmp_path / "other")))
    for ours, theirs in ((official.gallery(), other.gallery()), (official.queries(), other.queries())):
        assert [Path(key).stem for key in ours.keys] == [Path(key).stem for key in theirs.keys]
        assert ours.labels is not None and theirs.labels is not None
        assert ours.labels.tolist() == theirs.labels.tolist()
    assert sources(official.validation()) == sources(other.validation())
    assert other.left_out == []


def test_the_folder_may_be_named_by_the_environment(
    touch_tree: Write, tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(touch_tree, root=tmp_path / "data" / "ucf101")
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(tmp_path / "data"))
    assert len(Ucf101(clip).queries()) == 16


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n\n"])
def test_line_ends_make_no_difference(root: Path, clip: Clip, end: str) -> None:
    before = Ucf101(clip, str(root))
    for path in (root / "ucfTrainTestlist").iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_text().replace("\n", end).rstrip().encode())
    after = Ucf101(clip, str(root))
    assert list(after.gallery().keys) == list(before.gallery().keys)
    assert after.queries().fingerprint == before.queries().fingerprint


def test_case_of_lists_folders_and_files_makes_no_difference(root: Path, clip: Clip) -> None:
    change(root, "trainlist01.txt", lambda text: text.replace("HandstandPushups/", "HandStandPushups/"))
    change(root, "testlist01.txt", lambda text: text.replace("v_HandStand", "v_Handstand"))
    data = Ucf101(clip, str(root))
    assert data.gallery().label_names[37] == "HandstandPushups"
    assert [len(data.queries()), len(data.gallery())] == [16, 32]


def test_class_numbers_may_come_from_the_training_list_alone(root: Path, clip: Clip) -> None:
    (root / "ucfTrainTestlist" / "classInd.txt").unlink()
    data = Ucf101(clip, str(root))
    assert data.queries().label_names == {3: "Archery", 37: "HandStandPushups", 54: "Mixing", 101: "YoYo"}


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("trainlist01.txt", ".avi 3\n", ".avi 0\n", r"outside 1 … 101: 0; the release counts from 1"),
        ("trainlist01.txt", ".avi 101\n", ".avi 102\n", r"outside 1 … 101: 102;"),
        ("trainlist01.txt", "c01.avi 54\n", "c01.avi 55\n", r"1 classes have two numbers: Mixing 54, Mixing 55; get"),
        ("trainlist01.txt", ".avi 54\n", ".avi 3\n", r"1 numbers are of two classes: Archery 3, Mixing 3;"),
        ("trainlist01.txt", ".avi 54\n", ".avi x\n", r"are no whole numbers: x"),
        ("trainlist01.txt", ".avi 3\n", ".avi\n", r"8 lines of trainlist01\.txt have not the 2 cells clip, class_id"),
        ("testlist01.txt", "g02_c02.avi", "g02_c02.avi 3", r"4 lines of testlist01\.txt have not the 1 cells clip"),
        ("testlist01.txt", "v_YoYo_g02_c02", "v_YoYo_g02", r"1 clips of .* are not called v_<class>_gNN_cNN: YoYo/v_"),
        ("testlist01.txt", "v_YoYo_g02_c02", "v_YoYo_g02_c01", r"1 clips stand twice in .*: v_yoyo_g02_c01"),
        ("testlist01.txt", "v_YoYo_g02", "v_YoYo_g08", r"1 source videos \(class and gNN\) are in trainlist01\.txt"),
        ("classInd.txt", "54 Mixing", "Mixing 54", r"are no whole numbers: Mixing"),
    ],
)  # fmt: skip
def test_damaged_lists(root: Path, clip: Clip, file: str, old: str, new: str, message: str) -> None:
    change(root, file, lambda text: text.replace(old, new))
    if file == "trainlist01.txt":
        (root / "ucfTrainTestlist" / "classInd.txt").unlink()
    with pytest.raises(CorruptInput, match=message):
        Ucf101(clip, str(root))


def test_a_class_without_a_number(root: Path, clip: Clip) -> None:
    (root / "ucfTrainTestlist" / "classInd.txt").unlink()
    change(root, "trainlist01.txt", lambda text: "".join(x for x in text.splitlines(True) if "YoYo" not in x))
    with pytest.raises(CorruptInput, match=r"1 classes of testlist01\.txt have no number in .*: YoYo"):
        Ucf101(clip, str(root))


def test_missing_clips_are_one_error(root: Path, clip: Clip) -> None:
    gone = [*names("train", "Archery")[:6], *names("train", "Mixing")[2:], *names("test", "YoYo")[1:]]
    folders = {label: folder for label, (folder, _) in CLASSES.items()}
    for name in gone:
        (root / "UCF-101" / folders[name.split("_")[1]] / f"{name}.avi").unlink()
    with pytest.raises(DataNotFound) as caught:
        Ucf101(clip, str(root))
    named = "".join(f"\n    {name.split('_')[1]}/{name}" for name in gone)
    assert str(caught.value) == (
        f"{root}: 15 of the 48 clips of trainlist01.txt and testlist01.txt are not in {root}/UCF-101:{named}\n    put"
        " them there, or remove all clips of their classes"
    )


def test_a_folder_without_videos(root: Path, clip: Clip) -> None:
    for path in (root / "UCF-101" / "YoYo").iterdir():
        path.rename(path.with_suffix(".part"))
    with pytest.raises(DataNotFound, match=r"1 class folders hold no video: UCF-101/YoYo \(only \.part\); remove"):
        Ucf101(clip, str(root))


def test_videos_that_no_list_names(root: Path, touch_tree: Write, clip: Clip) -> None:
    touch_tree(["UCF-101/YoYo/v_YoYo_g03_c01.avi", "UCF-101/YoYo/copy/v_YoYo_g01_c01.mp4", "UCF-101/.x"], root=root)
    with pytest.raises(
        CorruptInput, match=r"1 videos are in no list: UCF-101/YoYo/v_YoYo_g03_c01\.avi; remove them, get"
    ):
        Ucf101(clip, str(root))


def test_left_out_and_hidden(root: Path, touch_tree: Write, clip: Clip) -> None:
    touch_tree(["UCF-101/YoYo/v_YoYo_g03_c01.avi", "UCF-101/YoYo/notes.txt", "UCF-101/.x"], root=root)
    data = Ucf101(clip, str(root), check_sizes=False)
    assert data.left_out == [
        ("UCF-101/YoYo/notes.txt", "not a video: .txt"),
        ("UCF-101/YoYo/v_YoYo_g03_c01.avi", "not in trainlist01.txt and testlist01.txt"),
    ]
    assert data.hidden_files == 1
    assert [len(data.queries()), len(data.gallery())] == [16, 32]


def test_a_clip_twice(root: Path, touch_tree: Write, clip: Clip) -> None:
    touch_tree(["UCF-101/YoYo/v_YoYo_g01_c01.mp4"], root=root)
    with pytest.raises(CorruptInput, match=r"1 clips are there more than once: UCF-101/YoYo/v_YoYo_g01_c01\.avi and"):
        Ucf101(clip, str(root))
    (root / "UCF-101" / "YoYo" / "v_YoYo_g01_c01.mp4").unlink()
    touch_tree(["UCF-101/samples/v_YoYo_g01_c01.avi"], root=root)
    data = Ucf101(clip, str(root))
    assert data.left_out == [("UCF-101/samples/v_YoYo_g01_c01.avi", "another copy of a clip that is used")]


def test_sizes_are_checked_where_all_classes_are_there(root: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ucf101, "CLASSES", 4)
    with pytest.raises(
        CorruptInput,
        match="it has 32 training and 16 test clips of all classes; split 1 of the release has 9,537 and 3,783",
    ):
        Ucf101(clip, str(root))
    assert len(Ucf101(clip, str(root), check_sizes=False).gallery()) == 32
    monkeypatch.setattr(ucf101, "SIZES", {1: (32, 16)})
    assert len(Ucf101(clip, str(root)).gallery()) == 32


def test_where_to_get_it(tmp_path: Path, touch_tree: Write, clip: Clip) -> None:
    told = (
        r"UCF101\.rar \(6\.9 GB\).*https://www\.crcv\.ucf\.edu/data/UCF101\.php.*unrar x UCF101\.rar \(or 7z x .*check"
    )
    with pytest.raises(DataNotFound, match=rf"data\.root is not set; type data\.root=FOLDER, .*{told} before use$"):
        Ucf101(clip)
    with pytest.raises(DataNotFound, match=rf"nowhere is not a folder .*{told}"):
        Ucf101(clip, str(tmp_path / "nowhere"))
    root = touch_tree(["UCF101.rar", "ucfTrainTestlist/trainlist01.txt"])
    with pytest.raises(
        DataNotFound, match=rf"lacks testlist01\.txt \(UCF101\.rar must be unpacked first\); type .*{told}"
    ):
        Ucf101(clip, str(root))


def test_lists_without_videos(root: Path, clip: Clip) -> None:
    (root / "UCF-101").rename(root / "elsewhere")
    (root / "UCF-101").mkdir()
    (root / "UCF-101" / "UCF101.rar").touch()
    with pytest.raises(
        DataNotFound,
        match=r"none of the 48 clips of .* which holds 0 videos and 1 other files: UCF-101/UCF101\.rar; unpack",
    ):
        Ucf101(clip, str(root))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"protocol": "class"}, r"data\.protocol=class: type one of split, classes"),
        ({"split": 4}, r"data\.split=4: type a whole number from 1 to 3"),
        ({"split": "1"}, r"data\.split=1: type a whole number"),
        ({"validation_fraction": 1.5}, r"data\.validation_fraction=1\.5: type a share"),
        ({"validation_classes": 51}, r"data\.validation_classes=51: type a whole number from 0 to 50"),
    ],
)
def test_bad_parameters(clip: Clip, given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        Ucf101(clip, **given)


def test_official_sizes() -> None:
    assert {sum(sizes) for sizes in ucf101.SIZES.values()} == {13_320}
    assert ucf101.SIZES[1] == (9_537, 3_783)


@pytest.mark.data
@pytest.mark.parametrize(("split", "sizes"), [(1, (529, 202)), (2, (527, 204)), (3, (517, 214))])
def test_real_splits(clip: Clip, split: int, sizes: tuple[int, int]) -> None:
    data = Ucf101(clip, split=split)
    gallery, queries = data.gallery(), data.queries()
    assert (len(gallery), len(queries)) == sizes
    numbers = {
        "Archery": 3,
        "BasketballDunk": 9,
        "HorseRace": 41,
        "PlayingPiano": 64,
        "PlayingViolin": 67,
        "Surfing": 88,
    }
    assert gallery.label_names == {number: name for name, number in numbers.items()}
    for items in (gallery, queries):
        assert items.labels is not None
        assert items.labels.tolist() == [numbers[key.split("/")[-2]] for key in items.keys]
    assert not sources(gallery) & sources(queries)
    assert len(sources(gallery) | sources(queries)) == 150
    assert not sources(data.train()) & sources(data.validation())
    assert set(Counter(name.split("_")[1] for name in sources(data.validation())).values()) == {3}  # of 18
    assert data.left_out == []
    assert data.protocol["classes"] == "6 of 101"


@pytest.mark.data
def test_real_classes(clip: Clip) -> None:
    data = Ucf101(clip, protocol="classes", validation_classes=11)
    assert [len(items) for items in (data.train(), data.validation(), data.gallery())] == [276, 124, 331]
    assert data.gallery().groups is not None and len(set(data.gallery().groups.tolist())) == 75
    for row in (0, 330):
        assert data.gallery().read(row)["rgb"].shape == (3, 12, 16, 3)
