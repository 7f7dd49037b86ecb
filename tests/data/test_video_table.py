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
    }


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
