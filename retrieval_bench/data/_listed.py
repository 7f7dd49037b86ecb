"""What the releases that list their images in text files share: reading a list, and what is wrong with it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from retrieval_bench.data._checks import Problems, shorten
from retrieval_bench.errors import CorruptInput, DataNotFound

Row = tuple[str, ...]


def need_inside(folder: Path, names: Sequence[str], layout: str) -> None:
    """Raises DataNotFound that names all that the folder lacks."""
    missing = [name for name in names if not os.path.exists(folder / name)]  # noqa: PTH110  # as `need_root`
    if missing:
        raise DataNotFound(f"{folder} lacks {', '.join(missing)}; type data.root=FOLDER, {layout}")


def read_list(
    path: Path,
    columns: Sequence[str],
    problems: Problems,
    *,
    counted: bool = False,
    named: bool = False,
    spaced: bool = False,
) -> list[Row]:
    """Rows of a text file whose cells are separated by blanks; any line ends, blank lines are left out.

    Args:
        columns: what the cells of a row are called.
        problems: where lines of another length are told, and a count or a header that does not fit.
        counted: the first line is the number of rows.
        named: the first line (behind the count) is the names of the columns.
        spaced: there may be blanks in the first cell.

    Raises:
        CorruptInput: the file cannot be read as text.
    """
    lines = _lines(path, len(columns) - 1 if spaced else -1)
    count = lines.pop(0)[1] if counted and lines else ()
    head = lines.pop(0)[1] if named and lines else ()
    if named and head != tuple(columns):
        problems.add(f"{path.name} begins with {' '.join(head)!r}; its header must be {' '.join(columns)!r}")
    odd = [f"line {number} ({' '.join(cells)})" for number, cells in lines if len(cells) != len(columns)]
    if odd:
        problems.add(
            f"{len(odd)} lines of {path.name} have not the {len(columns)} cells {', '.join(columns)}: {shorten(odd)};"
            " download it again"
        )
    if counted and count != (str(len(lines)),):
        problems.add(f"{path.name} says {' '.join(count)!r} in its first line, {len(lines)} rows follow")
    if not lines:
        problems.add(f"{path.name} has no rows")
    return [cells for _, cells in lines if len(cells) == len(columns)]


def _lines(path: Path, cuts: int) -> list[tuple[int, Row]]:
    """(line number, cells) of the lines with something in them; split at the last so many blanks, at all where -1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorruptInput(f"{path} is not UTF-8 text; download it again") from error
    except OSError as error:
        raise CorruptInput(f"{path} cannot be opened: {error.strerror}") from error
    lines = enumerate(text.split("\n"), start=1)
    return [(number, tuple(line.strip().rsplit(maxsplit=cuts))) for number, line in lines if line.strip()]


def keyed(path: Path, columns: Sequence[str], problems: Problems) -> dict[str, Row]:
    """Rows of a list by their first cell, which must not stand twice."""
    rows = read_list(path, columns, problems)
    twice = [name for name, count in Counter(row[0] for row in rows).items() if count > 1]
    if twice:
        problems.add(f"{len(twice)} of {columns[0]} stand twice in {path.name}: {shorten(twice)}; keep one row of each")
    return {row[0]: row[1:] for row in rows}


def whole_numbers(cells: Sequence[str], what: str, problems: Problems) -> list[int]:
    """Cells as numbers from 0; 0 where a cell is none, which is told."""
    numbers = [int(cell) if cell.isascii() and cell.isdigit() and len(cell) < 19 else None for cell in cells]
    wrong = sum(number is None for number in numbers)
    if wrong:
        odd = {cell for cell, number in zip(cells, numbers, strict=True) if number is None}
        problems.add(f"{wrong} of {what} are no whole numbers: {shorten(sorted(odd))}")
    return [number or 0 for number in numbers]


def check_disjoint(train: Iterable[str], test: Iterable[str], problems: Problems) -> None:
    """Adds classes that are trained on and tested."""
    both = sorted({*train} & {*test})
    if both:
        problems.add(f"{len(both)} classes are in the training and in the test part: {shorten(both)}")


def unlisted(
    root: Path, folders: Iterable[str], listed: Iterable[str], where: str
) -> tuple[list[tuple[str, str]], int]:
    """(key, reason) of files below some folders that no list names, and how many hidden names there are beside."""
    known, hidden, found = set(listed), 0, list[tuple[str, str]]()
    for folder in folders:
        for place, inner, names in os.walk(root / folder):
            hidden += sum(name.startswith(".") for name in (*inner, *names))
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            base = Path(place).relative_to(root).as_posix()
            keys = [f"{base}/{name}" for name in sorted(names) if not name.startswith(".")]
            found += [(key, f"not in {where}") for key in keys if key not in known]
    return found, hidden
