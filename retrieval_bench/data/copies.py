"""Copy detection on the photographs inside scikit-image: find the tile that an edited picture was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from retrieval_bench.data import _edit, _fonts, _photographs
from retrieval_bench.data._checks import need_choice, need_whole
from retrieval_bench.data._edit import Strength
from retrieval_bench.data._rendered import Recipe, rendered
from retrieval_bench.data.base import Dataset, Items, item_id
from retrieval_bench.types import GroundTruth, Ragged

PHOTOGRAPHS = {  # the stereo pair's second image is left out; no photograph serves two parts
    "train": ("chelsea", "rocket", "hubble_deep_field"),
    "validation": ("retina",),
    "test": ("astronaut", "coffee", "motorcycle_left", "ihc"),
}
BLANK = 14.0  # grey levels; a tile whose brightness varies less (standard deviation) shows nothing
ALIKE = 0.97  # correlation of two tiles, shrunk to 8 × 8, from which the later one is dropped
TRAIN_VARIANTS = 24
LABELS = 2**20  # kept for each part: far more than the tiles of its photographs


class Tile(NamedTuple):
    """A square of a photograph."""

    photograph: str
    row: int
    column: int
    image: Image.Image

    @property
    def key(self) -> str:
        """Its source key."""
        return f"{self.photograph}/{self.row},{self.column}"


class Copies(Dataset):
    """Queries are edited copies of tiles at three strengths; relevant is the one tile that a copy was made from.

    The four test photographs are cut into tiles that do not overlap; blank and near-identical tiles are dropped. The
    rest are sources and grounds of distractors in turn, like a chess board, so that no distractor shows a pixel of a
    source. The gallery holds the sources as they are, and distractors: edits, half of them of two blended tiles.

    Args:
        cache: folder into which the images are drawn once (about 0.45 GB).
        seed: decides every edit; apart from the seed of a run.
        image_size: side of the images in pixels.
        tile: side of a tile in pixels of its photograph.
        n_gallery: sources and distractors together.
        variants: copies of a source at each strength.
        strength: only queries of this strength (mild, medium, strong); none = all three.

    Raises:
        BadConfig: a number out of its range, or an unknown strength.
    """

    name = "copies"

    def __init__(
        self,
        cache: str,
        *,
        seed: int = 0,
        image_size: int = 112,
        tile: int = 64,
        n_gallery: int = 10_000,
        variants: int = 4,
        strength: str | None = None,
    ) -> None:
        need_whole("seed", seed, 0, 2**63 - 1)
        need_whole("image_size", image_size, 16, 1024)
        need_whole("tile", tile, 32, 128)
        need_whole("n_gallery", n_gallery, 500, 10_000_000)
        need_whole("variants", variants, 1, 1000)
        need_choice("strength", strength, Strength, "all three")
        self.image_size: int = image_size
        self._side = image_size
        self._kept: dict[str, list[Tile]] = {}
        self._cache, self._seed, self._tile = cache, seed, tile
        self._n_gallery, self._variants = n_gallery, variants
        self._strengths = tuple(Strength) if strength is None else (Strength(strength),)

    def train(self) -> Items:
        """Tiles of three other photographs and edits of them; a label is a tile, and no other part has it."""
        return self._labelled("train")

    def validation(self) -> Items:
        """As `train`, of another photograph."""
        return self._labelled("validation")

    def queries(self) -> Items:
        """Edited copies of the sources; a key names source, strength and variant."""
        return self._queries

    def gallery(self) -> Items:
        """Sources, then distractors."""
        return self._gallery

    def truth(self) -> GroundTruth:
        """The one source of each copy."""
        queries = self._queries
        sources = np.array([item_id(key.rsplit("/", 2)[0]) for key in queries.keys], np.int64)
        lists = Ragged(sources, np.arange(len(sources) + 1, dtype=np.int64))
        return GroundTruth(queries.ids, self._gallery.ids, relevant=lists)

    @property
    def protocol(self) -> dict[str, Any]:
        """Explicit lists of one relevant item; nothing has to be ignored."""
        return {
            "data": self.name,
            "split": "by photograph: " + "; ".join(f"{part}: {', '.join(p)}" for part, p in PHOTOGRAPHS.items()),
            "crop": f"tiles of {self._tile} pixels drawn at {self._side} x {self._side}",
            "self": "queries and gallery share no item",
            "group": "none",
            "relevance": "the source of the copy",
            "strengths": [str(strength) for strength in self._strengths],
            "n_sources": len(self._tiles("test")[::2]),
            "n_queries": len(self._queries),
            "n_gallery": len(self._gallery),
            "seed": self._seed,
            "drawn_with": self._versions,
        }

    @cached_property
    def _versions(self) -> dict[str, str]:
        return {
            "recipe": str(_edit.RECIPE),
            "fonts": _fonts.digest(),
            "pillow": version("pillow"),
            "jpeg": str(features.version("jpg")),
            "numpy": version("numpy"),
            "scikit-image": version("scikit-image"),
        }

    @cached_property
    def _queries(self) -> Items:
        sources = self._tiles("test")[::2]
        plan = [(t, s, v) for t in sources for s in self._strengths for v in range(self._variants)]
        keys = [f"{tile.key}/{strength}/{variant}" for tile, strength, variant in plan]
        return self._drawn(
            "query-" + "-".join(self._strengths),
            keys,
            lambda row: _edit.edit(plan[row][0].image, plan[row][1], self._side, self._random(keys[row])),
        )

    @cached_property
    def _gallery(self) -> Items:
        tiles = self._tiles("test")
        sources, grounds = tiles[::2], tiles[1::2]
        n = max(0, self._n_gallery - len(sources))
        keys = [tile.key for tile in sources] + [f"distractor/{number}" for number in range(n)]

        def draw(row: int) -> Image.Image:
            if row < len(sources):
                return self._plain(sources[row])
            return self._distractor(grounds, row - len(sources), self._random(keys[row]))

        return self._drawn("gallery", keys, draw)

    def _distractor(self, grounds: Sequence[Tile], number: int, rng: np.random.Generator) -> Image.Image:
        """An edit at any strength; every second one of two tiles blended."""
        image = grounds[number % len(grounds)].image
        if number // len(grounds) % 2:
            other = grounds[int(rng.integers(len(grounds)))].image.transpose(Image.Transpose.ROTATE_90)
            image = Image.blend(image, other, float(rng.uniform(0.25, 0.5)))
        return _edit.edit(image, list(Strength)[int(rng.integers(3))], self._side, rng)

    def _labelled(self, part: str) -> Items:
        tiles = self._tiles(part)
        plan = [(number, copy) for number in range(len(tiles)) for copy in range(TRAIN_VARIANTS + 1)]
        keys = [f"{tiles[number].key}/{copy}" for number, copy in plan]

        def draw(row: int) -> Image.Image:
            number, copy = plan[row]
            if copy == 0:
                return self._plain(tiles[number])
            return _edit.edit(tiles[number].image, list(Strength)[copy % 3], self._side, self._random(keys[row]))

        first = LABELS * list(PHOTOGRAPHS).index(part)
        labels = np.array([first + number for number, _ in plan], np.int64)
        return self._drawn(part, keys, draw, labels)

    def _drawn(
        self,
        name: str,
        keys: list[str],
        draw: Callable[[int], Image.Image],
        labels: NDArray[np.int64] | None = None,
    ) -> Items:
        recipe = Recipe(
            name=f"copies-{name}",
            decides={
                **self._versions,
                "seed": self._seed,
                "tile": self._tile,
                "photographs": _photographs.digest(tuple(name for part in PHOTOGRAPHS.values() for name in part)),
            },
            keys=keys,
            size=self._side,
            draw=lambda row: np.asarray(draw(row)),
        )
        return rendered(self._cache, recipe).items(recipe, labels)

    def _plain(self, tile: Tile) -> Image.Image:
        return tile.image.resize((self._side, self._side), Image.Resampling.BICUBIC)

    def _random(self, key: str) -> np.random.Generator:
        return np.random.default_rng((self._seed, item_id(key)))

    def _tiles(self, part: str) -> list[Tile]:
        """Tiles of the part's photographs that show something and look like no earlier one."""
        if part not in self._kept:
            self._kept[part] = distinct([tile for name in PHOTOGRAPHS[part] for tile in _cut(name, self._tile)])
        return self._kept[part]


def _cut(name: str, side: int) -> list[Tile]:
    photo = _photographs.photograph(name)
    return [
        Tile(name, row, column, photo.crop((column * side, row * side, (column + 1) * side, (row + 1) * side)))
        for row in range(photo.height // side)
        for column in range(photo.width // side)
    ]


def distinct(tiles: list[Tile]) -> list[Tile]:
    """The tiles that are neither blank nor near-identical to one before them."""
    kept: list[Tile] = []
    seen: list[NDArray[np.float64]] = []
    for tile in tiles:
        if np.asarray(tile.image.convert("L")).std() < BLANK:
            continue
        small = np.asarray(tile.image.resize((8, 8), Image.Resampling.BOX), np.float64).ravel()
        small -= small.mean()
        small /= np.linalg.norm(small)
        if all(float(small @ other) < ALIKE for other in seen):
            kept.append(tile)
            seen.append(small)
    return kept
