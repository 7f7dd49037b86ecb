"""Omniglot: handwritten characters of 50 alphabets, each drawn once by 20 people; 105 × 105 pixels, one bit."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from retrieval_bench.data._checks import need_choice, need_root, need_share, shorten
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import FileTable, Part, class_split, label_codes, set_apart
from retrieval_bench.errors import DataNotFound

SIDE = 105
EVALUATION = "images_evaluation"
LAYOUT = (
    "which holds images_background/ and images_evaluation/, or images_background_small1/ and images_background_small2/,"
    " each as <alphabet>/<character>/<drawing>.png. Unpack them from github.com/brendenlake/omniglot (python/*.zip)"
)


class Unit(StrEnum):
    """What is never on both sides of the split."""

    ALPHABET = "alphabet"
    CHARACTER = "character"


class Omniglot(FileDataset):
    """A class is a character; each test drawing is searched among the other test drawings.

    Paper: Lake, Salakhutdinov and Tenenbaum 2015. With `images_evaluation` its 20 alphabets are the test part and the
    background's 30 the training part, as in the release. Without it (background only, or the two small background sets,
    whose union is taken once by file name) alphabets or characters are split by a seeded hash of their names.

    Drawings of one person are not a group: within an alphabet each person draws each character once, so that ignoring
    them would only take away wrong answers in the same hand, which are the hardest.

    Args:
        root: folder of the data; none takes omniglot or omniglot_small in the folder named by RETRIEVAL_BENCH_DATA.
        split_by: what the split keeps together: alphabet or character.
        test_fraction: share of these units to test, 0 … 1, at least one; without `images_evaluation` only.
        validation_fraction: share of the training units to validate on, 0 … 1.
        seed: of the split.

    Raises:
        DataNotFound: no such folder, none of the layouts inside, or an empty character folder (named).
        BadConfig: a fraction outside 0 … 1, or an unknown unit.
    """

    name = "omniglot"

    def __init__(
        self,
        root: str | None = None,
        split_by: str = Unit.ALPHABET,
        test_fraction: float = 0.5,
        validation_fraction: float = 0.15,
        seed: int = 0,
    ) -> None:
        need_share("test_fraction", test_fraction)
        need_share("validation_fraction", validation_fraction)
        need_choice("split_by", split_by, Unit)
        unit, shares = Unit(split_by), (test_fraction, validation_fraction)
        folder = need_root(root, LAYOUT, ("omniglot", "omniglot_small"))
        drawings = _find(folder)
        characters, paths = [key.rpartition("/")[0] for key in drawings], list(drawings.values())
        units = [name.partition("/")[0] if unit is Unit.ALPHABET else name for name in characters]
        tested = f"{test_fraction:g} of the {unit.value}s by seed {seed}"
        if any(_official(path) for path in paths):
            tested, parts = "official evaluation set", _official_split(units, paths, shares[1], seed)
        else:
            by_unit = class_split(units, *shares, seed)
            parts = [by_unit[name] for name in units]
        labels, label_names = label_codes(characters)
        super().__init__(
            FileTable(folder, paths, parts, labels, label_names=label_names),
            f"test: {tested}; validation: {validation_fraction:g} of the other {unit.value}s, seed {seed}",
            image_size=SIDE,
        )

    @property
    def protocol(self) -> dict[str, Any]:
        """As of all image files, but drawings."""
        return super().protocol | {
            "self": "each test drawing is searched among the others; itself ignored by id",
            "group": "none (drawings by one person are not ignored)",
        }


def _official(path: str) -> bool:
    return path.startswith(EVALUATION)


def _official_split(units: list[str], paths: list[str], validation: float, seed: int) -> list[Part]:
    """The release's evaluation set is the test part; some units of its background validate."""
    background = [name for name, path in zip(units, paths, strict=True) if not _official(path)]
    kept = set_apart(background, validation, seed)
    return [
        Part.TEST if _official(path) else Part.VALIDATION if name in kept else Part.TRAIN
        for name, path in zip(units, paths, strict=True)
    ]


def _find(folder: Path) -> dict[str, str]:
    """`alphabet/character/file` → path relative to the folder; each file name once."""
    tops = [folder / name for name in ("images_background", EVALUATION)]
    tops += sorted(folder.glob("images_background_small*"))
    tops = [top for top in tops if top.is_dir()]
    if not tops:
        raise DataNotFound(f"{folder} holds no images_background…; type data.root=FOLDER, {LAYOUT}")
    drawings: dict[str, str] = {}
    seen: set[str] = set()
    empty = []
    for character in (path for top in tops for path in sorted(top.glob("*/*/"))):
        files = sorted(character.glob("*.png"))
        if not files:
            empty.append(str(character.relative_to(folder)))
        for path in files:
            if path.name not in seen:
                seen.add(path.name)
                drawings["/".join(path.parts[-3:])] = path.relative_to(folder).as_posix()
    if empty or not drawings:
        raise DataNotFound(
            f"{folder}: {len(empty) or 'all'} folders without a drawing: {shorten(empty) or 'all'}; unpack the archives"
            " again"
        )
    return drawings
