"""Refusals that the data sets share: each says what was given, what is allowed and what to type."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound, RetrievalBenchError

DATA_VARIABLE = "RETRIEVAL_BENCH_DATA"
SHOWN = 5  # of a long list in a message


class Problems:
    """What is wrong with one data set: collected, then told in one error, so that all can be mended at once.

    Args:
        where: file or folder; opens the message. None where each problem names its own.
    """

    def __init__(self, where: object = None) -> None:
        self._where = "" if where is None else f"{where}: "
        self._found: list[tuple[type[RetrievalBenchError], str]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, text: str, kind: type[RetrievalBenchError] = CorruptInput) -> None:
        """One problem: how many, the first of them, and what to do."""
        self._found.append((kind, text))

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Adds what is raised inside, and goes on behind it."""
        try:
            yield
        except (CorruptInput, DataNotFound, BadConfig) as error:
            self.add(str(error), type(error))

    def raise_any(self) -> None:
        """Raises one error with a line for each problem; CorruptInput where they are of several kinds."""
        if not self._found:
            return
        kinds = {kind for kind, _ in self._found}
        kind = kinds.pop() if len(kinds) == 1 else CorruptInput
        texts = [text for _, text in self._found]
        if len(texts) == 1:
            raise kind(self._where + texts[0])
        lines = "".join(f"\n  - {text}" for text in texts)
        raise kind(f"{self._where}{len(texts)} things are wrong:{lines}")


def shorten(names: Iterable[object], shown: int = SHOWN) -> str:
    """The first few names, and that there are more; a line break in a name is written as \\n."""
    said = _printable(names)
    return ", ".join(said[:shown]) + (", …" if len(said) > shown else "")


def name_all(names: Iterable[object]) -> str:
    """All of them, between a colon and the rest of a sentence: up to five in a row, more in a line each."""
    said = _printable(names)
    return f" {', '.join(said)}; " if len(said) <= SHOWN else "".join(f"\n    {name}" for name in said) + "\n    "


def _printable(names: Iterable[object]) -> list[str]:
    return [name if name.isprintable() else ascii(name) for name in map(str, names)]


def need_root(root: str | None, layout: str, folders: Sequence[str] = ()) -> Path:
    """The data's folder. A relative one counts from the current directory.

    Args:
        root: what the user gave.
        layout: what should be inside, for the message.
        folders: where root is none, the first of these inside the folder that RETRIEVAL_BENCH_DATA names is taken.

    Raises:
        DataNotFound: not given, or not a folder. BadConfig: not a path.
    """
    root, place = need_path("root", root), os.environ.get(DATA_VARIABLE)
    if root is None and place and folders:
        found = [path for path in (Path(place) / folder for folder in folders) if path.is_dir()]
        if found:
            return found[0]
        raise DataNotFound(
            f"none of {', '.join(folders)} is in {place} ({DATA_VARIABLE}); type data.root=FOLDER, {layout}"
        )
    if root is None:
        raise DataNotFound(f"data.root is not set; type data.root=FOLDER, {layout}")
    path = Path(root).expanduser()
    if not os.path.isdir(path):  # noqa: PTH112  # Path.is_dir raises where a parent may not be entered
        state = "is a file, not a folder" if os.path.isfile(path) else "is not a folder"  # noqa: PTH113
        raise DataNotFound(f"data.root={root} {state} (looked in {Path.cwd()}); type data.root=FOLDER, {layout}")
    return path


def need_path(name: str, value: object) -> str | None:
    """The path that was given, as text: a name of digits arrives as a number. Blank is none.

    Raises:
        BadConfig: neither text nor a whole number.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadConfig(
            f"data.{name}={value!r} is not a path; type data.{name}=PATH, in quotes if it looks like a number or a"
            f" list: 'data.{name}=\"PATH\"'"
        )
    return str(value)


def need_whole(name: str, value: object, low: int, high: int, null: str | None = None) -> None:
    """Raises BadConfig unless the value is a whole number in the range; or none, where `null` says what that means."""
    if value is None and null is not None:
        return
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return
    also = "" if null is None else f", or null: {null}"
    raise BadConfig(f"data.{name}={value}: type a whole number from {low} to {high}{also}")


def need_share(name: str, value: float) -> None:
    """Raises BadConfig unless the value is a share."""
    if isinstance(value, str | bool) or not 0 <= value <= 1:
        raise BadConfig(f"data.{name}={value}: type a share from 0 to 1")


def need_choice(name: str, value: object, among: type[StrEnum], null: str | None = None) -> None:
    """Raises BadConfig unless the value is one of the words; or none, where `null` says what that means."""
    if (value is None and null is not None) or value in list(among):
        return
    also = "" if null is None else f", or null: {null}"
    raise BadConfig(f"data.{name}={value}: type one of {', '.join(among)}{also}")
