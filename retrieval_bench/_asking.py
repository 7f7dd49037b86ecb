"""What the kinds of runs have in common when files are asked of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from PIL import Image
from rich.console import RenderableType
from rich.text import Text

from retrieval_bench._opened import Opened

Content = TypeVar("Content")
GONE = "(no longer among the data)"  # the key of an item that was there when the run was made


@dataclass(frozen=True, eq=False)
class Asked(Generic[Content]):
    """A file that could be read, how many answers are wanted, and where its contact sheet goes."""

    file: Path
    content: Content
    k: int
    sheet: Path


class Asking(ABC, Generic[Content]):
    """What is done with the files that are asked of one kind of run.

    Attributes:
        answers: what its answers are called, in the names of contact sheets.
    """

    answers: ClassVar[str] = "neighbours"

    def __init__(self, opened: Opened) -> None:
        self.opened = opened

    @abstractmethod
    def read(self, file: Path) -> Content:
        """Decode a file; nothing of the run is opened. Raises CorruptInput, which names the file."""

    @abstractmethod
    def answer(self, asked: Asked[Content]) -> Iterator[RenderableType]:
        """A ranked list, and a contact sheet beside it."""

    def label(self, row: int) -> str:
        """Of a gallery item, for people; nothing where it has none."""
        items = self.opened.items
        return "" if items.labels is None else str(items.label_names.get(int(items.labels[row]), items.labels[row]))


def save_sheet(sheet: Image.Image, file: Path) -> Text:
    """Write a contact sheet, and say where it is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(file)
    return Text(f"contact sheet: {file}")
