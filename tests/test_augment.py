from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Generator, Tensor, nn
from torchvision.transforms import v2

from retrieval_bench.augment import Augmentation, Chain, CropFlip, TorchVision
from retrieval_bench.binding import RESERVED
from retrieval_bench.cli import CONF
from retrieval_bench.errors import BadConfig

SIZE = 24
FILES = sorted((CONF / "augment").glob("*.yaml"))
OF_IMAGES = [file for file in FILES if not file.stem.startswith("clip")]  # the others: test_augment_clip.py


def seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


def batch(n: int = 6, size: int = SIZE) -> Tensor:
    """Channels last in memory, as the loader gives them. Smooth, so that resizing has something to keep."""
    small = torch.rand((n, 3, 5, 5), generator=seeded(9))
    images = nn.functional.interpolate(small, (size, size), mode="bicubic").clamp(0, 1).mul(255).to(torch.uint8)
    return images.contiguous(memory_format=torch.channels_last)


def built(node: object) -> object:
    """What a yaml describes, with every target that it names."""
    if isinstance(node, list):
        return [built(value) for value in node]
    if not isinstance(node, dict) or "_target_" not in node:
        return node
    module, _, name = node["_target_"].rpartition(".")
    target = getattr(__import__(module, fromlist=[name]), name)
    return target(**{key: built(value) for key, value in node.items() if key not in RESERVED})


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def by_definition(image: np.ndarray, side: int, top: int, left: int, mirror: bool) -> np.ndarray:
    """Bilinear in float64: each pixel from the four around its place in the crop."""
    crop, size = image[top : top + side, left : left + side].astype(float), len(image)
    place = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    low = np.minimum(place.astype(int), side - 2)
    share = (place - low)[:, None]
    rows = crop[low] * (1 - share[:, None]) + crop[low + 1] * share[:, None]
    pixels = rows[:, low] * (1 - share) + rows[:, low + 1] * share
    return pixels[:, ::-1] if mirror else pixels


def test_crops_are_bilinear() -> None:
    images, change = batch(40, 112), CropFlip(0.5, 1.0, True)
    changed = change(images, seeded(1)).permute(0, 2, 3, 1).numpy()
    drawn = list(zip(*change.draw(40, 112, seeded(1)), strict=True))
    expected = [by_definition(im, *how) for im, how in zip(images.permute(0, 2, 3, 1).numpy(), drawn, strict=True)]
    assert np.abs(changed - np.stack(expected)).max() < 1.1  # bytes in between, weights of 16 bits
    assert len(set(drawn)) == 39, "each image has its own; two are whole"


def test_what_is_drawn_is_even_and_stays_inside() -> None:
    n, size = 40_000, 112
    sides, tops, lefts, mirrored = (np.array(a) for a in CropFlip(0.714, 1.0, True).draw(n, size, seeded(2)))
    assert set(sides.tolist()) == set(range(80, 113))
    assert tops.min() == lefts.min() == 0 and (tops + sides).max() == (lefts + sides).max() == size
    for values, kinds in ((sides, 33), (mirrored, 2), (tops[sides == 100], 13), (lefts[sides == 80], 33)):
        counts = np.unique(values, return_counts=True)[1]
        mean = len(values) / kinds
        assert len(counts) == kinds and np.abs(counts - mean).max() < 5 * mean**0.5
    assert not any(CropFlip(0.714, 1.0, False).draw(n, size, seeded(2))[3])


def test_the_last_side_is_as_likely_as_the_others() -> None:
    """A draw just below 1 is the largest side, not one beyond it."""

    def highest(shape, generator, dtype) -> Tensor:
        return torch.full(shape, 1.0, dtype=dtype).nextafter(torch.zeros((), dtype=dtype))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "rand", highest)
        assert CropFlip(0.714, 1.0, True).draw(1, 112, seeded(0)) == ([112], [0], [0], [False])
        assert CropFlip(0.714, 0.99, True).draw(1, 112, seeded(0)) == ([111], [1], [1], [False])


def test_whole_images_that_are_not_mirrored_are_not_changed() -> None:
    images = batch()
    assert torch.equal(CropFlip(1.0, 1.0, False)(images, seeded(0)), images)
    assert torch.equal(Chain([])(images, seeded(0)), images)
    mirrored = CropFlip(1.0, 1.0, True)(images, seeded(0))
    for image, original in zip(mirrored, images, strict=True):
        assert torch.equal(image, original) or torch.equal(image, original.flip(-1))
    assert not torch.equal(mirrored, images)


