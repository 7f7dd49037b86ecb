"""What lies in a folder: images (or videos), folders, and whatever else, which is remembered and told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from retrieval_bench.data._checks import Problems, shorten
from retrieval_bench.data._kinds import Kind
from retrieval_bench.errors import DataNotFound


class Folders:
    """Looks below a root. Names that begin with a dot are hidden: counted, never opened.

    Args:
        root: keys are relative to it.
        problems: where to tell what is wrong.
        kind: of the files that are looked for.

    Attributes:
        left_out: (key, reason) of everything seen that is neither such a file nor a folder to look into.
        hidden: number of hidden names seen.
    """

    def __init__(self, root: Path, problems: Problems, kind: Kind) -> None:
        self._root, self._problems, self._kind = root, problems, kind
        self.left_out: list[tuple[str, str]] = []
        self.hidden = 0
        self._closed: list[str] = []
        self._unnamed: list[str] = []

    def look(self, folder: Path) -> tuple[list[Path], list[str]]:
        """Folders, and files of the kind (as keys), right in a folder; sorted."""
        entries = sorted(self._entries(folder))
        # os.path, not Path: a ring of links is no folder, and no error.
        folders = [path for path in entries if os.path.isdir(path)]  # noqa: PTH112
        known = set(folders)
        return folders, self._files([path for path in entries if path not in known])

    def classes(self, folders: list[Path]) -> dict[str, list[str]]:
        """Folder name → its files of the kind, however deep; an empty one is a problem."""
        found: dict[str, list[str]] = {}
        empty = []
        for folder in folders:
            before = len(self.left_out)
            found[folder.name] = self._files(sorted(self._walk(folder)))
            if not found[folder.name]:
                kinds = sorted({Path(key).suffix.lower() or key for key, _ in self.left_out[before:]})
                empty.append(self._key(folder) + (f" (only {' '.join(kinds[:3])})" if kinds else ""))
        if empty:
            self._problems.add(
                f"{len(empty)} class folders hold no {self._kind.word}: {shorten(empty)}; remove them, or put"
                f" {self._kind.word}s in (suffixes: {', '.join(sorted(self._kind.suffixes))})",
                DataNotFound,
            )
        return found

    def finish(self) -> None:
        """Adds what could not be opened or named to the problems."""
        if self._closed:
            self._problems.add(
                f"{len(self._closed)} folders cannot be opened: {shorten(self._closed)}; type chmod -R u+rX"
                f" {self._root}, or remove them"
            )
        if self._unnamed:
            self._problems.add(
                f"{len(self._unnamed)} names are not UTF-8: {shorten(self._unnamed)}; rename them, for instance with"
                " convmv -f latin1 -t utf8"
            )

    def _entries(self, folder: Path) -> Iterator[Path]:
        try:
            names = os.listdir(folder)  # noqa: PTH208  # names, without a Path for each
        except OSError as error:
            self._closed.append(f"{self._key(folder)} ({error.strerror})")
            return
        for name in names:
            if name.startswith("."):
                self.hidden += 1
            elif name.encode(errors="replace").decode() != name:
                self._unnamed.append(self._key(folder / name))
            else:
                yield folder / name

    def _walk(self, folder: Path) -> Iterator[Path]:
        """Everything below a folder that is not a folder itself; links to folders are told, not followed."""
        with_folders = list(self._entries(folder))
        for path in with_folders:
            if not os.path.isdir(path):  # noqa: PTH112
                yield path
            elif path.is_symlink():
                self.left_out.append((self._key(path), "a link to a folder; not followed within a class"))
            else:
                yield from self._walk(path)

    def _files(self, files: list[Path]) -> list[str]:
        found, kind = [], self._kind
        for path in files:
            suffix, key = path.suffix.lower(), self._key(path)
            if suffix in kind.suffixes and (path.is_symlink() or path.is_file()):  # a broken link is an unreadable item
                found.append(key)
            elif suffix in kind.suffixes:
                self.left_out.append((key, "not a file (a pipe, a socket or a device)"))
            elif path.is_symlink() and not os.path.exists(path):  # noqa: PTH110
                self.left_out.append((key, "a link that leads nowhere"))
            elif suffix in kind.others:
                self.left_out.append((key, f"{suffix} is not read; convert it to {kind.convert}"))
            else:
                self.left_out.append((key, f"not {kind.article}: {suffix or 'no suffix'}"))
        return found

    def _key(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()
