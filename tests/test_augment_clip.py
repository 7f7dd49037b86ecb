"""Random changes of clips: frames, crops and mirroring that all inputs share."""

import pytest
import torch

from retrieval_bench._stored import FRAMES
from retrieval_bench.augment_clip import Clip
from retrieval_bench.errors import BadConfig

COUNTS, SIDE, PAIRS = [5, 2, 8], 12, 2


def inputs() -> dict[str, torch.Tensor]:
    """Every frame of rgb holds its number; flow points right by 1 step, and up by 2."""
    n = sum(COUNTS)
    across = torch.arange(SIDE, dtype=torch.uint8).expand(n, 1, SIDE, SIDE)
    number = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, SIDE, SIDE)
    flow = torch.tensor([129, 126] * PAIRS, dtype=torch.uint8).view(1, -1, 1, 1).expand(n, -1, SIDE, SIDE)
    counts = torch.tensor(COUNTS)
    rgb = torch.cat([across, number, across], dim=1)
    return {"rgb": rgb, "rgb" + FRAMES: counts, "flow": flow.clone(), "flow" + FRAMES: counts}


def changed(augment: Clip, seed: int = 0) -> dict[str, torch.Tensor]:
    return augment.clips(inputs(), torch.Generator().manual_seed(seed))


def test_one_frame_of_every_part() -> None:
    for seed in range(20):
        found = changed(Clip(1.0, 1.0, False, frames=4), seed)
        assert found["rgb" + FRAMES].tolist() == found["flow" + FRAMES].tolist() == [4, 4, 4]
        numbers = found["rgb"][:, 1, 0, 0].view(3, 4).long()
        start = 0
        for clip, count in zip(numbers, COUNTS, strict=True):
            for part, number in enumerate((clip - start).tolist()):
                assert part * count // 4 <= number < max((part + 1) * count / 4, part * count // 4 + 1)
            start += count


def test_every_frame_of_a_part_is_seen_sooner_or_later() -> None:
    seen = {int(changed(Clip(1.0, 1.0, False, frames=2), seed)["rgb"][4, 1, 0, 0]) for seed in range(60)}
    assert seen == {7, 8, 9, 10}, "the first half of the last clip"


def test_all_frames_of_a_clip_are_cropped_and_mirrored_alike() -> None:
    found = changed(Clip(0.4, 0.8, True))
    assert found["rgb"].shape == (sum(COUNTS), 3, SIDE, SIDE)
    for clip in found["rgb"].split(COUNTS):
        assert (clip[:, 0] == clip[:1, 0]).all()
    crops = {tuple(clip[0, 0, 0].tolist()) for clip in found["rgb"].split(COUNTS)}
    assert len(crops) == 3, "drawn for each clip alone"


def test_a_mirrored_flow_points_the_other_way() -> None:
    mirrored = set()
    for seed in range(8):
        found = changed(Clip(1.0, 1.0, True), seed)
        for rgb, flow in zip(found["rgb"].split(COUNTS), found["flow"].split(COUNTS), strict=True):
            turned = int(rgb[0, 0, 0, 0]) == SIDE - 1
            mirrored.add(turned)
            assert (flow[:, 0::2] == (127 if turned else 129)).all() and (flow[:, 1::2] == 126).all()
    assert mirrored == {True, False}


def test_inputs_of_other_sizes_are_cut_at_the_same_place() -> None:
    """Flow at twice the side of rgb, both holding where they are: their left edges are as far in."""
    given = inputs()
    wide = torch.arange(2 * SIDE, dtype=torch.uint8).expand(sum(COUNTS), 2 * PAIRS, 2 * SIDE, 2 * SIDE)
    given["flow"] = wide.clone()
    for seed in range(10):
        found = Clip(0.5, 0.5, False).clips(given, torch.Generator().manual_seed(seed))
        left, other = found["rgb"][:, 0].amin(dim=(1, 2)).int(), found["flow"][:, 0].amin(dim=(1, 2)).int()
        assert ((other - 2 * left).abs() <= 2).all()


def test_the_generator_decides() -> None:
    augment = Clip(0.5, 1.0, True, frames=3)
    one, same, other = changed(augment, 3), changed(augment, 3), changed(augment, 4)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["rgb"], other["rgb"])


def test_inputs_stay_as_they_were() -> None:
    given = inputs()
    Clip(0.5, 1.0, True, frames=3).clips(given, torch.Generator().manual_seed(0))
    assert all(torch.equal(given[name], tensor) for name, tensor in inputs().items())


def test_wrong_values_are_refused() -> None:
    with pytest.raises(BadConfig, match=r"augment\.frames=0: type a whole number from 1"):
        Clip(0.5, 1.0, True, frames=0)
    with pytest.raises(BadConfig, match=r"augment\.smallest"):
        Clip(0.0, 1.0, True)
