"""Images listed in a CSV or Parquet table, with labels, parts, groups and boxes of your own."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval_bench.data._files import FileTable, Part, Parts, label_codes, need_root, shorten
from retrieval_bench.data.base import Dataset, Items
from retrieval_bench.errors import CorruptInput, DataNotFound
from retrieval_bench.types import GroundTruth


class Column(StrEnum):
    """Columns that have a meaning; others are left alone."""

    PATH = "path"
    LABEL = "label"
    SPLIT = "split"
    ROLE = "role"
    GROUP = "group"


BOX = ("x1", "y1", "x2", "y2")
VALUES = {
    Column.SPLIT: (Part.TRAIN, Part.VALIDATION, Part.TEST),
    Column.ROLE: (Part.TRAIN, Part.VALIDATION, Part.QUERY, Part.GALLERY),
}
LAYOUT = (
    "a .csv or .parquet with columns path, label, and split (train, validation, test) or role (train, validation,"
    " query, gallery); optional: group, and a box x1, y1, x2, y2"
)


class ImageTable(Dataset):
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
        CorruptInput: a missing column, an unknown split or role, a blank path or label, a path twice, an empty box.
    """

    name = "image_table"

    def __init__(self, table: str | None = None, root: str | None = None, image_size: int | None = None) -> None:
        if table is None:
            raise DataNotFound(f"data.table is not set; type data.table=FILE, {LAYOUT}")
        path = Path(table)
        rows = _read(path)
        role = _check_columns(path, rows)
        codes, label_names = label_codes(_texts(path, rows, Column.LABEL))
        files = FileTable(
            need_root(root, "that the table's paths count from") if root else path.parent,
            [Path(os.path.normpath(name)).as_posix() for name in _texts(path, rows, Column.PATH)],
            _parts(path, rows, role),
            labels=codes,
            groups=_groups(rows),
            boxes=_boxes(path, rows),
            label_names=label_names,
        )
        files.check_files()
        self._parts, self._role = Parts(files), role
        self._check_parts(path)
        self.image_size = image_size

    def train(self) -> Items:
        """Rows of `train`."""
        return self._parts.items(Part.TRAIN)

    def validation(self) -> Items:
        """Rows of `validation`."""
        return self._parts.items(Part.VALIDATION)

    def queries(self) -> Items:
        """Rows of `query`, or of `test`: then the same object as the gallery."""
        return self._parts.queries()

    def gallery(self) -> Items:
        """Rows of `gallery`, or of `test`."""
        return self._parts.gallery()

    def truth(self) -> GroundTruth | None:
        """Equal label = relevant; the query itself, by id, and its group are ignored."""
        return self._parts.truth()

    @property
    def protocol(self) -> dict[str, Any]:
        """Split, crop, self and group rule, sizes."""
        one_set = self._parts.leave_one_out
        files = self._parts.table
        return {
            "split": f"column {self._role.value}",
            "self": "each test image is searched among the others; itself ignored by id" if one_set else "none",
            "group": "none" if files.groups is None else "gallery items of the query's group are ignored",
            "crop": "none" if files.boxes is None else "boxes of the table",
            "image_size": self.image_size,
            "sizes": self._parts.sizes(),
        }

    def _check_parts(self, path: Path) -> None:
        needed = (Part.TEST,) if self._role is Column.SPLIT else (Part.QUERY, Part.GALLERY)
        sizes = self._parts.sizes()
        lost = [part.value for part in needed if part.value not in sizes]
        if lost:
            raise CorruptInput(f"{path}: no row has {self._role.value} = {' or '.join(lost)}; there are {sizes}")


def _read(path: Path) -> pd.DataFrame:
    """The table with every cell as text; blank where nothing is given."""
    if not path.is_file():
        raise DataNotFound(f"data.table={path} is not a file (looked in {Path.cwd()}); type data.table=FILE, {LAYOUT}")
    try:
        if path.suffix.lower() == ".csv":
            return pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own errors are among them
        raise CorruptInput(f"{path} cannot be read: {error}; it should be {LAYOUT}") from error
    raise CorruptInput(
        f"{path}: a {path.suffix or 'file without suffix'} is not a table; type data.table=FILE, {LAYOUT}"
    )


def _check_columns(path: Path, rows: pd.DataFrame) -> Column:
    """Whether `split` or `role` is used."""
    columns = [str(name) for name in rows.columns]
    lost = [name.value for name in (Column.PATH, Column.LABEL) if name not in columns]
    roles = [name for name in VALUES if name in columns]
    if not roles:
        lost.append("split (or role)")
    if lost:
        raise CorruptInput(f"{path} has no column {', '.join(lost)}; it has {', '.join(columns)}. Needed is {LAYOUT}")
    if len(roles) > 1:
        raise CorruptInput(f"{path} has both split and role; keep one of the two columns")
    boxes = [name for name in BOX if name in columns]
    if boxes and len(boxes) < len(BOX):
        raise CorruptInput(f"{path} has {', '.join(boxes)} of a box; give all of {', '.join(BOX)}, or none")
    if rows.empty:
        raise CorruptInput(f"{path} has no rows")
    return roles[0]


def _cells(rows: pd.DataFrame, column: str) -> list[str]:
    """A column as text; numbers that are whole without a point, missing ones blank."""
    values = rows[column].tolist()
    return ["" if pd.isna(value) else str(int(value)) if _whole(value) else str(value).strip() for value in values]


def _whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()


def _texts(path: Path, rows: pd.DataFrame, column: Column) -> list[str]:
    texts = _cells(rows, column)
    blank = [str(row + 1) for row, text in enumerate(texts) if not text]
    if blank:
        raise CorruptInput(f"{path}: column {column.value} is blank in data rows {shorten(blank)}; fill it")
    return texts


def _parts(path: Path, rows: pd.DataFrame, role: Column) -> list[Part]:
    texts = _cells(rows, role)
    allowed = [part.value for part in VALUES[role]]
    unknown = sorted({text for text in texts if text not in allowed})
    if unknown:
        said = shorten([repr(text) for text in unknown])
        raise CorruptInput(f"{path}: column {role.value} holds {said}; allowed: {', '.join(allowed)}")
    return [Part(text) for text in texts]


def _groups(rows: pd.DataFrame) -> NDArray[np.int64] | None:
    if Column.GROUP not in rows.columns:
        return None
    codes, names = label_codes(_cells(rows, Column.GROUP))
    alone = np.array([not names[code] for code in codes.tolist()])
    codes[alone] = len(names) + np.flatnonzero(alone)
    return codes


def _boxes(path: Path, rows: pd.DataFrame) -> NDArray[np.int64] | None:
    if BOX[0] not in rows.columns:
        return None
    texts = list(zip(*(_cells(rows, name) for name in BOX), strict=True))
    boxes = np.zeros((len(texts), 4), np.int64)
    for row, text in enumerate(texts):
        if not any(text):
            continue
        try:
            boxes[row] = [int(value) for value in text]
        except ValueError as error:
            raise CorruptInput(f"{path}: box {text} of data row {row + 1} is not four whole numbers") from error
        left, top, right, bottom = boxes[row].tolist()
        if right <= left or bottom <= top:
            raise CorruptInput(f"{path}: box {boxes[row].tolist()} of data row {row + 1} is empty; x1 < x2 and y1 < y2")
    return boxes
