"""Random changes of clips: which frames are seen, one crop and one mirroring for all of them, in every input."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from retrieval_bench._stored import FRAMES
from retrieval_bench.augment import ClipAugmentation, CropFlip
from retrieval_bench.errors import BadConfig

FLOW = "flow"


class Clip(ClipAugmentation):
    """Some frames of each clip, one of every part of it at random (Wang et al. 2016), cropped and mirrored alike.

    A mirrored field of optical flow points the other way: its x changes sign.

    Args:
        smallest, largest: sides of the square crop, as shares of a frame's side.
        flip: mirror left and right; false where the direction of a movement is what is searched for.
        frames: how many of a clip; none: all.
        size: side of the result in pixels; none: as stored.

    Raises:
        BadConfig: as `CropFlip`, or fewer than one frame.
    """

    def __init__(
        self, smallest: float, largest: float, flip: bool, frames: int | None = None, size: int | None = None
    ) -> None:
        if frames is not None and frames < 1:
            raise BadConfig(f"augment.frames={frames}: type a whole number from 1, or null for all frames")
        self._crop, self._frames = CropFlip(smallest, largest, flip, size), frames

    def clips(self, inputs: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """As every `ClipAugmentation`."""
        names = [name for name in inputs if not name.endswith(FRAMES)]
        clips = len(inputs[names[0] + FRAMES])
        where = torch.rand((clips, self._frames or 1), generator=generator, dtype=torch.float64)
        state = generator.get_state()  # each input is cut at the same place, in pixels of its own
        changed = {}
        for name in names:
            frames, counts = inputs[name], inputs[name + FRAMES]
            if self._frames is not None:
                frames, counts = frames[_chosen(counts, where)], torch.full_like(counts, self._frames)
            drawn = self._crop.draw(clips, frames.shape[-1], generator.set_state(state))
            owner = torch.repeat_interleave(torch.arange(clips), counts).tolist()
            sides, tops, lefts, mirrored = ([values[clip] for clip in owner] for values in drawn)
            seen = self._crop.cut(frames, (sides, tops, lefts, mirrored))
            if name == FLOW:
                _turn(seen, torch.tensor(mirrored))
            changed[name], changed[name + FRAMES] = seen, counts
        return changed


def _chosen(counts: Tensor, where: Tensor) -> Tensor:
    """Rows of the chosen frames: one at random of each of equal parts; of shorter clips frames stand twice."""
    parts = where.shape[1]
    place = ((torch.arange(parts) + where) / parts * counts[:, None]).long()
    starts = counts.cumsum(0) - counts
    return (starts[:, None] + torch.minimum(place, counts[:, None] - 1)).flatten()


def _turn(flow: Tensor, mirrored: Tensor) -> None:
    """Change the sign of x (every other channel, 128 is 0) where a clip was mirrored."""
    x = flow[mirrored, 0::2]
    flow[mirrored, 0::2] = (256 - x.to(torch.int16)).clamp(1, 255).to(torch.uint8)
