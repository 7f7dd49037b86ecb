"""The files that a table of the user's own lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from retrieval_bench.data._checks import Problems, need_path, need_root
from retrieval_bench.data._files import FileTable, check_files, check_paths
from retrieval_bench.data._table import BOX, LAYOUT, VIDEO_LAYOUT, Rows, read_csv, read_parquet
from retrieval_bench.errors import CorruptInput, DataNotFound

if TYPE_CHECKING:
    from retrieval_bench.media.clip import Clip

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".pq": read_parquet,
}


def file_table(table: str | None, root: str | None, clip: Clip | None = None) -> tuple[FileTable, str]:
    """The files, and how the table parts them.

    Args:
        table: .csv or .parquet; relative to the current directory.
        root: folder that the paths count from; none: the table's own.
        clip: what is read of videos; none: the files are images.

    Raises:
        DataNotFound: no table, or files that it names are missing (counted, all named).
        CorruptInput: all that is wrong with the table in one error.
    """
    path = Path(need_path("table", table) or "")
    layout = LAYOUT if clip is None else VIDEO_LAYOUT
    problems = Problems(path)
    columns = _read(path, layout)
    rows = Rows(columns, problems, layout)
    folder = need_root(root, "that the table's paths count from") if root else path.parent
    paths, parts, boxes = rows.paths(), rows.parts(), rows.boxes() if clip is None else None
    labels, label_names = rows.labels()
    named = [name for name in paths if name]
    cropped = [name for name in BOX if clip is not None and name in columns.columns]
    if cropped:
        problems.add(f"it has {', '.join(cropped)} of a box, which videos are not cropped to; remove these columns")
    check_paths(named, problems)
    check_files(folder, named, problems)
    problems.raise_any()
    made = FileTable(folder, paths, parts, labels, rows.groups(), boxes, label_names, clip)
    return made, f"column {rows.role.value}"


def _read(path: Path, layout: str) -> pd.DataFrame:
    if path == Path():
        raise DataNotFound(f"data.table is not set; type data.table=FILE, {layout}")
    if not path.is_file():
        raise DataNotFound(f"data.table={path} is not a file (looked in {Path.cwd()}); type data.table=FILE, {layout}")
    if path.suffix.lower() not in READERS:
        raise CorruptInput(
            f"{path}: a {path.suffix or 'file without suffix'} is not a table; type data.table=FILE, {layout}"
        )
    return READERS[path.suffix.lower()](path)
