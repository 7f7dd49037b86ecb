"""Characters of sixteen typefaces on photographs: thousands of classes, drawn from what pip has already installed."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data import _fonts, _photographs
from retrieval_bench.data._checks import need_whole
from retrieval_bench.data._glyph import Painter, versions
from retrieval_bench.data._rendered import Recipe, remembered, rendered
from retrieval_bench.data.base import Dataset, Items, item_id
from retrieval_bench.errors import BadConfig
from retrieval_bench.types import GroundTruth

SHARES = {"train": 0.32, "validation": 0.08, "test": 0.60}  # of the classes
PHOTOGRAPHS = {  # no photograph serves two parts
    "train": ("astronaut", "motorcycle_left", "ihc", "brick"),
    "validation": ("retina", "gravel"),
    "test": ("chelsea", "coffee", "rocket", "hubble_deep_field", "grass"),
}


class Member(NamedTuple):
    """One item before it is drawn."""

    point: int  # code point drawn
    face: int  # number in `_fonts.FACES`
    label: int  # first code point of its shape
    key: str


class Glyphs(Dataset):
    """Class = the shape of a character; item = one typeface under seeded distortions, drawn on photographs.

    The faces are DejaVu Sans, Sans Mono, Serif and STIXGeneral in four styles each, as matplotlib ships them; the
    characters are those in ten faces or more (2,538). Characters that look alike (Latin A, Greek Alpha, …; hyphen and
    minus) are one class: see `_fonts.shapes`. Ink is scaled to its own box, so that size and height on the line tell
    nothing. Classes are split 32 : 8 : 60 into train, validation and test; the three use different photographs.
    Queries of a class are drawn in other faces than its gallery items.

    Args:
        cache: folder into which the images are drawn once (about 0.65 GB for the test part).
        seed: decides the split of classes and faces and every distortion; apart from the seed of a run.
        image_size: side in pixels.
        n_classes: number of classes in all three parts together; none = all.
        query_faces: faces of a class that are queries, 1 … 8; the others are its gallery.
        per_face: images of each face of a class.
        strength: of all distortions, 0 … 5; 0 = upright, centred, plain dark ink on a plain light ground.

    Raises:
        BadConfig: a number out of its range.
    """

    name = "glyphs"

    def __init__(
        self,
        cache: str,
        *,
        seed: int = 0,
        image_size: int = 112,
        n_classes: int | None = None,
        query_faces: int = 4,
        per_face: int = 1,
        strength: float = 1.0,
    ) -> None:
        need_whole("seed", seed, 0, 2**63 - 1)
        need_whole("image_size", image_size, 16, 1024)
        need_whole("n_classes", n_classes, 5, 100_000, "all")
        need_whole("query_faces", query_faces, 1, 8)
        need_whole("per_face", per_face, 1, 100)
        if not 0 <= strength <= 5:
            raise BadConfig(f"data.strength={strength}: type a number from 0 to 5")
        self.image_size: int = image_size
        self._cache = Path(cache)
        self._seed, self._n_classes = seed, n_classes
        self._query_faces, self._per_face, self._strength = query_faces, per_face, strength

    def train(self) -> Items:
        """All faces of the training classes."""
        return self._items("train", "train", True, True)

    def validation(self) -> Items:
        """All faces of the validation classes."""
        return self._items("validation", "validation", True, True)

    def queries(self) -> Items:
        """The query faces of the test classes."""
        return self._queries

    def gallery(self) -> Items:
        """The other faces of the test classes."""
        return self._gallery

    def truth(self) -> GroundTruth:
        """Equal shape = relevant."""
        queries, gallery = self._queries, self._gallery
        return GroundTruth(queries.ids, gallery.ids, query_labels=queries.labels, gallery_labels=gallery.labels)

    @property
    def protocol(self) -> dict[str, Any]:
        """Split by class and by face; nothing has to be ignored, for queries and gallery share no item."""
        return {
            "data": self.name,
            "split": "by class 32:8:60 train, validation, test; photographs disjoint between the parts",
            "crop": f"none; drawn at {self.image_size} x {self.image_size}",
            "self": "queries and gallery share no item",
            "group": f"none; {self._query_faces} faces of a class are queries, its other faces the gallery",
            "relevance": "equal shape (characters that look alike are one class)",
            "n_classes": {part: len(classes) for part, classes in self._split.items()},
            "n_queries": len(self._queries),
            "n_gallery": len(self._gallery),
            "seed": self._seed,
            "per_face": self._per_face,
            "strength": self._strength,
            "drawn_with": self._versions,
        }

    @cached_property
    def _queries(self) -> Items:
        return self._items("query", "test", True, False)

    @cached_property
    def _gallery(self) -> Items:
        return self._items("gallery", "test", False, True)

    @cached_property
    def _versions(self) -> dict[str, str]:
        return versions()

    @cached_property
    def _split(self) -> dict[str, list[list[int]]]:
        """Part → its shapes, in the order of their first code point."""
        shapes = remembered(self._cache, "glyphs-shapes", self._versions, _fonts.shapes)
        shapes = sorted(shapes, key=lambda shape: item_id(f"{self._seed}/{shape[0]}"))[: self._n_classes]
        n_train = max(1, round(SHARES["train"] * len(shapes)))
        n_validation = max(1, round(SHARES["validation"] * len(shapes)))
        ends = {"train": (0, n_train), "validation": (n_train, n_train + n_validation)}
        ends["test"] = (n_train + n_validation, len(shapes))
        return {part: sorted(shapes[start:stop]) for part, (start, stop) in ends.items()}

    def _members(self, shapes: Sequence[Sequence[int]], queries: bool, gallery: bool) -> list[Member]:
        """The items of these shapes on either or both sides, in the order of shape and face."""
        characters = _fonts.characters()
        members = []
        for shape in shapes:
            faces = sorted(set().union(*(characters[point] for point in shape)))
            order = sorted(faces, key=lambda face: item_id(f"{self._seed}/{shape[0]}/{_fonts.FACES[face]}"))
            asked = set(order[: self._query_faces])
            for face in faces:
                if not (queries if face in asked else gallery):
                    continue
                points = [point for point in shape if face in characters[point]]
                for copy in range(self._per_face):
                    point = points[item_id(f"{self._seed}/{shape[0]}/{face}/{copy}") % len(points)]
                    members.append(Member(point, face, shape[0], f"U+{shape[0]:04X}/{_fonts.FACES[face]}/{copy}"))
        return members

    def _items(self, name: str, part: str, queries: bool, gallery: bool) -> Items:
        members = self._members(self._split[part], queries, gallery)
        painter = Painter(PHOTOGRAPHS[part], self.image_size or 0, self._strength, self._seed)
        recipe = Recipe(
            name=f"glyphs-{name}",
            decides={
                **self._versions,
                "seed": self._seed,
                "strength": self._strength,
                "photographs": _photographs.digest(PHOTOGRAPHS[part]),
                "points": [member.point for member in members],
            },
            keys=[member.key for member in members],
            size=self.image_size or 0,
            draw=lambda row: painter(members[row].point, _fonts.FACES[members[row].face], members[row].key),
        )
        labels: NDArray[np.int64] = np.array([member.label for member in members], np.int64)
        names = {shape[0]: f"{unicodedata.name(chr(shape[0]), '')} U+{shape[0]:04X}" for shape in self._split[part]}
        return rendered(self._cache, recipe).items(recipe, labels, names)
