"""Random changes of training images, a whole batch of bytes at a time.

All randomness comes from the generator that is handed over, torch's global one is left as it was: whoever keeps that
generator's state, or seeds it anew from the step, repeats a training exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812

from retrieval_bench.errors import BadConfig

Drawn = tuple[list[int], list[int], list[int], list[bool]]  # sides, tops, lefts, mirrored


class Augmentation(ABC):
    """One random change, or several."""

    @abstractmethod
    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Changed copies of images: uint8 [b, 3, size, size] in and out; fastest where channels are last in memory.

        Only a step that says so changes their size.
        """


class Chain(Augmentation):
    """Changes one after the other; none leave the images as they are.

    Args:
        steps: augmentations, the first one first.
    """

    def __init__(self, steps: Sequence[Augmentation]) -> None:
        self._steps = list(steps)

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """As every augmentation; all steps draw from one generator."""
        for step in self._steps:
            images = step(images, generator)
        return images


class CropFlip(Augmentation):
    """A random square of each image, resized, and mirrored in one of two cases.

    Trained at a smaller `size` than is searched, an encoder sees objects in training as large as in the search, where
    nothing is cropped (Touvron et al. 2019, "Fixing the train-test resolution discrepancy"), and trains faster.

    Side (in whole pixels), place and mirroring are drawn for each image alone, all evenly. Bilinear: the kernel for
    bytes makes 64 crops faster than one `grid_sample` over the batch, which needs floats.

    Args:
        smallest, largest: sides of the square, as shares of the image's side.
        flip: mirror left and right; false for characters and whatever else is not the same mirrored.
        size: side of the result in pixels; none: the image's own.

    Raises:
        BadConfig: sides that are not 0 < smallest <= largest <= 1, or a size below 1.
    """

    def __init__(self, smallest: float, largest: float, flip: bool, size: int | None = None) -> None:
        if not 0 < smallest <= largest <= 1:
            raise BadConfig(
                f"augment.smallest={smallest} augment.largest={largest}: type shares with 0 < smallest <= largest <= 1"
            )
        if size is not None and size < 1:
            raise BadConfig(f"augment.size={size}: type a side in pixels, or null for the image's own")
        self._smallest, self._largest, self._flip, self._size = smallest, largest, flip, size

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """As every augmentation."""
        return self.cut(images, self.draw(len(images), images.shape[-1], generator))

    def cut(self, images: Tensor, drawn: Drawn) -> Tensor:
        """What was drawn, one crop for each image."""
        sides, tops, lefts, mirrored = drawn
        size = self._size or images.shape[-1]
        changed = images.new_empty((len(images), images.shape[1], size, size)).to(memory_format=torch.channels_last)
        for i, (side, top, left, mirror) in enumerate(zip(sides, tops, lefts, mirrored, strict=True)):
            image = images[i : i + 1, :, top : top + side, left : left + side]
            if side != size:
                image = F.interpolate(image, (size, size), mode="bilinear", antialias=side > size)
            changed[i] = image[0].flip(-1) if mirror else image[0]
        return changed

    def draw(self, n: int, size: int, generator: Generator) -> Drawn:
        """Sides, tops and lefts in pixels, and whether to mirror, for n images. Always takes 4 n draws."""
        drawn = torch.rand((4, n), generator=generator, dtype=torch.float64)
        low, high = (max(1, round(share * size)) for share in (self._smallest, self._largest))
        sides = low + (drawn[0] * (high - low + 1)).long()
        tops, lefts = (drawn[1:3] * (size - sides + 1)).long()
        return sides.tolist(), tops.tolist(), lefts.tolist(), ((drawn[3] < 0.5) & self._flip).tolist()


class ClipAugmentation(ABC):
    """One random change of whole clips."""

    @abstractmethod
    def clips(self, inputs: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """Changed copies of clips.

        Args:
            inputs: frames uint8 [frames, c, size, size] of each input, those of one clip after the other, and their
                counts int64 [b] under the input's name and `.frames`. Returned likewise.
        """


class TorchVision(Augmentation):
    """Transforms of torchvision.transforms.v2, which draw from torch's global generator: it is lent to them, seeded.

    Args:
        transforms: from uint8 [3, size, size], or a batch of them, to the same.
        per_image: draw for each image alone; false: once for the whole batch, which is faster.
    """

    def __init__(self, transforms: Sequence[Callable[[Tensor], Tensor]], per_image: bool) -> None:
        self._transforms, self._per_image = list(transforms), per_image

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """As every augmentation. BadConfig if a transform changes type or size."""
        seed = int(torch.randint(2**62, (), generator=generator))
        changed = torch.empty_like(images, memory_format=torch.channels_last)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            if self._per_image:
                for i in range(len(images)):
                    changed[i] = self._through(images[i])
            else:
                changed.copy_(self._through(images))
        return changed

    def _through(self, images: Tensor) -> Tensor:
        changed = images
        for transform in self._transforms:
            changed = transform(changed)
        if changed.shape != images.shape or changed.dtype != torch.uint8:
            raise BadConfig(
                f"augment: {', '.join(type(t).__name__ for t in self._transforms)} made {changed.dtype}"
                f" {list(changed.shape)} of bytes {list(images.shape)}; list transforms that keep type and size alone"
            )
        return changed
