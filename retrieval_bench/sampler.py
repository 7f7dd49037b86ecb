"""Which images make up a batch: P classes × K images, or shuffled images.

A batch is planned for all processes together and every process takes its own part of it, so a run has the same batches
whatever number of processes share them. An epoch's batches depend on settings, labels, seed and epoch alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._cycles import cycles, keys
from retrieval_bench._epochs import BatchSampler, multiple, need_shared, need_whole, origin
from retrieval_bench.errors import BadConfig

__all__ = ["BatchSampler", "PKSampler", "Shuffled"]

_NAMED = 5  # labels of small classes that a report names


class PKSampler(BatchSampler):
    """P classes × K images of each: every image has K - 1 positives in its batch (Hermans et al. 2017, section 2).

    Classes go round in shuffled cycles: each is drawn once before any is drawn again, across batches and epochs alike
    (an epoch goes on in the cycle where the one before it ended), and none twice in a batch. So do the images of each
    class. A class with fewer than K images gives all of them, and some, in turn, once more to make K.

    Args:
        classes: P, in a batch of all processes together; a multiple of their number.
        per_class: K.
        batches: batches of an epoch; none: as many as there are whole P × K in the images, at least one.
        labels: class of each row: [n], any whole numbers.
        seed: decides every order.
        rank, world: which of how many processes this is; each has whole classes.

    Raises:
        BadConfig: fewer classes than P, P that `world` does not divide, or numbers below 1.
    """

    def __init__(
        self,
        classes: int,
        per_class: int,
        batches: int | None,
        *,
        labels: NDArray[np.int64],
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        need_whole({"classes": classes, "per_class": per_class, "batches": 1 if batches is None else batches})
        self._names, inverse, self._sizes = np.unique(labels, return_inverse=True, return_counts=True)
        if len(self._names) < classes:
            raise BadConfig(
                f"sampler.classes={classes}: the training part has {len(self._names)} classes; type"
                f" sampler.classes={multiple(len(self._names), world)}, and a larger sampler.per_class if batches shall"
                " keep their size"
                if len(self._names) >= world
                else f"the training part has {len(self._names)} classes, too few for {world} processes; use fewer"
            )
        need_shared("classes", classes, world)
        self._p, self._k = classes, per_class
        batches = batches or max(1, len(labels) // (classes * per_class))
        order = {"sampler": "pk", "classes": classes, "per_class": per_class, "batches": batches}
        super().__init__({**order, **origin(labels, seed)}, batches, rank, world)
        self._rows = np.argsort(inverse, kind="stable")  # row of each image, class by class
        self._starts = np.cumsum(self._sizes) - self._sizes  # where each class begins in them
        self._class_key, self._image_keys = np.split(keys(seed, len(self._names) + 1), [1])

    def plan(self, epoch: int) -> NDArray[np.int64]:
        """Rows [batches, P · K], the images of a class side by side."""
        n, start = len(self._names), epoch * self._batches * self._p
        drawn = cycles(self._class_key, n, self._p, start, start + self._batches * self._p)[0]
        turns = np.arange(start, start + len(drawn)) // n  # how often the class was drawn before
        first, last = int(turns[0]), int(turns[-1]) + 1
        rows, sizes = np.empty((len(drawn), self._k), np.int64), self._sizes[drawn]
        for size in np.unique(sizes).tolist():
            places = np.flatnonzero(sizes == size)
            members, member = np.unique(drawn[places], return_inverse=True)
            images = self._images(self._image_keys[members], size, first, last)[member, turns[places] - first]
            rows[places] = self._rows[self._starts[drawn[places], None] + images]
        return rows.reshape(self._batches, -1)

    def _images(self, key: NDArray[np.uint64], size: int, first: int, last: int) -> NDArray[np.int64]:
        """Images 0 … size - 1 that classes of one size give in their turns first … last - 1: [m, turns, K]."""
        whole, more = divmod(self._k, size)
        m, turns = len(key), last - first
        images = np.broadcast_to(np.tile(np.arange(size), whole), (m, turns, whole * size))
        if not more:
            return images
        rest = cycles(key, size, more, first * more, last * more).reshape(m, turns, more)
        return np.concatenate([images, rest], axis=2)

    def report(self) -> dict[str, Any]:
        """Sizes, and how many classes have fewer than K images or a single one, with the first few labels."""
        return {
            "images": len(self._rows),
            "classes": len(self._names),
            "batches": self._batches,
            "batch_size": self._p * self._k,
            "fewer_than_per_class": _counted(self._few(self._k - 1)),
            "one_image": _counted(self._few(1)),
        }

    def remarks(self) -> list[str]:
        """What happens to classes with fewer than K images, and to those with one."""
        said = []
        for names, what in (
            (self._few(self._k - 1), f"fewer than sampler.per_class={self._k} images: some are repeated in a batch"),
            (self._few(1), "one image only, whose positives are copies of itself: pairs of it teach little"),
        ):
            if len(names) and self._k > 1:
                named = ", ".join(map(str, names[:_NAMED].tolist())) + (", …" if len(names) > _NAMED else "")
                said.append(f"{len(names)} of {len(self._names)} classes ({named}) have {what}")
        return said

    def _few(self, most: int) -> NDArray[np.int64]:
        """Labels of the classes that have at most so many images."""
        few: NDArray[np.int64] = self._names[self._sizes <= most]
        return few


def _counted(names: NDArray[np.int64]) -> dict[str, Any]:
    return {"classes": len(names), "labels": names[:_NAMED].tolist()}


class Shuffled(BatchSampler):
    """Shuffled images, whatever their classes: for losses that classify.

    Images go round in shuffled cycles: each is drawn once before any is drawn again, across batches and epochs alike
    (what does not fill a batch opens the next epoch), and none twice in a batch.

    Args:
        batch_size: images in a batch of all processes together; a multiple of their number.
        batches: batches of an epoch; none: as many as the images fill.
        labels, seed, rank, world: as in `PKSampler`.

    Raises:
        BadConfig: fewer images than a batch, a batch that `world` does not divide, or numbers below 1.
    """

    def __init__(
        self,
        batch_size: int,
        batches: int | None,
        *,
        labels: NDArray[np.int64],
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        need_whole({"batch_size": batch_size, "batches": 1 if batches is None else batches})
        if len(labels) < max(batch_size, world):
            raise BadConfig(
                f"sampler.batch_size={batch_size}: the training part has {len(labels)} images for {world} processes;"
                f" type sampler.batch_size={max(1, multiple(len(labels), world))}"
            )
        need_shared("batch_size", batch_size, world)
        self._n, self._size, self._classes = len(labels), batch_size, len(np.unique(labels))
        batches = batches or len(labels) // batch_size
        order = {"sampler": "shuffled", "batch_size": batch_size, "batches": batches}
        super().__init__({**order, **origin(labels, seed)}, batches, rank, world)
        self._key = keys(seed, 1)

    def plan(self, epoch: int) -> NDArray[np.int64]:
        """Rows [batches, batch_size]."""
        images = self._batches * self._size
        drawn = cycles(self._key, self._n, self._size, epoch * images, (epoch + 1) * images)
        return drawn.reshape(self._batches, self._size)

    def report(self) -> dict[str, Any]:
        """Sizes."""
        return {
            "images": self._n,
            "classes": self._classes,
            "batches": self._batches,
            "batch_size": self._size,
        }
