"""Images listed in a CSV or Parquet table, with labels, parts, groups and boxes of your own."""

from __future__ import annotations

from retrieval_bench.data._checks import need_whole
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._tabled import file_table


class ImageTable(FileDataset):
    """One row an image. Under `split` each test image is searched among the others; `role` says who is searched for.

    Columns: `path`; `label` (text or number; equal = relevant); `split` or `role`; `group` (instance, camera, source:
    gallery images of the query's group are ignored; blank: a group of its own); `x1, y1, x2, y2` (pixels to crop to,
    from 0, right and bottom exclusive, after EXIF rotation; blank: the whole image).

    Args:
        table: .csv or .parquet; relative to the current directory.
        root: folder that the paths count from; none: the table's own.
        image_size: side in pixels if all images are squares of this size and should not be resized by the encoder.

    Raises:
        DataNotFound: no table, or files that it names are missing (counted, all named).
        CorruptInput: a missing column, an unknown split or role, a blank path or label, a path twice, an empty box;
            all that is wrong with the table in one error.
        BadConfig: an image_size that is no size.
    """

    name = "image_table"

    def __init__(self, table: str | None = None, root: str | None = None, image_size: int | None = None) -> None:
        need_whole("image_size", image_size, 1, 10_000, "they are resized as the encoder needs it")
        files, split = file_table(table, root)
        super().__init__(files, split, "none" if files.boxes is None else "boxes of the table", image_size)
