import numpy as np
import pytest
import torch
from torch.nn import functional as F

from retrieval_bench.encoder._resize import resized


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def by_torch(image: np.ndarray, shape: tuple[int, int], interpolation: str) -> np.ndarray:
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    return F.interpolate(pixels, shape, mode=interpolation, antialias=True)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_every_pixel_is_torchs(rng: np.random.Generator, interpolation: str) -> None:
    """Noise and its hardest form, black and white, where sums leave the range of a byte; any shape into any other."""
    for i in range(60):
        height, width, *shape = (int(side) for side in rng.integers(1, 400, 4))
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if i % 2:
            image = np.where(image > 127, np.uint8(255), np.uint8(0))
        ours, theirs = (f(image, (shape[0], shape[1]), interpolation) for f in (resized, by_torch))
        np.testing.assert_array_equal(ours, theirs, f"{height} x {width} to {shape}")


def test_a_large_photograph_in_several_strips_and_bands(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (1500, 2001, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resized(image, (256, 341), "bicubic"), by_torch(image, (256, 341), "bicubic"))


def test_read_only_and_turned_images_are_taken(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)
    expected = resized(image, (20, 30), "bilinear")
    turned = np.ascontiguousarray(image[::-1])[::-1]
    image.setflags(write=False)
    np.testing.assert_array_equal(resized(image, (20, 30), "bilinear"), expected)
    np.testing.assert_array_equal(resized(turned, (20, 30), "bilinear"), expected)
