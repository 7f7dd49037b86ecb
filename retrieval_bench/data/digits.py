"""Handwritten digits of scikit-learn (1,797 images of 8 × 8): small enough for tests, too easy for conclusions."""

from __future__ import annotations

from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data._checks import need_whole
from retrieval_bench.data.base import Arrays, Dataset, Items
from retrieval_bench.types import GroundTruth

TRAIN, VALIDATION, TEST = (0, 1, 2), (3, 4), (5, 6, 7, 8, 9)


class Digits(Dataset):
    """Digits 0–2 train, 3–4 validate, 5–9 test; every test digit is searched among the other test digits.

    Source: Alpaydin and Kaynak 1998, the UCI test set, as `sklearn.datasets.load_digits` gives it. Pixels are enlarged
    by repetition (nearest neighbour) to squares of `image_size` with three equal channels.

    Args:
        image_size: side in pixels, 8 … 1024.
        n_test: number of test images, as many of each digit as possible and the first ones of each; all (896) if none.

    Raises:
        BadConfig: image_size not in 8 … 1024, or n_test not in 10 … 896.
    """

    name = "digits"

    def __init__(self, image_size: int = 32, n_test: int | None = None) -> None:
        need_whole("image_size", image_size, 8, 1024)
        need_whole("n_test", n_test, 10, 896, "all 896")
        self.image_size: int = image_size
        self._n_test = n_test

    def train(self) -> Items:
        """Digits 0, 1 and 2."""
        return self._part(TRAIN, None)

    def validation(self) -> Items:
        """Digits 3 and 4."""
        return self._part(VALIDATION, None)

    def queries(self) -> Items:
        """Digits 5 to 9: the same object as the gallery."""
        return self._test

    def gallery(self) -> Items:
        """Digits 5 to 9."""
        return self._test

    def truth(self) -> GroundTruth:
        """Equal digit = relevant; the query itself is ignored by its id."""
        test = self._test
        return GroundTruth(test.ids, test.ids, query_labels=test.labels, gallery_labels=test.labels)

    @property
    def protocol(self) -> dict[str, Any]:
        """Split by class, leave-one-out."""
        return {
            "data": self.name,
            "split": "classes 0-2 train, 3-4 validation, 5-9 test",
            "crop": f"none; 8 x 8 repeated to {self.image_size} x {self.image_size}",
            "self": "ignored by id (queries are the gallery)",
            "group": "none",
            "relevance": "equal label",
            "n_queries": len(self._test),
            "n_gallery": len(self._test),
        }

    @cached_property
    def _test(self) -> Items:
        return self._part(TEST, self._n_test)

    @cached_property
    def _source(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        from sklearn.datasets import load_digits  # slow to import

        bunch = load_digits()
        return np.round(bunch.images * (255 / 16)).astype(np.uint8), bunch.target.astype(np.int64)

    def _part(self, classes: tuple[int, ...], limit: int | None) -> Items:
        images, targets = self._source
        rows = np.flatnonzero(np.isin(targets, classes))
        if limit is not None:
            # n-th of its digit first, so that a cut keeps the digits balanced
            turn = np.zeros(len(rows), np.int64)
            for digit in classes:
                mine = targets[rows] == digit
                turn[mine] = np.arange(mine.sum())
            rows = np.sort(rows[np.argsort(turn, kind="stable")[:limit]])
        side = self.image_size
        index = np.arange(side) * 8 // side

        def read(row: int) -> Arrays:
            pixels = images[rows[row]][index][:, index]
            return {"image": np.repeat(pixels[:, :, None], 3, axis=2)}

        digest = blake2b(images[rows].tobytes() + targets[rows].tobytes() + rows.tobytes(), digest_size=16)
        return Items(
            keys=[f"digits/{row}" for row in rows],
            read=read,
            fingerprint=f"digits-{side}-{digest.hexdigest()}",
            labels=targets[rows],
            label_names={digit: str(digit) for digit in classes},
        )
