"""What the data sets made of image files share: a table of files, and its parts as Items."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data.base import Arrays, Items
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound
from retrieval_bench.media.image import Pixels, decode
from retrieval_bench.types import GroundTruth

DATA_VARIABLE = "RETRIEVAL_BENCH_DATA"
SHOWN = 5  # of a long list in a message


class Part(StrEnum):
    """The part of a data set that a file belongs to. TEST: a query and a gallery item, searched among the others."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    QUERY = "query"
    GALLERY = "gallery"


@dataclass(frozen=True, eq=False)
class FileTable:
    """Image files and what is known about them; row i of every column is file i.

    Attributes:
        paths: relative to root with forward slashes; the items' keys. Unique.
        parts: `Part` of each file.
        labels, groups: int64 [n] or none. label_names: label → name for people.
        boxes: int64 [n, 4] in pixels (left, top, right, bottom; right and bottom exclusive) to crop to, or none;
            a row of zeros keeps the whole image.
    """

    root: Path
    paths: Sequence[str]
    parts: Sequence[Part]
    labels: NDArray[np.int64] | None = None
    groups: NDArray[np.int64] | None = None
    boxes: NDArray[np.int64] | None = None
    label_names: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        twice = [path for path, count in Counter(self.paths).items() if count > 1]
        if twice:
            raise CorruptInput(f"{len(twice)} paths stand twice: {shorten(twice)}; keep one row of each")
        absolute = [path for path in self.paths if Path(path).is_absolute()]
        if absolute:  # keys go into records, which must mean the same on another machine
            raise CorruptInput(
                f"{len(absolute)} paths are absolute: {shorten(absolute)}; write them relative to a folder and type"
                " data.root=FOLDER"
            )

    def rows(self, part: Part) -> NDArray[np.int64]:
        """Rows of one part, in table order."""
        return np.flatnonzero(np.array([p is part for p in self.parts], dtype=bool)).astype(np.int64)

    def check_files(self) -> None:
        """Raises DataNotFound that counts the files that are not there and names the first."""
        missing = [path for path in self.paths if not (self.root / path).is_file()]
        if missing:
            raise DataNotFound(
                f"{len(missing)} of {len(self.paths)} files are not in {self.root}: {shorten(missing)};"
                " put them there, or type the folder that holds them: data.root=FOLDER"
            )

    def read(self, row: int) -> Arrays:
        """Decode (and crop) the file of one row; CorruptInput names it by its key."""
        try:
            pixels = decode(_read_bytes(self.root / self.paths[row]))
            return {"image": pixels if self.boxes is None else _crop(pixels, self.boxes[row])}
        except CorruptInput as error:
            raise CorruptInput(f"{self.paths[row]}: {error}") from error

    def items(self, rows: NDArray[np.int64]) -> Items:
        """The files of these rows; their bytes are read once, for the fingerprint."""
        return Items(
            keys=[self.paths[row] for row in rows],
            read=_Reader(self, rows),
            fingerprint=self._fingerprint(rows),
            labels=None if self.labels is None else self.labels[rows],
            groups=None if self.groups is None else self.groups[rows],
            label_names=self.label_names,
        )

    def _fingerprint(self, rows: NDArray[np.int64]) -> str:
        digest = blake2b(digest_size=16)
        with ThreadPoolExecutor(max(4, 2 * (os.cpu_count() or 1))) as pool:
            paths = (self.root / self.paths[row] for row in rows)
            for row, content in zip(rows, pool.map(_content, paths, chunksize=64), strict=True):
                known = [None if column is None else column[row].tolist() for column in self._columns()]
                digest.update(content + repr((self.paths[row], known)).encode())
        return digest.hexdigest()

    def _columns(self) -> tuple[NDArray[np.int64] | None, ...]:
        return self.labels, self.groups, self.boxes


@dataclass(frozen=True)
class _Reader:
    """Row of a part → arrays; a class, not a closure, so that Items can go to another process."""

    table: FileTable
    rows: NDArray[np.int64]

    def __call__(self, row: int) -> Arrays:
        return self.table.read(int(self.rows[row]))


