"""The split files of UCF101: which clips, in which part, of which class number; and whether the lists agree."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval_bench.data._checks import Problems, shorten
from retrieval_bench.data._clips import Listed, fold, stem
from retrieval_bench.data._listed import keyed, read_list, whole_numbers

CLASSES = 101
NAMES = "classInd.txt"
NAME = re.compile(r"v_(\w+)_g(\d+)_c(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Lists:
    """Clips of the training list, then of the test list; class → official number, 1 … 101."""

    clips: Sequence[Listed]
    numbers: Mapping[str, int]


def source(name: str) -> str:
    """`v_Archery_g08_c01` → its source video: class and group, for the groups are counted within a class."""
    found = NAME.fullmatch(name)
    return "" if found is None else f"{fold(found[1])} g{int(found[2]):02}"


def read_lists(folder: Path, train: str, test: str, problems: Problems) -> Lists:
    """The two lists of a split, and `classInd.txt` where it is there.

    Lists, folders and `classInd.txt` write HandstandPushups in two ways, so names are compared without their case, and
    spelled as in `classInd.txt`.

    Raises:
        CorruptInput: what is wrong with the lists, in one error.
    """
    with problems.collect():
        rows = [(path, number) for path, number in read_list(folder / train, ("clip", "class_id"), problems)]
        tested = [path for (path,) in read_list(folder / test, ("clip",), problems)]
        official = keyed(folder / NAMES, ("class_id", "class"), problems) if (folder / NAMES).exists() else {}
    problems.raise_any()
    paths = [*(path for path, _ in rows), *tested]
    odd = [path for path in paths if not NAME.fullmatch(stem(path))]
    if odd:
        problems.add(f"{len(odd)} clips of {train} and {test} are not called v_<class>_gNN_cNN: {shorten(odd)}")
    problems.raise_any()
    spelled = {fold(name): name for (name,) in official.values()}
    clips = []
    for row, path in enumerate(paths):
        name = stem(path)
        label = _class(name)
        clips.append(Listed(spelled.setdefault(fold(label), label), name, row >= len(rows)))
    told = [(clip.label, number) for clip, (_, number) in zip(clips, rows, strict=False)]
    told += [(name, number) for number, (name,) in official.items()]
    numbers = _numbers(told, f"the class numbers in {train} and {NAMES}", problems)
    lost = sorted({clip.label for clip in clips} - numbers.keys())
    if lost and not len(problems):
        problems.add(f"{len(lost)} classes of {test} have no number in {train} or {NAMES}: {shorten(lost)}")
    _check_apart(clips, train, test, problems)
    problems.raise_any()
    return Lists(clips, numbers)


def _class(name: str) -> str:
    found = NAME.fullmatch(name)
    return "" if found is None else found[1]


def _numbers(told: Sequence[tuple[str, str]], what: str, problems: Problems) -> dict[str, int]:
    """Class → its number, if each has one of its own."""
    before = len(problems)
    pairs = set(zip((name for name, _ in told), whole_numbers([cell for _, cell in told], what, problems), strict=True))
    if len(problems) > before:
        return {}
    outside = sorted({number for _, number in pairs if not 1 <= number <= CLASSES})
    if outside:
        problems.add(f"{what} are outside 1 … {CLASSES}: {shorten(outside)}; the release counts from 1")
    for place, word in ((0, "classes have two numbers"), (1, "numbers are of two classes")):
        twice = [item for item, count in Counter(pair[place] for pair in pairs).items() if count > 1]
        if twice:
            said = sorted(f"{name} {number}" for name, number in pairs if (name, number)[place] in twice)
            problems.add(f"{what}: {len(twice)} {word}: {shorten(said)}; get the official lists again")
    return dict(pairs)


def _check_apart(clips: Sequence[Listed], train: str, test: str, problems: Problems) -> None:
    """A clip stands once, and no source video is on both sides."""
    twice = [name for name, count in Counter(fold(clip.name) for clip in clips).items() if count > 1]
    if twice:
        problems.add(f"{len(twice)} clips stand twice in {train} and {test}: {shorten(twice)}; keep one row of each")
    sides: dict[bool, set[str]] = {True: set(), False: set()}
    for clip in clips:
        sides[clip.tested].add(source(clip.name))
    both = sorted(sides[True] & sides[False])
    if both:
        problems.add(
            f"{len(both)} source videos (class and gNN) are in {train} and in {test}: {shorten(both)}; their clips are"
            " near duplicates: get the official lists again"
        )
