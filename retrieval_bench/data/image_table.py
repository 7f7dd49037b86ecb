"""Images listed in a CSV or Parquet table, with labels, parts, groups and boxes of your own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from retrieval_bench.data._checks import Problems, need_path, need_root, need_whole
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import FileTable, check_files, check_paths
from retrieval_bench.data._table import LAYOUT, Rows, read_csv, read_parquet
from retrieval_bench.errors import CorruptInput, DataNotFound

READERS = {".csv": read_csv, ".parquet": read_parquet, ".pq": read_parquet}


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
        DataNotFound: no table, or files that it names are missing (counted, the first named).
        CorruptInput: a missing column, an unknown split or role, a blank path or label, a path twice, an empty box;
            all that is wrong with the table in one error.
        BadConfig: an image_size that is no size.
    """

    name = "image_table"

    def __init__(self, table: str | None = None, root: str | None = None, image_size: int | None = None) -> None:
        need_whole("image_size", image_size, 1, 10_000, "they are resized as the encoder needs it")
        path = Path(need_path("table", table) or "")
        problems = Problems(path)
        rows = Rows(_read(path), problems)
        folder = need_root(root, "that the table's paths count from") if root else path.parent
        paths, parts, boxes = rows.paths(), rows.parts(), rows.boxes()
        labels, label_names = rows.labels()
        named = [name for name in paths if name]
        check_paths(named, problems)
        check_files(folder, named, problems)
        problems.raise_any()
        super().__init__(
            FileTable(folder, paths, parts, labels, rows.groups(), boxes, label_names),
            f"column {rows.role.value}",
            "none" if boxes is None else "boxes of the table",
            image_size,
        )


def _read(path: Path) -> pd.DataFrame:
    if path == Path():
        raise DataNotFound(f"data.table is not set; type data.table=FILE, {LAYOUT}")
    if not path.is_file():
        raise DataNotFound(f"data.table={path} is not a file (looked in {Path.cwd()}); type data.table=FILE, {LAYOUT}")
    if path.suffix.lower() not in READERS:
        raise CorruptInput(
            f"{path}: a {path.suffix or 'file without suffix'} is not a table; type data.table=FILE, {LAYOUT}"
        )
    return READERS[path.suffix.lower()](path)