class Parts:
    """The parts of a table as Items, each made once, when it is asked for."""

    def __init__(self, table: FileTable) -> None:
        self.table = table
        self._made: dict[Part, Items] = {}

    def items(self, part: Part) -> Items:
        """The same object for the same part, always."""
        if part not in self._made:
            self._made[part] = self.table.items(self.table.rows(part))
        return self._made[part]

    @cached_property
    def leave_one_out(self) -> bool:
        """Whether each test item is searched among the others."""
        return len(self.table.rows(Part.TEST)) > 0

    def queries(self) -> Items:
        """Items that are searched for."""
        return self.items(Part.TEST if self.leave_one_out else Part.QUERY)

    def gallery(self) -> Items:
        """Items that are searched; the same object as `queries()` under leave-one-out."""
        return self.items(Part.TEST if self.leave_one_out else Part.GALLERY)

    def truth(self) -> GroundTruth | None:
        """Equal label = relevant; the query itself and its group are ignored; none without labels."""
        queries, gallery = self.queries(), self.gallery()
        if queries.labels is None:
            return None
        return GroundTruth(
            queries.ids,
            gallery.ids,
            query_labels=queries.labels,
            gallery_labels=gallery.labels,
            query_groups=queries.groups,
            gallery_groups=gallery.groups,
        )

    def sizes(self) -> dict[str, int]:
        """Number of items in each part that has any."""
        counts = Counter(self.table.parts)
        return {part.value: counts[part] for part in Part if counts[part]}


def class_split(names: Sequence[str], test: float, validation: float, seed: int) -> dict[str, Part]:
    """Class-disjoint parts: names in the order of a seeded hash, the first share to test, the next to validation.

    Args:
        names: the classes, repeated or not.
        test: share of the classes, 0 … 1; at least one class is tested.
        validation: share of the classes that are left, 0 … 1.
        seed: another one, another split; adding a class moves few of the others.
    """
    ordered = sorted(set(names), key=lambda name: blake2b(f"{seed}:{name}".encode(), digest_size=16).digest())
    n_test = max(1, round(test * len(ordered)))
    n_validation = round(validation * (len(ordered) - n_test))
    parts = [Part.TEST] * n_test + [Part.VALIDATION] * n_validation
    parts += [Part.TRAIN] * (len(ordered) - len(parts))
    return dict(zip(ordered, parts, strict=True))


def label_codes(names: Sequence[str]) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Labels 0 … c - 1 in the order of the sorted names, and their names."""
    unique, codes = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)
    return codes.astype(np.int64), dict(enumerate(unique.tolist()))


def need_root(root: str | None, layout: str, folders: Sequence[str] = ()) -> Path:
    """The data's folder. A relative one counts from the current directory.

    Args:
        root: what the user gave.
        layout: what should be inside, for the message.
        folders: where root is none, the first of these inside the folder that RETRIEVAL_BENCH_DATA names is taken.

    Raises:
        DataNotFound: not given, or not a folder.
    """
    place = os.environ.get(DATA_VARIABLE)
    if root is None and place and folders:
        found = [path for path in (Path(place) / folder for folder in folders) if path.is_dir()]
        if found:
            return found[0]
        raise DataNotFound(
            f"none of {', '.join(folders)} is in {place} ({DATA_VARIABLE}); type data.root=FOLDER, {layout}"
        )
    if root is None:
        raise DataNotFound(f"data.root is not set; type data.root=FOLDER, {layout}")
    if not Path(root).is_dir():
        raise DataNotFound(
            f"data.root={root} is not a folder (looked in {Path.cwd()}); type data.root=FOLDER, {layout}"
        )
    return Path(root)


def need_share(name: str, value: float) -> None:
    """Raises BadConfig unless the value is a share."""
    if not 0 <= value <= 1:
        raise BadConfig(f"data.{name}={value}: type a share from 0 to 1")


def shorten(names: Sequence[str]) -> str:
    """The first few names, and that there are more."""
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorruptInput(f"cannot be opened: {error.strerror}") from error


def _content(path: Path) -> bytes:
    """Digest of a file's bytes; of the reason where it cannot be opened (the item is then listed as unreadable)."""
    try:
        return blake2b(path.read_bytes(), digest_size=16).digest()
    except OSError as error:
        return f"cannot be opened: {error.strerror}".encode()


def _crop(pixels: Pixels, box: NDArray[np.int64]) -> Pixels:
    if not box.any():
        return pixels
    left, top, right, bottom = (int(max(0, value)) for value in box)
    part = pixels[top:bottom, left:right]
    if part.size == 0:
        height, width = pixels.shape[:2]
        raise CorruptInput(f"the box {box.tolist()} holds nothing of an image of {width} × {height} pixels")
    return np.ascontiguousarray(part)
