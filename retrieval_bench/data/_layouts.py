"""The four layouts of a folder whose folders are classes: what the parts are, and which file is in which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data._checks import Problems, shorten
from retrieval_bench.data._files import FileTable, Part, class_split, label_codes, set_apart
from retrieval_bench.data._folders import Folders
from retrieval_bench.data._kinds import Kind
from retrieval_bench.errors import DataNotFound

if TYPE_CHECKING:
    from retrieval_bench.media.clip import Clip

GIVEN = ({Part.QUERY, Part.GALLERY}, {Part.TRAIN, Part.TEST})  # folders that mean a given split
SPLITS = {part.value for part in Part} | {"val", "valid"}  # what folders of other tools are called
Files = Sequence[tuple[str | None, Part, str]]  # (class, part, path) of every file


@dataclass(frozen=True)
class Found:
    """The files of a folder.

    Attributes:
        split: how the parts were made.
        files: class or none, part, path relative to the root.
        left_out, hidden: as of `Folders`.
    """

    root: Path
    split: str
    files: Files
    left_out: Sequence[tuple[str, str]]
    hidden: int

    def table(self, groups: NDArray[np.int64] | None = None, clip: Clip | None = None) -> FileTable:
        """The files as a table; labels where every file has a class."""
        names = [name for name, _, _ in self.files if name is not None]
        codes, label_names = label_codes(names)
        labelled = len(names) == len(self.files)
        return FileTable(
            self.root,
            [path for _, _, path in self.files],
            [part for _, part, _ in self.files],
            labels=codes if labelled else None,
            groups=groups,
            label_names=label_names if labelled else {},
            clip=clip,
        )


def find(root: Path, kind: Kind, layout: str, shares: tuple[float, float], seed: int) -> Found:
    """Look for files of a kind in a folder.

    The layouts, the first that fits: `query` and `gallery` folders; `train` and `test` folders (both may have
    `validation`, the first also `train`); class folders, split class-disjointly by a seeded hash of their names; no
    folders at all. What lies deeper in a class folder belongs to the class.

    Args:
        layout: what should be inside, for the message.
        shares: of the classes to test, where there are class folders only; of the training classes to validate on,
            where there is no `validation` folder.
        seed: of both.

    Raises:
        DataNotFound: no files, or class folders without one (named).
        CorruptInput: files both beside and inside class folders, folders that cannot be opened, or several problems.
    """
    problems = Problems(root)
    folders = Folders(root, problems, kind)
    split, files = _Layout(root, folders, problems, kind, shares, seed).find(layout)
    folders.finish()
    problems.raise_any()
    return Found(root, split, files, folders.left_out, folders.hidden)


@dataclass(frozen=True)
class _Layout:
    root: Path
    folders: Folders
    problems: Problems
    kind: Kind
    shares: tuple[float, float]
    seed: int

    def find(self, layout: str) -> tuple[str, Files]:
        """What the layout is, and its files."""
        folders, loose = self.folders.look(self.root)
        word = f"{self.kind.word}s"
        if not folders:
            if not loose:
                self.problems.add(f"it holds no {word}; type data.root=FOLDER, {layout}", DataNotFound)
            return f"no classes: all {word}", [(None, Part.TEST, path) for path in loose]
        if loose:
            self.problems.add(
                f"{len(loose)} {word} lie beside its folders: {shorten(loose)}; move them into a class folder"
            )
        names = {folder.name for folder in folders}
        given = next((parts for parts in GIVEN if {part.value for part in parts} <= names), None)
        return self._split_classes(folders) if given is None else self._take_given(folders, given)

    def _split_classes(self, folders: list[Path]) -> tuple[str, Files]:
        self._refuse_half_a_split(folders)
        classes = self.folders.classes(folders)
        test, validation = self.shares
        parts = class_split(list(classes), test, validation, self.seed)
        said = f"classes by seed {self.seed}, {test:g} of them test, {validation:g} of the rest validation"
        return said, [(name, parts[name], path) for name, paths in classes.items() for path in paths]

    def _refuse_half_a_split(self, folders: list[Path]) -> None:
        """`train/<class>/` beside `val/<class>/` would silently become two classes, train and val."""
        aside = Folders(self.root, self.problems, self.kind)  # only asked: what it sees is seen again and then told
        half = []
        for folder in folders:
            if folder.name in SPLITS:
                inner, loose = aside.look(folder)
                half += [folder.name] if inner and not loose else []
        if half:
            self.problems.add(
                f"{shorten(half)} hold class folders as parts of a split do, but a split needs train and test, or query"
                " and gallery; rename them (val is called validation or test)"
            )

    def _take_given(self, folders: list[Path], given: set[Part]) -> tuple[str, Files]:
        roles = given | {Part.TRAIN, Part.VALIDATION}
        other = [folder.name for folder in folders if folder.name not in roles]
        if other:
            self.problems.add(
                f"it holds {shorten(other)} beside {' and '.join(sorted(given))}; allowed there:"
                f" {', '.join(sorted(roles))}"
            )
        files: list[tuple[str | None, Part, str]] = []
        for folder in (folder for folder in folders if folder.name in roles):
            inner, loose = self.folders.look(folder)
            if loose or not inner:
                self.problems.add(f"{folder.name} must hold class folders only; {shorten(loose) or 'it is empty'}")
            part = Part(folder.name)
            files += [(name, part, path) for name, paths in self.folders.classes(inner).items() for path in paths]
        if not any(part is Part.VALIDATION for _, part, _ in files):
            kept = set_apart([name or "" for name, part, _ in files if part is Part.TRAIN], self.shares[1], self.seed)
            files = [
                (name, Part.VALIDATION if part is Part.TRAIN and name in kept else part, path)
                for name, part, path in files
            ]
        return f"folders {', '.join(sorted(folder.name for folder in folders))}", files
