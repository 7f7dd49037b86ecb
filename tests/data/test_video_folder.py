"""A folder of videos: what is one, how it is read, and which are of one source. The layouts: test_image_folder.py."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from retrieval_bench.data._kinds import VIDEO
from retrieval_bench.data.video_folder import VideoFolder
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound
from retrieval_bench.media.clip import Clip
from retrieval_bench.media.flow import Flow, FlowMethod
from retrieval_bench.media.sampling import SegmentSampling

Write = Callable[..., Path]


def test_an_item_is_what_the_clip_reads(tmp_path: Path, write_video: Write, clip: Clip) -> None:
    root = tmp_path / "root"
    paths = [
        write_video(root / name, frames=6) for name in ("query/a/0.avi", "gallery/a/deep/1.mp4", "gallery/b/2.MKV")
    ]
    data = VideoFolder(clip, str(root))
    assert data.inputs == ("rgb",)
    assert list(data.queries().keys) == ["query/a/0.avi"]
    assert list(data.gallery().keys) == ["gallery/a/deep/1.mp4", "gallery/b/2.MKV"]
    with av.open(str(paths[1])) as container:
        frames = [frame.to_ndarray(format="rgb24", width=16, height=12) for frame in container.decode(video=0)]
    item = data.gallery().read(0)
    assert item.keys() == {"rgb"}
    assert item["rgb"].shape == (3, 12, 16, 3) and item["rgb"].dtype == np.uint8
    # The middle frames of three parts of six; resizing may differ by a rounding between ways to ask for it.
    np.testing.assert_allclose(item["rgb"].astype(int), np.stack([frames[i] for i in (1, 3, 5)]), atol=2)


def test_protocol(touch_tree: Write, clip: Clip) -> None:
    root = touch_tree(["query/a/0.avi", "gallery/a/1.avi", "gallery/a/notes.txt"])
    assert VideoFolder(clip, str(root)).protocol == {
        "split": "folders gallery, query",
        "self": "none",
        "group": "none",
        "clip": clip.describe(),
        "sizes": {"query": 1, "gallery": 1},
        "other_files": 1,
        "sources": None,
    }
    classes = VideoFolder(clip, str(touch_tree([f"{name}/0.avi" for name in "abcd"], root.parent / "classes")))
    assert classes.protocol["self"] == "each test video is searched among the others; itself ignored by id"
    assert classes.protocol["sizes"] == {"train": 2, "test": 2}


def test_the_clip_is_part_of_the_fingerprint(touch_tree: Write, clip: Clip) -> None:
    root = str(touch_tree(["a/0.avi", "b/0.avi"]))
    assert VideoFolder(clip, root).gallery().fingerprint == VideoFolder(clip, root).gallery().fingerprint
    for other in (
        Clip(SegmentSampling(4), 16, 12, None, None),
        Clip(SegmentSampling(3), 17, 12, None, None),
        Clip(SegmentSampling(3), 16, 12, Flow(FlowMethod.DIS, 2), None),
    ):
        assert VideoFolder(other, root).gallery().fingerprint != VideoFolder(clip, root).gallery().fingerprint
    elsewhere = Clip(SegmentSampling(3), 16, 12, None, "a cache")
    assert VideoFolder(elsewhere, root).gallery().fingerprint == VideoFolder(clip, root).gallery().fingerprint


def test_items_go_to_another_process(tmp_path: Path, write_video: Write) -> None:
    write_video(tmp_path / "root" / "0.avi")
    items = VideoFolder(Clip(SegmentSampling(3), 16, 12, None, str(tmp_path)), str(tmp_path / "root")).gallery()
    before = items.read(0)["rgb"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(items)).read(0)["rgb"], before)


def test_flow_is_an_input(touch_tree: Write) -> None:
    root = touch_tree(["0.avi"])
    data = VideoFolder(Clip(SegmentSampling(3), 16, 12, Flow(FlowMethod.DIS, 2), None), str(root))
    assert data.inputs == ("rgb", "flow")
    assert VideoFolder.inputs == ("image",)  # of the object, not of the class: another clip, other inputs


def test_which_files_are_videos(touch_tree: Write, clip: Clip) -> None:
    told = VideoFolder.__doc__ or ""
    assert set(re.findall(r"\.[a-z0-9]+(?=,| or| *;|;)", told.partition("Videos are files")[2])) == VIDEO.suffixes
    names = [f"{i:02}{suffix}" for i, suffix in enumerate(sorted(VIDEO.suffixes))]
    others = ["x.jpg", "x.srt", "x.GIF", "x", ".hidden.avi"]
    data = VideoFolder(clip, str(touch_tree([f"a/{name}" for name in [*names, *others]])), test_fraction=1)
    assert list(data.gallery().keys) == [f"a/{name}" for name in names]
    assert data.left_out == [
        ("a/x", "not a video: no suffix"),
        ("a/x.GIF", ".gif is not read; convert it to MP4"),
        ("a/x.jpg", "not a video: .jpg"),
        ("a/x.srt", "not a video: .srt"),
    ]
    assert data.hidden_files == 1


def test_what_cannot_be_read_is_an_item_that_says_why(tmp_path: Path, write_video: Write, clip: Clip) -> None:
    write_video(tmp_path / "root" / "sound.mp4", frames=6)
    (tmp_path / "root" / "empty.mp4").touch()
    (tmp_path / "root" / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "root" / "gone.mp4").symlink_to("nowhere")
    write_video(tmp_path / "root" / "one.avi", frames=1)
    data = VideoFolder(clip, str(tmp_path / "root"))
    items = data.gallery()
    assert list(items.keys) == ["empty.mp4", "gone.mp4", "one.avi", "sound.mp4", "text.mp4"]
    reasons = {
        0: r"^the file is empty \(0 bytes\)$",
        1: r"^cannot be opened: No such file or directory$",
        4: r"^not a video in a known format .* its first bytes are b'not a video",
    }
    for row, reason in reasons.items():
        with pytest.raises(CorruptInput, match=reason):
            items.read(row)
    one = items.read(2)["rgb"]
    assert one.shape == (3, 12, 16, 3) and (one == one[0]).all()
    assert items.read(3)["rgb"].shape == (3, 12, 16, 3)
    assert len(items.fingerprint) == 32  # of what is there, and of the reason where nothing is


def test_sources_are_told_by_the_file_name_within_a_class(touch_tree: Write, clip: Clip) -> None:
    paths = ["v_a_g01_c01.avi", "v_a_g01_c02.avi", "v_a_g02_c01.avi", "other.avi", "another.avi"]
    root = touch_tree([*(f"a/{path}" for path in paths), "b/v_b_g01_c01.avi"])
    data = VideoFolder(clip, str(root), group=r"_g(\d+)_", test_fraction=1)
    items = data.gallery()
    assert items.groups is not None
    groups = dict(zip((key.rpartition("/")[2] for key in items.keys), items.groups.tolist(), strict=True))
    assert groups["v_a_g01_c01.avi"] == groups["v_a_g01_c02.avi"]
    assert len(set(groups.values())) == 5, "g01 of b is another source; each that does not match is alone"
    truth = data.truth()
    assert truth is not None and truth.query_groups is items.groups
    assert data.protocol["group"] == "gallery items of the query's group are ignored"
    assert data.protocol["sources"] == {
        "expression": r"_g(\d+)_",
        "number": 3,
        "videos_of_none": 2,
        "in_training_and_test": 0,
    }


def test_a_source_in_training_and_test_is_counted(touch_tree: Write, clip: Clip) -> None:
    root = touch_tree(["train/a/x_g1_1.avi", "train/a/x_g2_1.avi", "test/a/x_g1_2.avi", "test/a/x_g3_1.avi"])
    data = VideoFolder(clip, str(root), group=r"_(g\d+)_")
    assert data.protocol["sources"]["in_training_and_test"] == 1


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("_g(\\d+", r"data\.group=_g\(\\d\+ is no regular expression \(missing \), .*null: no groups"),
        ("_g\\d+_", r"has no parentheses around what names the source; type 'data\.group="),
        ("_h(\\d+)_", r"matches none of the 1 names of videos, such as 'v_g01_\.avi'; mend it"),
    ],
)
def test_bad_groups(touch_tree: Write, clip: Clip, group: str, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        VideoFolder(clip, str(touch_tree(["a/v_g01_.avi"])), group=group)


def test_refusals_speak_of_videos(touch_tree: Write, tmp_path: Path, clip: Clip) -> None:
    with pytest.raises(
        DataNotFound, match=r"data\.root is not set; type data\.root=FOLDER, which holds <class>/<video>"
    ):
        VideoFolder(clip)
    with pytest.raises(DataNotFound, match=r"data\.root=.*nowhere is not a folder"):
        VideoFolder(clip, str(tmp_path / "nowhere"))
    root = touch_tree(["full/0.avi", "frames/0.jpg"])
    with pytest.raises(
        DataNotFound, match=r"1 class folders hold no video: frames \(only \.jpg\); remove them, or put videos in"
    ):
        VideoFolder(clip, str(root))
    with pytest.raises(DataNotFound, match=r"it holds no videos; type data\.root=FOLDER, .*\.avi, .*\.webm"):
        VideoFolder(clip, str(touch_tree(["a.jpg"], tmp_path / "other")))
    with pytest.raises(CorruptInput, match=r"1 videos lie beside its folders: loose\.avi"):
        VideoFolder(clip, str(touch_tree(["a/0.avi", "loose.avi"], tmp_path / "mixed")))
    with pytest.raises(BadConfig, match=r"data\.test_fraction=2"):
        VideoFolder(clip, str(root), test_fraction=2)
