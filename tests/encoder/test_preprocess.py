import json

import numpy as np
import pytest
from PIL import Image

from retrieval_bench.encoder.base import Preprocessing, prepare, prepare_alone
from retrieval_bench.errors import BadConfig

HALF = (0.5, 0.5, 0.5)


def photograph(height: int, width: int) -> np.ndarray:
    from skimage import data

    return np.asarray(Image.fromarray(data.astronaut()).resize((width, height)))


def plain(image: np.ndarray, size: int, resize: int, interpolation: Image.Resampling) -> np.ndarray:
    """Resize the short side, then cut the centre, as torchvision's Resize and CenterCrop do with Pillow images.

    Along the width first, as every Pillow below 13 does (13 takes the cheaper order).
    """
    height, width = image.shape[:2]
    short = min(height, width)
    new_width, new_height = int(resize * width / short), int(resize * height / short)
    small = (
        Image.fromarray(image).resize((new_width, height), interpolation).resize((new_width, new_height), interpolation)
    )
    left, top = round((new_width - size) / 2), round((new_height - size) / 2)
    return np.asarray(small.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("shape", [(375, 500), (500, 333), (224, 224), (100, 90), (256, 500), (90, 1000)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_same_pixels_as_resize_and_crop(shape: tuple[int, int], interpolation: str) -> None:
    image = photograph(*shape)
    ours = prepare(image, Preprocessing(224, 256, interpolation, HALF, HALF))
    theirs = plain(image, 224, 256, Image.Resampling[interpolation.upper()])
    apart = np.abs(ours.astype(int) - theirs)
    assert ours.shape == (224, 224, 3) and ours.dtype == np.uint8
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.01


@pytest.mark.parametrize("interpolation", ["nearest", "lanczos"])
def test_the_crop_alone_equals_resize_and_crop(interpolation: str) -> None:
    image = photograph(375, 500)
    ours = prepare(image, Preprocessing(224, 256, interpolation, HALF, HALF))
    apart = np.abs(ours.astype(int) - plain(image, 224, 256, Image.Resampling[interpolation.upper()]))
    if interpolation == "nearest":
        assert (apart > 0).mean() < 0.01  # where the source coordinate lies between two pixels
    else:
        assert apart.max() <= 1 and (apart > 0).mean() < 1e-3


def test_torchvision_agrees() -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    image = photograph(377, 501)
    steps = Compose([Resize(128, InterpolationMode.BICUBIC), CenterCrop(112)])
    apart = np.abs(
        prepare(image, Preprocessing(112, 128, "bicubic", HALF, HALF)).astype(int) - steps(Image.fromarray(image))
    )
    assert apart.max() <= 1 and (apart > 0).mean() < 0.01


def test_read_only_and_turned_images_are_taken() -> None:
    image = photograph(60, 80)
    turned = np.ascontiguousarray(image[:, ::-1])[:, ::-1]
    fixed = image.copy()
    fixed.setflags(write=False)
    how = Preprocessing(32, 36, "bicubic", HALF, HALF)
    np.testing.assert_array_equal(prepare(turned, how), prepare(image, how))
    np.testing.assert_array_equal(prepare(fixed, how), prepare(image, how))


def test_an_image_of_the_native_size_is_taken_as_it_is() -> None:
    image = photograph(64, 64)
    assert prepare(image, Preprocessing(64, None, "bicubic", HALF, HALF)) is image


def test_another_size_is_resized_whole() -> None:
    image = np.zeros((50, 100, 3), np.uint8)
    image[:, 50:] = 255
    small = prepare(image, Preprocessing(20, None, "nearest", HALF, HALF))
    assert small.shape == (20, 20, 3)
    assert (small[:, :10] == 0).all() and (small[:, 10:] == 255).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1)])
def test_the_thinnest_images(shape: tuple[int, int]) -> None:
    assert (prepare(np.full((*shape, 3), 7, np.uint8), Preprocessing(32, 36, "bicubic", HALF, HALF)) == 7).all()


@pytest.mark.parametrize("resize", [None, 146])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("shape", [(375, 500), (500, 333), (128, 128), (60, 50), (90, 1000), (1, 1)])
def test_without_torch_every_pixel_is_the_same(shape: tuple[int, int], interpolation: str, resize: int | None) -> None:
    image, how = photograph(*shape), Preprocessing(128, resize, interpolation, HALF, HALF)
    np.testing.assert_array_equal(prepare_alone(image, how), prepare(image, how))


def test_a_description_is_enough() -> None:
    how = Preprocessing(128, 146, "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert Preprocessing.of(json.loads(json.dumps(how.describe()))) == how


def test_wrong_values_name_the_right_ones() -> None:
    with pytest.raises(BadConfig, match="nearest, bilinear, bicubic, lanczos"):
        Preprocessing(32, None, "cubic", HALF, HALF)
    with pytest.raises(BadConfig, match="crop in"):
        Preprocessing(32, 30, "bicubic", HALF, HALF)