def test_a_smaller_result_is_the_crop_without_aliasing() -> None:
    images, change = batch(12, 64), CropFlip(0.75, 1.0, True, 24)
    changed = change(images, seeded(5))
    assert changed.shape == (12, 3, 24, 24) and changed.is_contiguous(memory_format=torch.channels_last)
    for i, (side, top, left, mirror) in enumerate(zip(*change.draw(12, 64, seeded(5)), strict=True)):
        crop = Image.fromarray(images[i, :, top : top + side, left : left + side].permute(1, 2, 0).numpy())
        wanted = torch.from_numpy(np.array(crop.resize((24, 24), Image.Resampling.BILINEAR))).permute(2, 0, 1)
        got = changed[i].flip(-1) if mirror else changed[i]
        assert (got.int() - wanted.int()).abs().max() <= 1, "Pillow's filter, but for rounding"
    with pytest.raises(BadConfig, match=r"augment\.size=0"):
        CropFlip(0.5, 1.0, True, 0)


def test_memory_order_does_not_matter() -> None:
    images = batch()
    plain = CropFlip(0.5, 1.0, True)(images.contiguous(), seeded(3))
    assert torch.equal(plain, CropFlip(0.5, 1.0, True)(images, seeded(3)))


@pytest.mark.parametrize(("smallest", "largest"), [(0, 1), (0.8, 0.7), (0.5, 1.1), (-1, 1)])
def test_wrong_sides_are_refused(smallest: float, largest: float) -> None:
    with pytest.raises(BadConfig, match=r"augment.smallest=.* augment.largest=.*: type shares"):
        CropFlip(smallest, largest, True)


@pytest.mark.parametrize("file", OF_IMAGES, ids=lambda f: f.stem)
def test_every_yaml_gives_bytes_and_repeats_from_its_generator_alone(file: Path) -> None:
    change, images = built(yaml.safe_load(file.read_text())), batch()
    assert isinstance(change, Augmentation)
    original, outside, generator = images.clone(), torch.get_rng_state(), seeded(4)
    first = change(images, generator)
    kept = generator.get_state()
    second = change(images, generator)
    assert torch.equal(torch.get_rng_state(), outside), "the global generator is as it was"
    assert torch.equal(images, original), "so are the images"
    assert first.dtype == torch.uint8 and first.shape == images.shape
    assert first.is_contiguous(memory_format=torch.channels_last)
    torch.manual_seed(77)
    assert torch.equal(change(images, seeded(4)), first)
    assert torch.equal(change(images, torch.Generator().set_state(kept)), second)
    assert (file.stem == "none") == torch.equal(first, second)


def nodes(node: object) -> Iterator[dict]:
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(value)
    if isinstance(node, dict) and "_target_" in node:
        yield node


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_node_lists_every_parameter(file: Path) -> None:
    import inspect

    for node in nodes(yaml.safe_load(file.read_text())):
        module, _, name = node["_target_"].rpartition(".")
        target = getattr(__import__(module, fromlist=[name]), name)
        assert set(node) - RESERVED == set(inspect.signature(target).parameters), name


def test_transforms_draw_for_each_image_or_once() -> None:
    images = batch(1).expand(8, -1, -1, -1)
    alike = TorchVision([v2.RandomCrop(SIZE, padding=SIZE // 2)], per_image=False)(images, seeded(5))
    assert all(torch.equal(a, b) for a, b in pairwise(alike))
    unlike = TorchVision([v2.RandomCrop(SIZE, padding=SIZE // 2)], per_image=True)(images, seeded(5))
    assert len({image.numpy().tobytes() for image in unlike}) == 8


def test_transforms_that_change_type_or_size_are_refused() -> None:
    for transform, made in ((v2.ToDtype(torch.float32), "float32"), (v2.CenterCrop(10), r"\[6, 3, 10, 10\]")):
        with pytest.raises(BadConfig, match=f"augment: {type(transform).__name__} made .*{made}.*keep type and size"):
            TorchVision([transform], per_image=False)(batch(), seeded(0))


def test_a_chain_hands_one_generator_on() -> None:
    crop, colour = CropFlip(0.5, 1.0, True), TorchVision([v2.ColorJitter(brightness=0.5)], per_image=True)
    generator = seeded(6)
    by_hand = colour(crop(batch(), generator), generator)
    assert torch.equal(Chain([crop, colour])(batch(), seeded(6)), by_hand)
