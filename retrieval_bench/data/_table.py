"""Reading a table of images or videos: its cells as text, and what is wrong with them, all at once."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval_bench.data._checks import Problems, shorten
from retrieval_bench.data._files import Part, group_codes, label_codes
from retrieval_bench.errors import CorruptInput


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
NEEDED = {Column.SPLIT: (Part.TEST,), Column.ROLE: (Part.QUERY, Part.GALLERY)}
NO_TEXT = (list, tuple, dict, np.ndarray, bytes)
VIDEO_LAYOUT = (
    "a .csv or .parquet with columns path, label, and split (train, validation, test) or role (train, validation,"
    " query, gallery); optional: group"
)
LAYOUT = f"{VIDEO_LAYOUT}, and a box x1, y1, x2, y2"


def read_csv(path: Path) -> pd.DataFrame:
    """A UTF-8 file, comma-separated, every cell as text, blank where nothing is given.

    Raises:
        CorruptInput: another encoding or separator, rows of different lengths, or nothing in it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header lose cells
            rows = pd.read_csv(
                path, dtype=str, keep_default_na=False, skipinitialspace=True, index_col=False, encoding="utf-8-sig"
            )
    except UnicodeDecodeError as error:
        with path.open("rb") as file:
            wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
        raise CorruptInput(f"{path} is {'UTF-16' if wide else 'not UTF-8'} text; save it as CSV in UTF-8") from error
    except pd.errors.ParserWarning as error:
        raise CorruptInput(f"{path} cannot be read: its rows have more cells than its header has names") from error
    except (ValueError, OSError) as error:  # pandas' own errors are among them
        raise CorruptInput(f"{path} cannot be read: {str(error).strip()}") from error
    rows.columns = [str(name).strip() for name in rows.columns]
    header = str(rows.columns[0]) if len(rows.columns) == 1 else ""
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if separator in header:
            raise CorruptInput(f"{path} is separated by {word} ({header!r}); save it with commas")
    return rows


def read_parquet(path: Path) -> pd.DataFrame:
    """The table as it is. Raises CorruptInput where pyarrow cannot read it."""
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pyarrow's own errors are among them
        raise CorruptInput(f"{path} cannot be read: {str(error).strip()}") from error


