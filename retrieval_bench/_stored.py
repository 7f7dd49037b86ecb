"""What training reads each epoch, kept so that nothing is decoded twice: images, frames, or the vectors of frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._clips import Features, clip_features
from retrieval_bench._epochs import BatchSampler
from retrieval_bench._item_batches import Embed, Reading
from retrieval_bench._pixels import Pixels, pixels
from retrieval_bench.data.base import Items

if TYPE_CHECKING:
    from torch import Tensor

    from retrieval_bench.encoder.base import Encoder

Rows = Sequence[int] | NDArray[np.int64]
Told = Callable[[str, int, int], None]
FRAMES = ".frames"  # behind the name of an input: how many frames each clip of the batch has


class Stored(ABC):
    """Items that could be read, as training takes them.

    Attributes:
        kept: int64 [n], the row of the items that each of them is. unreadable: (key, reason) of the others.
    """

    kept: NDArray[np.int64]
    unreadable: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.kept)

    @abstractmethod
    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """Named tensors of some of them."""


class Images(Stored):
    """One image each: `image`, uint8 [b, c, size, size], channels last in memory."""

    def __init__(self, found: Pixels, name: str = "image") -> None:
        self.kept, self.unreadable, self._found, self._name = found.kept, found.unreadable, found, name

    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """As every `Stored`."""
        import torch

        return {self._name: torch.from_numpy(self._found.batch(rows)).permute(0, 3, 1, 2)}


class Clips(Stored):
    """The frames of each input: `rgb`, uint8 [frames, c, size, size], one clip after the other, and `rgb.frames`.

    Args:
        found: input → its frames.
    """

    def __init__(self, found: Mapping[str, Pixels]) -> None:
        parts = list(found.values())
        self.kept = parts[0].kept
        for part in parts[1:]:
            self.kept = np.intersect1d(self.kept, part.kept)
        self.unreadable = list({key: (key, why) for part in parts for key, why in part.unreadable}.values())
        self._found, self._rows = found, {}
        for name, part in found.items():
            self._rows[name] = np.searchsorted(part.kept, self.kept)

    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """As every `Stored`."""
        import torch

        tensors = {}
        for name, part in self._found.items():
            images, counts = part.clips(self._rows[name][np.asarray(rows)])
            tensors[name] = torch.from_numpy(images).permute(0, 3, 1, 2)
            tensors[name + FRAMES] = torch.from_numpy(counts)
        return tensors


class Vectors(Stored):
    """The vectors of frames, of an encoder whose frames are not trained: `rgb`, float32 [b, t, c], and `rgb.frames`."""

    def __init__(self, found: Features) -> None:
        self.kept, self.unreadable, self._found = found.kept, found.unreadable, found

    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """As every `Stored`."""
        features, lengths = self._found.batch(np.asarray(rows))
        return features | {name + FRAMES: values for name, values in lengths.items()}


def stored(  # noqa: PLR0917  (six: the ceiling)
    items: Items, encoder: Encoder, native_size: int | None, settings: Embed, cache: Path, told: Told
) -> Stored:
    """Read what training needs of some items, or take it from the cache.

    Of an encoder of clips whose frames are not trained these are the vectors of frames, else pixels.

    Args:
        encoder: what is not trained takes no gradient any more. told: (task, done, total).

    Raises:
        As `pixels` and `embed`.
    """
    frames = encoder.frames()
    if trained_above(encoder):
        progress = _named(told, "encode frames")
        return Vectors(clip_features(items, encoder, native_size, settings, cache, progress))
    if frames:
        found = {}
        for name, frame in frames.items():
            reading = Reading(items, name, frame.preprocessing(native_size), settings, clips=True)
            found[name] = pixels(reading, cache, _named(told, f"read {name}"))
        return Clips(found)
    reading = Reading(items, encoder.inputs[0], encoder.preprocessing(native_size), settings)
    return Images(pixels(reading, cache, _named(told, "read images")), encoder.inputs[0])


def trained_above(encoder: Encoder) -> bool:
    """Whether the frames' encoders take no gradient, so that what is above them is trained on their vectors."""
    frames = encoder.frames()
    return bool(frames) and not any(p.requires_grad for frame in frames.values() for p in frame.parameters())


def _named(told: Told, task: str) -> Callable[[int, int], None]:
    return lambda done, total: told(task, done, total)


class Loader:
    """Batches in the order of a sampler, read in the process that trains.

    Reading a batch is copying some bytes, so there is nothing for other processes to do. Lightning takes this for a
    loader whose place is part of its checkpoint, and sets the epoch of `sampler`.
    """

    def __init__(self, items: Stored, sampler: BatchSampler) -> None:
        self.sampler = sampler
        self._items = items

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Named tensors, and the rows of what is stored, int64 [b]."""
        import torch

        for rows in self.sampler:
            yield self._items.batch(rows), torch.tensor(rows)

    def state_dict(self) -> dict[str, Any]:
        """The sampler's."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises as the sampler's does."""
        self.sampler.load_state_dict(state)
