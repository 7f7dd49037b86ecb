"""What the data sets made of image or video files share: a table of files, read one by one; how classes are split."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data._checks import Problems, name_all, shorten
from retrieval_bench.data._video_items import VideoFiles
from retrieval_bench.data.base import Arrays, Items
from retrieval_bench.errors import CorruptInput, DataNotFound
from retrieval_bench.hashing import json_digest
from retrieval_bench.machine import cores
from retrieval_bench.media.image import Pixels, decode

if TYPE_CHECKING:  # data sets of images do without the decoder of videos
    from retrieval_bench.media.clip import Clip

NAMED = 50  # of the files of a table of which none is there


class Part(StrEnum):
    """The part of a data set that a file belongs to. TEST: a query and a gallery item, searched among the others."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    QUERY = "query"
    GALLERY = "gallery"


@dataclass(frozen=True, eq=False)
class FileTable:
    """Image or video files and what is known about them; row i of every column is file i.

    Attributes:
        paths: relative to root with forward slashes; the items' keys. Unique.
        parts: `Part` of each file.
        labels, groups: int64 [n] or none. label_names: label → name for people.
        boxes: int64 [n, 4] in pixels (left, top, right, bottom; right and bottom exclusive) to crop to, or none;
            a row of zeros keeps the whole image. Of images only.
        clip: what is read of each file if they are videos; none: they are images.

    Raises:
        CorruptInput: a path that stands twice or is absolute.
    """

    root: Path
    paths: Sequence[str]
    parts: Sequence[Part]
    labels: NDArray[np.int64] | None = None
    groups: NDArray[np.int64] | None = None
    boxes: NDArray[np.int64] | None = None
    label_names: Mapping[int, str] = field(default_factory=dict)
    clip: Clip | None = None

    def __post_init__(self) -> None:
        problems = Problems(self.root)
        check_paths(self.paths, problems)
        problems.raise_any()

    def rows(self, *parts: Part) -> NDArray[np.int64]:
        """Rows of these parts, in table order."""
        return np.flatnonzero(np.array([part in parts for part in self.parts], dtype=bool)).astype(np.int64)

    def read(self, row: int) -> Arrays:
        """Decode (and crop) the file of one row; CorruptInput gives the reason."""
        if self.clip is not None:
            return self.clip.read(self.root / self.paths[row])
        pixels = decode(_read_bytes(self.root / self.paths[row]))
        return {"image": pixels if self.boxes is None else _crop(pixels, self.boxes[row])}

    def items(self, rows: NDArray[np.int64]) -> Items:
        """The files of these rows; their bytes are read once, when the fingerprint is asked for."""
        return Items(
            keys=[self.paths[row] for row in rows],
            read=_Reader(self, rows),
            fingerprint=partial(self._fingerprint, rows),
            labels=None if self.labels is None else self.labels[rows],
            groups=None if self.groups is None else self.groups[rows],
            label_names=self.label_names,
            video=None if self.clip is None else VideoFiles(self.clip, self.root, [self.paths[row] for row in rows]),
        )

    def _fingerprint(self, rows: NDArray[np.int64]) -> str:
        digest = blake2b(digest_size=16)
        if self.clip is not None:  # decides what an item is, as the bytes do
            digest.update(json_digest(self.clip.describe()).encode())
        with ThreadPoolExecutor(max(4, 2 * cores())) as pool:
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


def check_paths(paths: Sequence[str], problems: Problems) -> None:
    """Adds paths that stand twice or are absolute."""
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        problems.add(f"{len(twice)} paths stand twice: {shorten(twice)}; keep one row of each")
    absolute = [path for path in paths if os.path.isabs(path)]  # noqa: PTH117  # a tenth of the time
    if absolute:  # keys go into records, which must mean the same on another machine
        problems.add(
            f"{len(absolute)} paths are absolute: {shorten(absolute)}; write them relative to a folder and type"
            " data.root=FOLDER"
        )


def check_files(root: Path, paths: Sequence[str], problems: Problems) -> None:
    """Adds files that are not there: counted, and all named; the first 50 where none is there: another folder."""
    # Joined as text: thousands of Path objects take longer than looking the files up; and Path.is_file may raise.
    missing = [path for path in paths if not os.path.isfile(os.path.join(root, path))]  # noqa: PTH113, PTH118
    if missing:
        named = missing
        if len(missing) == len(paths) > NAMED:
            named = [*missing[:NAMED], "…"]
        problems.add(
            f"{len(missing)} of {len(paths)} files are not in {root}:{name_all(named)}"
            "put them there, or type the folder that holds them: data.root=FOLDER",
            DataNotFound,
        )


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


def set_apart(names: Sequence[str], share: float, seed: int) -> set[str]:
    """A share of the classes, by the same hash, for validation; none where that is less than half a class."""
    unique = sorted(set(names))
    count = round(share * len(unique))
    if not count:
        return set()
    parts = class_split(unique, count / len(unique), 0, seed)
    return {name for name, part in parts.items() if part is Part.TEST}


def label_codes(names: Sequence[str]) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Labels 0 … c - 1 in the order of the sorted names, and their names."""
    unique, codes = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)
    return codes.astype(np.int64), dict(enumerate(unique.tolist()))


def group_codes(names: Sequence[str]) -> NDArray[np.int64]:
    """Equal name, equal group; a blank name is a group of its own: [n].

    >>> group_codes(["b", "", "b", ""]).tolist()
    [1, 3, 1, 5]
    """
    codes, known = label_codes(names)
    alone = np.array([not known[code] for code in codes.tolist()], dtype=bool)
    codes[alone] = len(known) + np.flatnonzero(alone)
    return codes


def torn(sources: Sequence[str | int], parts: Sequence[Part]) -> int:
    """Sources (not the blank one) on both sides of a split: near duplicates between training and test.

    Args:
        sources, parts: of each file. Validation is on the side of training.
    """
    sides: dict[bool, set[str | int]] = {True: set(), False: set()}
    for source, part in zip(sources, parts, strict=True):
        sides[part in (Part.TRAIN, Part.VALIDATION)].add(source)
    return len((sides[True] & sides[False]) - {""})


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorruptInput(f"cannot be opened: {error.strerror}") from error


def _content(path: Path) -> bytes:
    """Digest of a file's bytes; of the reason where it cannot be opened (the item is then listed as unreadable)."""
    try:
        with path.open("rb") as file:  # piece by piece: a video may be larger than the memory
            return file_digest(file, partial(blake2b, digest_size=16)).digest()
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
