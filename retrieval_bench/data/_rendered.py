"""Images that are drawn once, by a recipe, into a cache shared by all runs of a machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._once import once
from retrieval_bench.data.base import Arrays, Items
from retrieval_bench.hashing import json_digest
from retrieval_bench.machine import cores

Value = TypeVar("Value")
Step = TypeVar("Step")
CHUNK = 512  # images drawn before they are written; bounds the memory


@dataclass(frozen=True, eq=False)
class Recipe:
    """How to draw one part of a data set.

    Attributes:
        name: data set and part, e.g. "glyphs-query".
        decides: everything besides the keys that decides a pixel (parameters, versions, digests); JSON values.
        keys: [n] source keys; the drawing of an item depends on its key and on `decides` alone.
        size: side in pixels.
        draw: row → uint8 [size, size, 3]; called from several threads.
    """

    name: str
    decides: Mapping[str, Any]
    keys: Sequence[str]
    size: int
    draw: Callable[[int], NDArray[np.uint8]]

    @property
    def digest(self) -> str:
        """Name of the recipe's place in the cache."""
        return json_digest([self.name, self.size, self.decides, list(self.keys)], 8)


@dataclass(frozen=True, eq=False)
class Rendered:
    """The drawn images: a read-only memory map uint8 [n, size, size, 3], and a digest of pixels and keys."""

    pixels: NDArray[np.uint8]
    fingerprint: str

    def read(self, row: int) -> Arrays:
        """A copy of one image, as `Items.read` gives it."""
        return {"image": np.array(self.pixels[row])}

    def items(
        self,
        recipe: Recipe,
        labels: NDArray[np.int64] | None = None,
        label_names: Mapping[int, str] | None = None,
    ) -> Items:
        """The part as the rest of the package sees it."""
        return Items(recipe.keys, self.read, self.fingerprint, labels=labels, label_names=label_names or {})


def rendered(cache: str | Path, recipe: Recipe, threads: int | None = None) -> Rendered:
    """The images of a recipe: from the cache, or drawn into it first. Two processes draw once.

    Args:
        cache: folder; made if missing.
        recipe: what to draw.
        threads: none = one for each core. The bytes do not depend on it.

    Raises:
        OutOfSpace: the disk of the cache is full. BadConfig: the cache cannot be written.
    """
    place = Path(cache).expanduser() / "rendered" / f"{recipe.name}-{recipe.digest}"
    return once(
        place,
        lambda: _open(place, recipe),
        lambda part: _draw(part, recipe, threads or cores()),
    )


def remembered(cache: str | Path, name: str, decides: Mapping[str, Any], compute: Callable[[], Value]) -> Value:
    """A JSON value: from the cache, or computed and written into it first. Raises as `rendered` does."""
    place = Path(cache).expanduser() / "rendered" / f"{name}-{json_digest(decides, 8)}"

    def load() -> Value | None:
        try:
            value: Value = json.loads((place / "value.json").read_text())
        except (OSError, ValueError):
            return None
        return value

    return once(place, load, lambda part: (part / "value.json").write_text(json.dumps(compute())))


def _open(place: Path, recipe: Recipe) -> Rendered | None:
    """A finished part, or none. A file that lost bytes since counts as not there."""
    try:
        about = json.loads((place / "about.json").read_text())
        pixels = np.load(place / "pixels.npy", mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    if pixels.shape != (len(recipe.keys), recipe.size, recipe.size, 3) or pixels.dtype != np.uint8:
        return None
    return Rendered(pixels, about["fingerprint"])


def _draw(part: Path, recipe: Recipe, threads: int) -> None:
    with (part / "pixels.npy").open("wb") as file:
        fingerprint = _write(file, recipe, threads)
    about = {"fingerprint": fingerprint, "decides": dict(recipe.decides), "n": len(recipe.keys)}
    (part / "about.json").write_text(json.dumps(about, indent=1))


def _write(file: BinaryIO, recipe: Recipe, threads: int) -> str:
    """Write an .npy file sequentially (a full disk is then an error; through a memory map it would kill us)."""
    n = len(recipe.keys)
    header = {"descr": "|u1", "fortran_order": False, "shape": (n, recipe.size, recipe.size, 3)}
    np.lib.format.write_array_header_1_0(file, header)
    digest = blake2b("\n".join(recipe.keys).encode(), digest_size=16)
    with ThreadPoolExecutor(threads) as pool:
        for start in progress(f"drawing {recipe.name}", range(0, n, CHUNK)):
            rows = range(start, min(start + CHUNK, n))
            block = np.stack(list(pool.map(recipe.draw, rows)))
            if block.shape[1:] != (recipe.size, recipe.size, 3) or block.dtype != np.uint8:
                raise ValueError(f"{recipe.name} drew {block.dtype} {block.shape[1:]}")
            digest.update(block.data)
            file.write(block.data)
    return f"{recipe.name}-{digest.hexdigest()}"


def progress(task: str, steps: Sequence[Step]) -> Iterator[Step]:
    """The steps, with a bar on standard error if that is a terminal and there are several."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal or len(steps) < 2) as bar:
        number = bar.add_task(task, total=len(steps))
        for step in steps:
            yield step
            bar.advance(number)
