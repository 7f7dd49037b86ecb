"""HMDB51 on fakes in the official layout: its split files, its odd names, and what a source is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retrieval_bench.data import hmdb51
from retrieval_bench.data.hmdb51 import Hmdb51, source
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound
from retrieval_bench.media.clip import Clip

Write = Callable[..., Path]
TAGS = "f_cm_np1_ba_med"
OFFICIAL = (hmdb51.CLASSES, hmdb51.CLIPS, hmdb51.SIZES)  # before the fixture below replaces them
FILMS = ["#20_Rhythm", "(Rad)Schlag_die_Bank!", "Film;_One", "April 09", "[Clip]_a+b&c", "Two"]


def rows(label: str) -> list[tuple[str, int]]:
    """(name, part): of each film two clips; the first four are trained on, then a test film and an unused one."""
    parts = (1, 1, 1, 1, 2, 0)
    return [(f"{film}_{label}_{TAGS}_{i}", part) for film, part in zip(FILMS, parts, strict=True) for i in (0, 1)]


@pytest.fixture
def root(touch_tree: Write) -> Path:
    return build(touch_tree)


def build(touch_tree: Write, pattern: str = "hmdb51_org/{label}/{name}.avi", **place: Path) -> Path:
    labels = ("wave", "sword", "sword_exercise")
    root = touch_tree([pattern.format(label=i, name=name) for i in labels for name, _ in rows(i)], **place)
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir()
    for label in labels:
        text = "".join(f"{name}.avi {part} \n" for name, part in rows(label))  # a blank at the end, as in the release
        (lists / f"{label}_test_split1.txt").write_text(text)
    return root


@pytest.fixture(autouse=True)
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the fake: three classes of eight and two clips, two more unused."""
    monkeypatch.setattr(hmdb51, "SIZES", (8, 2))
    monkeypatch.setattr(hmdb51, "CLASSES", 3)
    monkeypatch.setattr(hmdb51, "CLIPS", 36)


def films(items: Any) -> set[str]:
    return {Path(key).name.rpartition(f"_{key.split('/')[-2]}_{TAGS}")[0] for key in items.keys}


def test_parts_and_labels(root: Path, clip: Clip) -> None:
    data = Hmdb51(clip, str(root))
    assert data.inputs == ("rgb",)
    assert films(data.queries()) == {FILMS[4]} and films(data.gallery()) == set(FILMS[:4])
    assert [len(data.queries()), len(data.gallery())] == [3 * 2, 3 * 8]
    assert data.gallery().label_names == {0: "sword", 1: "sword_exercise", 2: "wave"}
    for items in (data.queries(), data.gallery()):
        assert items.labels is not None
        assert [items.label_names[i] for i in items.labels.tolist()] == [key.split("/")[1] for key in items.keys]
    assert len(data.left_out) == 6
    assert data.left_out[0] == (f"hmdb51_org/sword/Two_sword_{TAGS}_0.avi", "in no part of the lists …_test_split1.txt")
    assert data.protocol == {
        "split": "official split 1; validation: 0.15 of the training sources, seed 0",
        "self": "none",
        "group": "none",
        "clip": clip.describe(),
        "sizes": {"train": 12, "validation": 12, "query": 6, "gallery": 24},
        "classes": "3 of 3",
        "trained_on": "the gallery without the validation sources: all classes",
        "sources": "by file names, an approximation; in training and test: 0",
    }


def test_a_film_is_one_source_in_all_classes(root: Path, clip: Clip) -> None:
    data = Hmdb51(clip, str(root))
    gallery = data.gallery()
    assert gallery.groups is not None
    assert len(set(gallery.groups.tolist())) == 4
    for row, key in enumerate(gallery.keys):
        same = [
            other for other, group in zip(gallery.keys, gallery.groups, strict=True) if group == gallery.groups[row]
        ]
        film = Path(key).name.partition(f"_{key.split('/')[-2]}_{TAGS}")[0]
        assert len(same) == 6 and all(Path(name).name.startswith(film) for name in same)
    assert not films(data.train()) & films(data.validation())
    assert films(data.train()) | films(data.validation()) == films(gallery)
    assert len(films(data.validation())) == 2
    truth = data.truth()
    assert truth is not None and truth.gallery_groups is None, "the official split drops nothing"


@pytest.mark.parametrize(
    ("label", "name", "expected"),
    [
        ("brush_hair", "April_09_brush_hair_u_nm_np1_ba_goo_0", "april_09"),
        ("cartwheel", "(Rad)Schlag_die_Bank!_cartwheel_f_cm_np1_le_med_0", "(rad)schlag_die_bank!"),
        ("sword_exercise", "Blade_Of_Fury_-_Scene_1_sword_exercise_f_cm_np1_ri_med_3", "blade_of_fury_-_scene_1"),
        ("sword", "AHF_longsword_against_Rapier_sword_f_cm_np2_ri_bad_0", "ahf_longsword_against_rapier"),
        ("drink", "CastAway2_drink_u_cm_np1_le_goo_8", "castaway2"),
        ("drink", "CastAway2_eat_u_cm_np1_le_goo_8", "castaway2_eat_u_cm_np1_le_goo_8"),  # another class in its name
        ("drink", "my own clip", "my own clip"),
    ],
)
def test_source(label: str, name: str, expected: str) -> None:
    assert source(label, name) == expected


