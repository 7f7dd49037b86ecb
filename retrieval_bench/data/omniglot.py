"""Omniglot: handwritten characters of 50 alphabets, each drawn once by 20 people; 105 × 105 pixels, one bit."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from retrieval_bench.data._files import FileTable, Part, Parts, class_split, label_codes, need_root, need_share, shorten
from retrieval_bench.data.base import Dataset, Items
from retrieval_bench.errors import BadConfig, DataNotFound
from retrieval_bench.types import GroundTruth

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


class Omniglot(Dataset):
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
        BadConfig: a fraction outside 0 … 1.
    """

    name = "omniglot"
    image_size = SIDE

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
        self._unit = _unit(split_by)
        self._shares, self._seed = (test_fraction, validation_fraction), seed
        folder = need_root(root, LAYOUT, ("omniglot", "omniglot_small"))
        drawings = _find(folder)
        self._official = any(path.startswith(EVALUATION) for path in drawings.values())
        characters = [key.rpartition("/")[0] for key in drawings]
        labels, label_names = label_codes(characters)
        paths = list(drawings.values())
        self._parts = Parts(FileTable(folder, paths, self._split(characters, paths), labels, label_names=label_names))

    def train(self) -> Items:
        """Background characters that are neither validated nor tested on."""
        return self._parts.items(Part.TRAIN)

    def validation(self) -> Items:
        """A class-disjoint part of the background."""
        return self._parts.items(Part.VALIDATION)

    def queries(self) -> Items:
        """The test characters' drawings: the same object as the gallery."""
        return self._parts.queries()

    def gallery(self) -> Items:
        """The test characters' drawings."""
        return self._parts.gallery()

    def truth(self) -> GroundTruth | None:
        """Equal character = relevant; the query itself is ignored by its id."""
        return self._parts.truth()

    @property
    def protocol(self) -> dict[str, Any]:
        """Split, self rule and sizes."""
        test, validation = self._shares
        tested = (
            "official evaluation set" if self._official else f"{test:g} of the {self._unit.value}s by seed {self._seed}"
        )
        return {
            "split": f"test: {tested}; validation: {validation:g} of the other {self._unit.value}s, seed {self._seed}",
            "self": "each test drawing is searched among the others; itself ignored by id",
            "group": "none (drawings by one person are not ignored)",
            "crop": "none",
            "image_size": SIDE,
            "sizes": self._parts.sizes(),
        }

    def _split(self, characters: list[str], paths: list[str]) -> list[Part]:
        units = [name.partition("/")[0] if self._unit is Unit.ALPHABET else name for name in characters]
        test, validation = self._shares
        if not self._official:
            parts = class_split(units, test, validation, self._seed)
            return [parts[unit] for unit in units]
        evaluated = [path.startswith(EVALUATION) for path in paths]
        background = sorted({unit for unit, tested in zip(units, evaluated, strict=True) if not tested})
        count = round(validation * len(background))
        chosen = class_split(background, count / len(background), 0, self._seed) if count else {}
        parts = {unit: Part.VALIDATION if part is Part.TEST else Part.TRAIN for unit, part in chosen.items()}
        return [
            Part.TEST if tested else parts.get(unit, Part.TRAIN) for unit, tested in zip(units, evaluated, strict=True)
        ]


def _unit(name: str) -> Unit:
    try:
        return Unit(name)
    except ValueError as error:
        raise BadConfig(f"data.split_by={name}: type one of {', '.join(Unit)}") from error


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
        raise DataNotFound(f"{folder}: folders without a drawing: {shorten(empty) or 'all'}; unpack the archives again")
    return drawings
