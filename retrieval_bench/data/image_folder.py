"""A folder of your own images; folder names are the classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval_bench.data._checks import Problems, need_root, need_share, need_whole, shorten
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import FileTable, Part, class_split, label_codes, set_apart
from retrieval_bench.data._folders import Folders
from retrieval_bench.errors import DataNotFound

LAYOUT = (
    "which holds <class>/<image> (classes are split by a seed), or train/<class>/<image> and test/<class>/<image>,"
    " or query/<class>/<image> and gallery/<class>/<image>, or just images"
)
GIVEN = ({Part.QUERY, Part.GALLERY}, {Part.TRAIN, Part.TEST})  # folders that mean a given split
SPLITS = {part.value for part in Part} | {"val", "valid"}  # what folders of other tools are called
Files = Sequence[tuple[str | None, Part, str]]  # (class, part, path) of every image


class ImageFolder(FileDataset):
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
        CorruptInput: images both beside and inside class folders, folders that cannot be opened, or several problems.
        BadConfig: a fraction outside 0 … 1, or an image_size that is no size.
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
        need_whole("image_size", image_size, 1, 10_000, "they are resized as the encoder needs it")
        self._shares, self._seed = (test_fraction, validation_fraction), seed
        self._root = need_root(root, LAYOUT)
        self._problems = Problems(self._root)
        self._folders = Folders(self._root, self._problems)
        split, files = self._find()
        self._folders.finish()
        self._problems.raise_any()
        self.left_out, self.hidden_files = self._folders.left_out, self._folders.hidden
        names = [name for name, _, _ in files if name is not None]
        codes, label_names = label_codes(names)
        labelled = len(names) == len(files)
        table = FileTable(
            self._root,
            [path for _, _, path in files],
            [part for _, part, _ in files],
            labels=codes if labelled else None,
            label_names=label_names if labelled else {},
        )
        super().__init__(table, split, image_size=image_size)

    @property
    def protocol(self) -> dict[str, Any]:
        """Also: how many files were left out because they are no images."""
        return super().protocol | {"other_files": len(self.left_out)}

    def _find(self) -> tuple[str, Files]:
        """What the layout is, and its images."""
        folders, loose = self._folders.look(self._root)
        if not folders:
            if not loose:
                self._problems.add(f"it holds no images; type data.root=FOLDER, {LAYOUT}", DataNotFound)
            return "no classes: all images", [(None, Part.TEST, path) for path in loose]
        if loose:
            self._problems.add(
                f"{len(loose)} images lie beside its folders: {shorten(loose)}; move them into a class folder"
            )
        names = {folder.name for folder in folders}
        given = next((parts for parts in GIVEN if {part.value for part in parts} <= names), None)
        return self._split_classes(folders) if given is None else self._take_given(folders, given)

    def _split_classes(self, folders: list[Path]) -> tuple[str, Files]:
        self._refuse_half_a_split(folders)
        classes = self._folders.classes(folders)
        test, validation = self._shares
        parts = class_split(list(classes), test, validation, self._seed)
        said = f"classes by seed {self._seed}, {test:g} of them test, {validation:g} of the rest validation"
        return said, [(name, parts[name], path) for name, paths in classes.items() for path in paths]

    def _refuse_half_a_split(self, folders: list[Path]) -> None:
        """`train/<class>/` beside `val/<class>/` would silently become two classes, train and val."""
        aside = Folders(self._root, self._problems)  # only asked: what it sees is seen again and then told
        half = []
        for folder in folders:
            if folder.name in SPLITS:
                inner, loose = aside.look(folder)
                half += [folder.name] if inner and not loose else []
        if half:
            self._problems.add(
                f"{shorten(half)} hold class folders as parts of a split do, but a split needs train and test, or query"
                " and gallery; rename them (val is called validation or test)"
            )

    def _take_given(self, folders: list[Path], given: set[Part]) -> tuple[str, Files]:
        roles = given | {Part.TRAIN, Part.VALIDATION}
        other = [folder.name for folder in folders if folder.name not in roles]
        if other:
            self._problems.add(
                f"it holds {shorten(other)} beside {' and '.join(sorted(given))}; allowed there:"
                f" {', '.join(sorted(roles))}"
            )
        files: list[tuple[str | None, Part, str]] = []
        for folder in (folder for folder in folders if folder.name in roles):
            inner, loose = self._folders.look(folder)
            if loose or not inner:
                self._problems.add(f"{folder.name} must hold class folders only; {shorten(loose) or 'it is empty'}")
            part = Part(folder.name)
            files += [(name, part, path) for name, paths in self._folders.classes(inner).items() for path in paths]
        if not any(part is Part.VALIDATION for _, part, _ in files):
            kept = set_apart([name or "" for name, part, _ in files if part is Part.TRAIN], self._shares[1], self._seed)
            files = [
                (name, Part.VALIDATION if part is Part.TRAIN and name in kept else part, path)
                for name, part, path in files
            ]
        return f"folders {', '.join(sorted(folder.name for folder in folders))}", files