class Rows:
    """The columns of a table as the data set needs them; every problem is added, and what is wrong stays blank.

    Args:
        table: one row a file.
        problems: where to tell what is wrong. Ask nothing of the columns after one was added.
        layout: what the table should hold, for the message.
    """

    def __init__(self, table: pd.DataFrame, problems: Problems, layout: str = LAYOUT) -> None:
        self._table, self._problems, self._layout = table, problems, layout
        self._columns = [str(name) for name in table.columns]
        self.role = self._role()
        if table.empty:
            problems.add("it has no rows")

    def paths(self) -> list[str]:
        """Paths in their shortest spelling: `./a.jpg` is `a.jpg`."""
        return [Path(os.path.normpath(name)).as_posix() if name else "" for name in self._filled(Column.PATH)]

    def labels(self) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Codes and names of the labels."""
        texts = self._filled(Column.LABEL)
        known = set(texts)
        twice = sorted(name for name in known if name.endswith(".0") and name[:-2] in known)
        if twice:
            said = [f"{name} and {name[:-2]}" for name in twice]
            self._problems.add(f"column label writes {len(twice)} numbers in two ways: {shorten(said)}; write one")
        return label_codes(texts)

    def parts(self) -> list[Part]:
        """The part of each row; training, where it is unknown."""
        texts = self._cells(self.role)
        allowed = [part.value for part in VALUES[self.role]]
        unknown = [text for text in texts if text not in allowed]
        lost = [part.value for part in NEEDED[self.role] if part not in texts]
        if unknown and self.role in self._columns:
            said = shorten(repr(text) for text in sorted(set(unknown)))
            self._problems.add(
                f"column {self.role.value} holds {said} ({len(unknown)} rows); allowed: {', '.join(allowed)}"
            )
        elif lost and self.role in self._columns and texts:
            there = ", ".join(sorted(set(texts)))
            self._problems.add(f"no row has {self.role.value} = {' or '.join(lost)}; there are {there}")
        return [Part(text) if text in allowed else Part.TRAIN for text in texts]

    def groups(self) -> NDArray[np.int64] | None:
        """Codes of the groups, a blank one alone; none without the column."""
        if Column.GROUP not in self._columns:
            return None
        return group_codes(self._cells(Column.GROUP))

    def boxes(self) -> NDArray[np.int64] | None:
        """[n, 4], zeros where blank; none without the four columns."""
        if not set(BOX) <= set(self._columns):
            return None
        texts = list(zip(*(self._cells(name) for name in BOX), strict=True))
        boxes = np.zeros((len(texts), 4), np.int64)
        unread, empty = [], []
        for row, text in enumerate(texts):
            if not any(text):
                continue
            try:
                boxes[row] = [_whole(value) for value in text]
            except (ValueError, OverflowError):
                unread.append(f"{', '.join(text)} (data row {row + 1})")
                continue
            left, top, right, bottom = boxes[row].tolist()
            if right <= left or bottom <= top:
                empty.append(f"{', '.join(text)} (data row {row + 1})")
        self._add_rows(unread, "boxes are not four whole numbers", "write x1, y1, x2, y2 in pixels, or leave all blank")
        self._add_rows(empty, "boxes are empty", "x1 < x2 and y1 < y2")
        return boxes

    def _role(self) -> Column:
        """Whether `split` or `role` is used."""
        lost = [name.value for name in (Column.PATH, Column.LABEL) if name not in self._columns]
        roles = [name for name in VALUES if name in self._columns]
        lost += [] if roles else ["split (or role)"]
        if lost:
            self._problems.add(
                f"it has no column {', '.join(lost)}; it has {', '.join(self._columns)}. Needed: {self._layout}"
            )
        if len(roles) > 1:
            self._problems.add("it has both split and role; keep one of the two columns")
        twice = [name for name in (*Column, *BOX) if f"{name}.1" in self._columns]  # as pandas calls a second one
        if twice:
            self._problems.add(f"it has two columns {', '.join(twice)}; keep one")
        boxes = [name for name in BOX if name in self._columns]
        if boxes and len(boxes) < len(BOX):
            self._problems.add(f"it has {', '.join(boxes)} of a box; give all of {', '.join(BOX)}, or none")
        return roles[0] if roles else Column.SPLIT

    def _filled(self, column: Column) -> list[str]:
        texts = self._cells(column)
        blank = [row + 1 for row, text in enumerate(texts) if text.lower() in ("", "nan")]
        if blank and column in self._columns:
            self._problems.add(
                f"column {column.value} is blank or NaN in {len(blank)} data rows: {shorten(blank)}; fill it"
            )
        return texts

    def _cells(self, column: str) -> list[str]:
        """A column as text; numbers that are whole without a point, missing ones blank."""
        if column not in self._columns:
            return [""] * len(self._table)
        cells = self._table.iloc[:, self._columns.index(column)]
        odd = sorted({type(value).__name__ for value in cells.tolist() if isinstance(value, NO_TEXT)})
        if odd:
            self._problems.add(f"column {column} holds {', '.join(odd)}; write text or whole numbers")
        return [
            "" if lost else str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
            for value, lost in zip(cells.tolist(), cells.isna().tolist(), strict=True)
        ]

    def _add_rows(self, wrong: Sequence[str], what: str, remedy: str) -> None:
        if wrong:
            self._problems.add(f"{len(wrong)} {what}: {shorten(wrong)}; {remedy}")


def _whole(text: str) -> int:
    """A whole number, also as pandas writes one of a column with gaps: 3.0."""
    return int(text.removesuffix(".0"))
