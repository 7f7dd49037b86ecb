"""Videos listed in a CSV or Parquet table, with labels, parts and groups of your own."""

from __future__ import annotations

from typing import Any

from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import torn
from retrieval_bench.data._tabled import file_table
from retrieval_bench.media.clip import Clip


class VideoTable(FileDataset):
    """One row a video. Under `split` each test video is searched among the others; `role` says who is searched for.

    Columns: `path`; `label` (text or number; equal = relevant); `split` or `role`; `group` (source: gallery videos of
    the query's group are ignored; blank: a group of its own). There are no boxes, as `image_table` has them.

    Args:
        clip: what is read of a video.
        table: .csv or .parquet; relative to the current directory.
        root: folder that the paths count from; none: the table's own.

    Raises:
        DataNotFound: no table, or files that it names are missing (counted, all named).
        CorruptInput: a missing column, an unknown split or role, a blank path or label, a path twice, a box; all that
            is wrong with the table in one error.
    """

    name = "video_table"

    def __init__(self, clip: Clip, table: str | None = None, root: str | None = None) -> None:
        files, split = file_table(table, root, clip)
        super().__init__(files, split)
        self._grouped: dict[str, int] | None = None
        if files.groups is not None:
            groups = files.groups.tolist()
            self._grouped = {"number": len({*groups}), "in_training_and_test": torn(groups, files.parts)}

    @property
    def protocol(self) -> dict[str, Any]:
        """Also: how many groups there are (a blank one alone), and how many of them are in training and in test."""
        return super().protocol | {"sources": self._grouped}
