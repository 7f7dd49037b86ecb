"""A table of videos: what differs from a table of images (test_image_table.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval_bench.data.video_table import VideoTable
from retrieval_bench.errors import CorruptInput, DataNotFound
from retrieval_bench.media.clip import Clip

Write = Callable[..., Path]
ROWS = "path,label,split,group\nv/0.avi,a,train,\nv/1.avi,b,test,x\nv/2.avi,b,test,x\nv/3.avi,b,test,\n"


def write(root: Path, text: str) -> str:
    (root / "table.csv").write_text(text)
    return str(root / "table.csv")


@pytest.fixture
def root(touch_tree: Write) -> Path:
    return touch_tree([f"v/{i}.avi" for i in range(4)])


def test_rows_are_videos(root: Path, write_video: Write, clip: Clip) -> None:
    write_video(root / "v" / "2.avi")
    data = VideoTable(clip, write(root, ROWS))
    items = data.gallery()
    assert data.inputs == ("rgb",)
    assert list(items.keys) == ["v/1.avi", "v/2.avi", "v/3.avi"]
    assert data.queries() is items and items.groups is not None
    assert items.groups[0] == items.groups[1] != items.groups[2]
    assert items.read(1)["rgb"].shape == (3, 12, 16, 3)
    with pytest.raises(CorruptInput):
        items.read(0)
    assert data.protocol == {
        "split": "column split",
        "self": "each test video is searched among the others; itself ignored by id",
        "group": "gallery items of the query's group are ignored",
        "clip": clip.describe(),
        "sizes": {"train": 1, "test": 3},
        "sources": {"number": 3, "in_training_and_test": 0},
    }


def test_a_group_in_training_and_test_is_counted(root: Path, clip: Clip) -> None:
    """As of a folder; blank groups are none."""
    for first, torn in (("x", 1), ("", 0), ("y", 0)):
        data = VideoTable(clip, write(root, ROWS.replace("train,", f"train,{first}")))
        assert data.protocol["sources"]["in_training_and_test"] == torn
    roles = ROWS.replace("split", "role").replace("train,", "validation,x").replace("test", "gallery", 2)
    data = VideoTable(clip, write(root, roles.replace("test", "query")))
    assert data.protocol["sources"] == {"number": 2, "in_training_and_test": 1}
    ungrouped = "path,label,split\nv/0.avi,a,train\nv/1.avi,b,test\n"
    assert VideoTable(clip, write(root, ungrouped)).protocol["sources"] is None


def test_all_missing_videos_are_named(root: Path, clip: Clip) -> None:
    rows = "".join(f"w/{i}.avi,a,test,\n" for i in range(70))
    with pytest.raises(DataNotFound) as caught:
        VideoTable(clip, write(root, ROWS + rows))
    gone = "".join(f"\n    w/{i}.avi" for i in range(70))
    assert f": 70 of 74 files are not in {root}:{gone}\n    put them there, or type" in str(caught.value)
    with pytest.raises(DataNotFound, match=r"70 of 70 .*\n    w/0\.avi(\n.*){50}…\n    put them there"):
        VideoTable(clip, write(root, "path,label,split,group\n" + rows))


def test_root(root: Path, clip: Clip) -> None:
    table = write(root, ROWS.replace("v/", ""))
    assert len(VideoTable(clip, table, root=str(root / "v")).gallery()) == 3
    with pytest.raises(DataNotFound, match=r"4 of 4 files are not in .*: 0\.avi, 1\.avi, 2\.avi, 3\.avi; put them"):
        VideoTable(clip, table)


def test_boxes_are_refused_not_forgotten(root: Path, clip: Clip) -> None:
    text = "path,label,split,x1,y1,x2,y2\nv/0.avi,a,test,0,0,5,5\n"
    with pytest.raises(CorruptInput, match="it has x1, y1, x2, y2 of a box, which videos are not cropped to; remove"):
        VideoTable(clip, write(root, text))


def test_what_a_table_needs(root: Path, clip: Clip) -> None:
    with pytest.raises(DataNotFound, match=r"data\.table is not set; .* query, gallery\); optional: group$"):
        VideoTable(clip)
    with pytest.raises(CorruptInput, match=r"has no column label; it has path, split\. Needed: .*optional: group$"):
        VideoTable(clip, write(root, "path,split\nv/0.avi,test\n"))
