"""What the releases that list their video clips in split files share: the lists' folder, and clips found by name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath

from retrieval_bench.data._checks import Problems, name_all, shorten
from retrieval_bench.data._files import Part
from retrieval_bench.data._folders import Folders
from retrieval_bench.data._kinds import VIDEO
from retrieval_bench.errors import DataNotFound

NAMED = 10  # of the clips that no list names in a message


@dataclass(frozen=True)
class Listed:
    """A clip as a list names it.

    Attributes:
        label: its class, as a folder is called. name: file name without suffix.
        tested: whether it is in the test part.
    """

    label: str
    name: str
    tested: bool


@dataclass(frozen=True)
class Matched:
    """Clips that are there: `keys[i]` is the file of `clips[i]`; `left_out` and `hidden` as of a data set.

    Attributes:
        unlisted: files that no list names; among those left out.
    """

    clips: Sequence[Listed]
    keys: Sequence[str]
    unlisted: Sequence[str]
    left_out: Sequence[tuple[str, str]]
    hidden: int

    @property
    def classes(self) -> list[str]:
        """Sorted."""
        return sorted({clip.label for clip in self.clips})


def fold(name: str) -> str:
    """A name as releases are compared: their lists and folders differ in case, and some systems rewrite letters."""
    return unicodedata.normalize("NFC", name).casefold()


def stem(path: str) -> str:
    """File name without its last suffix: copies are passed on in other formats than the lists say."""
    return PurePosixPath(path).stem


def first_folder(root: Path, names: Iterable[str]) -> Path:
    """The first of these folders that is inside the root, else the root."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def need_lists(root: Path, folder: Path, names: Sequence[str], layout: str) -> None:
    """Raises DataNotFound that names all lists that the folder lacks, and archives in the root still to be unpacked."""
    missing = [name for name in names if not any(folder.glob(name))]
    if missing:
        packed = sorted(path.name for suffix in ("rar", "zip") for path in root.glob(f"*.{suffix}"))
        still = f" ({shorten(packed)} must be unpacked first)" if packed else ""
        raise DataNotFound(f"{folder} lacks {', '.join(missing)}{still}; type data.root=FOLDER, {layout}")


class Clips:
    """The video files of a release, nested in class folders or flat.

    Args:
        root: keys are relative to it. place: folder of the videos, the root or inside it.
        lists: folder of the lists, which is not looked into.
        problems: where to tell what is wrong.
    """

    def __init__(self, root: Path, place: Path, lists: Path, problems: Problems) -> None:
        self._place, self._problems = place, problems
        self._folders = Folders(root, problems, VIDEO)
        inner, loose = self._folders.look(place)
        classes = self._folders.classes([folder for folder in inner if folder != lists and folder not in lists.parents])
        self._keys = [*loose, *(key for keys in classes.values() for key in keys)]
        self._folders.finish()
        self._named: dict[str, list[str]] = {}
        for key in self._keys:
            self._named.setdefault(fold(stem(key)), []).append(key)

    def match(self, listed: Sequence[Listed], where: str, unused: Iterable[str] = ()) -> Matched:
        """Files of the listed clips. Classes of which no clip is there are left off: a copy may hold some of them.

        A missing clip of another class is a problem, and so is one that is there more than once.

        Args:
            where: names of the lists, for messages.
            unused: names of clips that the lists name, but in no part.
        """
        found = [self._find(clip) for clip in listed]
        there = {clip.label for clip, keys in zip(listed, found, strict=True) if keys}
        lost = [f"{c.label}/{c.name}" for c, keys in zip(listed, found, strict=True) if not keys and c.label in there]
        twice = [" and ".join(keys) for keys in found if len(keys) > 1]
        if not there:
            other = [key for key, _ in self._folders.left_out]
            held = f"{len(self._keys)} videos and {len(other)} other files" + (f": {shorten(other)}" if other else "")
            self._problems.add(
                f"none of the {len(listed)} clips of {where} is in {self._place}, which holds {held}; unpack the videos"
                " there",
                DataNotFound,
            )
        if lost:
            self._problems.add(
                f"{len(lost)} of the {sum(c.label in there for c in listed)} clips of {where} are not in {self._place}:"
                f"{name_all(lost)}put them there, or remove all clips of their classes",
                DataNotFound,
            )
        if twice:
            self._problems.add(f"{len(twice)} clips are there more than once: {shorten(twice)}; keep one of each")
        pairs = [(clip, keys[0]) for clip, keys in zip(listed, found, strict=True) if keys]
        left, unlisted = self._others({key for _, key in pairs}, listed, where, unused)
        return Matched(
            [clip for clip, _ in pairs],
            [key for _, key in pairs],
            unlisted,
            [*self._folders.left_out, *left],
            self._folders.hidden,
        )

    def _others(
        self, used: set[str], listed: Sequence[Listed], where: str, unused: Iterable[str]
    ) -> tuple[list[tuple[str, str]], list[str]]:
        """(key, reason) of the videos that are not used, and the keys of those that no list names."""
        copies, idle = {fold(clip.name) for clip in listed}, {fold(name) for name in unused}
        left, unlisted = [], []
        for key in self._keys:
            name = fold(stem(key))
            if key in used:
                continue
            if name in copies:
                left.append((key, "another copy of a clip that is used"))
            elif name in idle:
                left.append((key, f"in no part of {where}"))
            else:
                left.append((key, f"not in {where}"))
                unlisted.append(key)
        return left, unlisted

    def _find(self, clip: Listed) -> list[str]:
        """Files of the clip's name; of several those of the same case, then those in the class's folder."""
        keys = self._named.get(fold(clip.name), [])
        if len(keys) > 1:
            keys = [key for key in keys if stem(key) == clip.name] or keys
        if len(keys) > 1:
            keys = [key for key in keys if fold(clip.label) in fold(key).split("/")[:-1]] or keys
        return keys


def split_parts(clips: Sequence[Listed], sources: Sequence[str], share: float, seed: int) -> list[Part]:
    """Test clips are queries, the others are searched; whole sources of these are kept for validation.

    Args:
        sources: of each clip, the group that must not be torn.
        share, seed: see `sources_apart`.
    """
    trained = [(clip.label, source) for clip, source in zip(clips, sources, strict=True) if not clip.tested]
    kept = sources_apart(trained, share, seed)
    return [
        Part.QUERY if clip.tested else Part.VALIDATION if source in kept else Part.TRAIN
        for clip, source in zip(clips, sources, strict=True)
    ]


def sources_apart(trained: Iterable[tuple[str, str]], share: float, seed: int) -> set[str]:
    """Sources to validate on, some of each class, in the order of a seeded hash of their names.

    At least two sources of a class, so that a clip finds one of another source; never its last one. A source of several
    classes is kept with all its clips.

    Args:
        trained: (class, source) of each training clip.
        share: of the sources of each class, 0 … 1; 0: none.
        seed: of the order.
    """
    of_class: dict[str, set[str]] = {}
    for label, source in trained:
        of_class.setdefault(label, set()).add(source)
    kept = set[str]()
    for sources in of_class.values() if share else ():
        ordered = sorted(sources, key=lambda name: blake2b(f"{seed}:{name}".encode(), digest_size=16).digest())
        kept.update(ordered[: min(max(2, round(share * len(ordered))), len(ordered) - 1)])
    return kept


def need_listed(found: Matched, problems: Problems) -> None:
    """Adds videos that no list names."""
    if found.unlisted:
        problems.add(
            f"{len(found.unlisted)} videos are in no list: {shorten(found.unlisted, NAMED)}; remove them, get the whole"
            " lists, or type data.check_sizes=false"
        )