def test_sources_on_both_sides_are_counted_not_refused(root: Path, clip: Clip) -> None:
    for label in ("wave", "sword"):
        path = root / "testTrainMulti_7030_splits" / f"{label}_test_split1.txt"
        text = path.read_text()
        a, b = (f"{FILMS[i]}_{label}_{TAGS}_0.avi {part}" for i, part in ((3, 1), (4, 2)))
        path.write_text(text.replace(a, a[:-1] + "2").replace(b, b[:-1] + "1"))
    data = Hmdb51(clip, str(root))
    assert data.protocol["sources"] == "by file names, an approximation; in training and test: 2"
    assert [len(data.queries()), len(data.gallery())] == [6, 24]


@pytest.mark.parametrize("pattern", ["{label}/{name}.mp4", "videos/{name}.avi", "hmdb51/{label}/x/{name}.avi"])
def test_layouts_and_formats(root: Path, touch_tree: Write, tmp_path: Path, clip: Clip, pattern: str) -> None:
    official, other = Hmdb51(clip, str(root)), Hmdb51(clip, str(build(touch_tree, pattern, root=tmp_path / "other")))
    for ours, theirs in ((official.gallery(), other.gallery()), (official.queries(), other.queries())):
        assert [Path(key).stem for key in ours.keys] == [Path(key).stem for key in theirs.keys]
        assert ours.labels is not None and theirs.labels is not None
        assert ours.labels.tolist() == theirs.labels.tolist()


def test_line_ends(root: Path, clip: Clip) -> None:
    before = Hmdb51(clip, str(root)).gallery().fingerprint
    for path in (root / "testTrainMulti_7030_splits").iterdir():
        path.write_bytes(path.read_text().replace(" \n", "\r\n").encode())
    assert Hmdb51(clip, str(root)).gallery().fingerprint == before


def test_missing_clips_are_one_error(root: Path, clip: Clip) -> None:
    gone = [name for name, part in rows("wave") if part][:-1]  # nine; an unused one may be missing
    for name in [*gone, rows("wave")[-1][0], rows("sword")[0][0]]:
        next((root / "hmdb51_org").glob(f"*/{name.replace('[', '[[]')}.avi")).unlink()
    with pytest.raises(DataNotFound) as caught:
        Hmdb51(clip, str(root))
    named = "".join(f"\n    {name}" for name in [f"sword/{rows('sword')[0][0]}", *(f"wave/{name}" for name in gone)])
    assert str(caught.value) == (
        f"{root}: 10 of the 30 clips of the lists …_test_split1.txt are not in {root}/hmdb51_org:{named}\n    put"
        " them there, or remove all clips of their classes"
    )


def test_some_classes_only(root: Path, clip: Clip) -> None:
    for path in (root / "hmdb51_org" / "wave").iterdir():
        path.unlink()
    (root / "hmdb51_org" / "wave").rmdir()
    data = Hmdb51(clip, str(root))
    assert data.protocol["classes"] == "2 of 3"
    assert data.gallery().label_names == {0: "sword", 1: "sword_exercise"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" 2 \n", " 3 \n", r"2 parts in wave_test_split1\.txt are not 0, 1 or 2: \[Clip\]_a\+b&c_wave_f_.*_0\.avi 3,"),
        ("0.avi 2 \n", "0.avi\n", r"1 lines of wave_test_split1\.txt have not the 2 cells clip, part: line 9"),
        ("c_wave_f_cm_np1_ba_med_1", "c_wave_f_cm_np1_ba_med_0", r"1 clips stand twice in the lists: wave \[clip\]_a"),
        ("avi 2 \n", "avi 1 \n", r"1 classes have not 8 training and 2 test clips: wave \(10 and 0\)"),
    ],
)  # fmt: skip
def test_damaged_lists(root: Path, clip: Clip, old: str, new: str, message: str) -> None:
    path = root / "testTrainMulti_7030_splits" / "wave_test_split1.txt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(CorruptInput, match=message):
        Hmdb51(clip, str(root))


def test_sizes_are_checked(root: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hmdb51, "CLIPS", 6_766)
    with pytest.raises(
        CorruptInput, match="its lists name 36 clips; those of the release name 6,766; get the whole set"
    ):
        Hmdb51(clip, str(root))
    assert len(Hmdb51(clip, str(root), check_sizes=False).gallery()) == 24
    (root / "hmdb51_org" / "wave" / "more.avi").touch()
    with pytest.raises(CorruptInput, match=r"1 videos are in no list: hmdb51_org/wave/more\.avi; remove them, get"):
        Hmdb51(clip, str(root))


def test_official_sizes() -> None:
    classes, clips, (train, test) = OFFICIAL
    assert (clips, classes * train, classes * test) == (6_766, 3_570, 1_530)


def test_where_to_get_it(tmp_path: Path, touch_tree: Write, clip: Clip) -> None:
    told = r"hmdb51_org\.rar .*https://serre-lab\.clps\.brown\.edu/.*unrar x .*7z x.*CC BY 4\.0.*check before use$"
    with pytest.raises(DataNotFound, match=rf"data\.root is not set; type data\.root=FOLDER, .*{told}"):
        Hmdb51(clip)
    root = touch_tree(["hmdb51_org.rar", "test_train_splits.rar"])
    with pytest.raises(
        DataNotFound,
        match=rf"lacks \*_test_split2\.txt \(hmdb51_org\.rar, test_train_splits\.rar must be unpacked .*{told}",
    ):
        Hmdb51(clip, str(root), split=2)


@pytest.mark.parametrize(
    ("given", "message"), [({"split": 0}, r"data\.split=0"), ({"validation_fraction": -1}, "share")]
)
def test_bad_parameters(clip: Clip, given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        Hmdb51(clip, **given)
