"""A folder of your own images; folder names are the classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retrieval_bench.data._files import (
    FileTable,
    Part,
    Parts,
    class_split,
    label_codes,
    need_root,
    need_share,
    shorten,
)
from retrieval_bench.data.base import Dataset, Items
from retrieval_bench.errors import CorruptInput, DataNotFound
from retrieval_bench.media.image import SUFFIXES
from retrieval_bench.types import GroundTruth

LAYOUT = (
    "which holds <class>/<image> (classes are split by a seed), or train/<class>/<image> and test/<class>/<image>,"
    " or query/<class>/<image> and gallery/<class>/<image>, or just images"
)
GIVEN = ({Part.QUERY, Part.GALLERY}, {Part.TRAIN, Part.TEST})  # folders that mean a given split


class ImageFolder(Dataset):
    """Images under folders; what lies deeper in a class folder belongs to the class.

    Four layouts, the first that fits: `query` and `gallery` folders; `train` and `test` folders (both may have
    `validation`, the first also `train`); class folders, which are split class-disjointly by a seeded hash of their
    names; no folders at all (no labels, so no label metrics; every image is in the gallery and in training).
    Without `query` and `gallery` each test image is searched among the others.

    Args:
        root: the folder.
        test_fraction: share of the classes to test, 0 … 1, at least one; 1: all. For class folders only.
        validation_fraction: share of the training classes to validate on, 0 … 1; where there is no `validation` folder.
        seed: of both splits.
        image_size: side in pixels if all images are squares of this size and should not be resized by the encoder.

    Raises:
        DataNotFound: no such folder, no images, or class folders without an image (named).
        CorruptInput: images both beside and inside class folders.
        BadConfig: a fraction outside 0 … 1.
    """

    name = "image_folder"

    def __init__(
        self,
        root: str | None = None,
        test_fraction: float = 0.5,
        validation_fraction: float = 0.15,
        seed: int = 0,
        image_size: int | None = None,
    ) -> None:
        need_share("test_fraction", test_fraction)
        need_share("validation_fraction", validation_fraction)
        self._root = need_root(root, LAYOUT)
        self._shares, self._seed = (test_fraction, validation_fraction), seed
        self.image_size = image_size
        self._other_files = 0
        self._split, files = self._find()
        names = [name for name, _, _ in files]
        codes, label_names = label_codes([name or "" for name in names])
        labelled = None not in names
        self._parts = Parts(
            FileTable(
                self._root,
                [path for _, _, path in files],
                [part for _, part, _ in files],
                labels=codes if labelled else None,
                label_names=label_names if labelled else {},
            )
        )
        self._labelled = labelled

    def train(self) -> Items:
        """Classes that are not tested; without labels, the gallery."""
        return self._parts.items(Part.TRAIN) if self._labelled else self._parts.gallery()

    def validation(self) -> Items:
        """Training classes kept apart."""
        return self._parts.items(Part.VALIDATION)

    def queries(self) -> Items:
        """The `query` folder, else the test images: then the same object as the gallery."""
        return self._parts.queries()

    def gallery(self) -> Items:
        """The `gallery` folder, else the test images."""
        return self._parts.gallery()

    def truth(self) -> GroundTruth | None:
        """Equal class folder = relevant; the query itself is ignored by its id; none without class folders."""
        return self._parts.truth()

    @property
    def protocol(self) -> dict[str, Any]:
        """Split, self rule, sizes, and how many files without an image's suffix were left out."""
        one_set = self._parts.leave_one_out
        return {
            "split": self._split,
            "self": "each test image is searched among the others; itself ignored by id" if one_set else "none",
            "group": "none",
            "crop": "none",
            "image_size": self.image_size,
            "sizes": self._parts.sizes(),
            "other_files": self._other_files,
        }

    def _find(self) -> tuple[str, list[tuple[str | None, Part, str]]]:
        """What the layout is, and (class, part, path) of every image."""
        folders, loose = self._look(self._root)
        if not folders:
            if not loose:
                raise DataNotFound(f"{self._root} holds no images; type data.root=FOLDER, {LAYOUT}")
            return "no classes: all images", [(None, Part.TEST, path) for path in loose]
        if loose:
            raise CorruptInput(
                f"{self._root} holds images beside its folders: {shorten(loose)}; move them into a class folder"
            )
        names = {folder.name for folder in folders}
        given = next((parts for parts in GIVEN if {part.value for part in parts} <= names), None)
        if given is None:
            return self._split_classes(self._classes(folders))
        return self._take_given(folders, given)

    def _split_classes(self, classes: dict[str, list[str]]) -> tuple[str, list[tuple[str | None, Part, str]]]:
        test, validation = self._shares
        parts = class_split(list(classes), test, validation, self._seed)
        said = f"classes by seed {self._seed}, {test:g} of them test, {validation:g} of the rest validation"
        return said, [(name, parts[name], path) for name, paths in classes.items() for path in paths]

    def _take_given(self, folders: list[Path], given: set[Part]) -> tuple[str, list[tuple[str | None, Part, str]]]:
        roles = given | {Part.TRAIN, Part.VALIDATION}
        other = [folder.name for folder in folders if folder.name not in roles]
        if other:
            raise CorruptInput(
                f"{self._root} holds {shorten(other)} beside {' and '.join(sorted(given))}; allowed there:"
                f" {', '.join(sorted(roles))}"
            )
        files: list[tuple[str | None, Part, str]] = []
        for folder in folders:
            inner, loose = self._look(folder)
            if loose or not inner:
                raise CorruptInput(f"{folder} must hold class folders only; {shorten(loose) or 'it is empty'}")
            part = Part(folder.name)
            files += [(name, part, path) for name, paths in self._classes(inner).items() for path in paths]
        if not any(part is Part.VALIDATION for _, part, _ in files):
            files = self._set_apart(files)
        return f"folders {', '.join(sorted(folder.name for folder in folders))}", files

    def _set_apart(self, files: list[tuple[str | None, Part, str]]) -> list[tuple[str | None, Part, str]]:
        """Some training classes become the validation part."""
        names = sorted({name or "" for name, part, _ in files if part is Part.TRAIN})
        count = round(self._shares[1] * len(names))
        if not count:
            return files
        parts = class_split(names, count / len(names), 0, self._seed)
        kept = {name for name, part in parts.items() if part is Part.TEST}
        return [
            (name, Part.VALIDATION if part is Part.TRAIN and name in kept else part, path) for name, part, path in files
        ]

    def _look(self, folder: Path) -> tuple[list[Path], list[str]]:
        """Folders, and images (as keys), that lie right in a folder; sorted. Hidden ones are left out."""
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        files = [path for path in entries if path.is_file()]
        return [path for path in entries if path.is_dir()], self._images(files)

    def _classes(self, folders: list[Path]) -> dict[str, list[str]]:
        found = {folder.name: self._images(sorted(_walk(folder))) for folder in folders}
        empty = [str(folder.relative_to(self._root)) for folder in folders if not found[folder.name]]
        if empty:
            raise DataNotFound(
                f"{len(empty)} class folders of {self._root} hold no image: {shorten(empty)}; remove them, or put"
                f" images in (suffixes: {', '.join(sorted(SUFFIXES))})"
            )
        return found

    def _images(self, files: list[Path]) -> list[str]:
        images = [path for path in files if path.suffix.lower() in SUFFIXES]
        self._other_files += len(files) - len(images)
        return [path.relative_to(self._root).as_posix() for path in images]


def _walk(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        yield from (Path(where) / name for name in names if not name.startswith("."))
