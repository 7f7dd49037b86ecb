"""Every expected picture is Pillow's own or computed by hand; the direct JPEG path must not differ in one bit."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from retrieval_bench.errors import CorruptInput
from retrieval_bench.media import image as module
from retrieval_bench.media.image import MAX_PIXELS, decode, is_picture


def photograph(width: int = 61, height: int = 47, mode: str = "RGB") -> Image.Image:
    """Smooth colour, an edge and a little noise: every part of a JPEG codec has something to do."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x + y > width // 2) * 200], axis=2)
    pixels = np.clip(pixels + rng.integers(-9, 10, pixels.shape), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def save(image: Image.Image, kind: str, options: dict[str, object] | None = None) -> bytes:
    file = BytesIO()
    image.save(file, kind, **(options or {}))
    return file.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB"))


JPEGS = {
    "4:2:0": {"subsampling": 2},
    "4:2:2": {"subsampling": 1},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True, "subsampling": 2},
    "optimised": {"optimize": True, "quality": 35},
    "restart markers": {"restart_marker_blocks": 2},
    "stored as RGB": {"keep_rgb": True},
}


@pytest.mark.parametrize("size", [(61, 47), (1, 1), (8, 16), (17, 1)], ids=str)
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS.keys())
def test_jpeg_has_pillows_pixels(options: dict[str, object], size: tuple[int, int]) -> None:
    data = save(photograph(*size), "JPEG", options)
    pixels = decode(data)
    assert pixels.shape == (size[1], size[0], 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, by_pillow(data))


def test_ordinary_jpegs_take_the_direct_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("Pillow was asked")

    monkeypatch.setattr(module.Image, "open", refuse)
    for mode in ("RGB", "L"):
        assert decode(save(photograph(mode=mode), "JPEG")).shape == (47, 61, 3)


def test_grey_jpeg() -> None:
    data = save(photograph(mode="L"), "JPEG")
    pixels = decode(data)
    np.testing.assert_array_equal(pixels, by_pillow(data))
    assert (pixels[..., 0] == pixels[..., 2]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = save(photograph(), kind, {"exif": exif})
    np.testing.assert_array_equal(decode(data), by_pillow(data))
    assert decode(data).shape[:2] == ((61, 47) if orientation >= 5 else (47, 61))
    assert decode(data).flags.c_contiguous


def test_orientation_six_turns_the_top_to_the_right() -> None:
    """Not by Pillow: a white top row of the stored picture must end as the right column."""
    stored = np.zeros((4, 6), np.uint8)
    stored[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    shown = decode(save(Image.fromarray(stored), "PNG", {"exif": exif}))
    assert shown.shape == (6, 4, 3)
    assert (shown[:, -1] == 255).all()
    assert (shown[:, :-1] == 0).all()


def test_orientation_in_xmp_only() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="8"/></x:xmpmeta>'
    data = save(photograph(), "JPEG", {"xmp": xmp})
    assert decode(data).shape == (61, 47, 3)
    np.testing.assert_array_equal(decode(data), by_pillow(data))


def test_damaged_exif_does_not_lose_the_picture() -> None:
    data = save(photograph(), "JPEG", {"exif": b"Exif\0\0MM\0*\xff\xff\xff\xff broken"})
    assert decode(data).shape == (47, 61, 3)


def test_cmyk_inks_are_not_inverted() -> None:
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow: red
    pixels = decode(save(ink, "JPEG", {"quality": 100}))
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 3
    data = save(photograph(mode="CMYK"), "JPEG")
    np.testing.assert_array_equal(decode(data), by_pillow(data))
    np.testing.assert_array_equal(
        decode(save(photograph(mode="CMYK"), "TIFF")), by_pillow(save(photograph(mode="CMYK"), "TIFF"))
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_keep_the_high_byte(kind: str) -> None:
    samples = np.array([[0, 255, 256], [32_768, 65_279, 65_535]], np.uint16)
    pixels = decode(save(Image.fromarray(samples), kind))
    np.testing.assert_array_equal(pixels[..., 0], [[0, 0, 1], [128, 254, 255]])
    np.testing.assert_array_equal(pixels[..., 1], pixels[..., 0])


def test_sixteen_bits_with_a_transparent_value() -> None:
    samples = np.array([[0, 7], [300, 65_535]], np.uint16)
    pixels = decode(save(Image.fromarray(samples), "PNG", {"transparency": 7}))
    np.testing.assert_array_equal(pixels[..., 0], [[0, 255], [1, 255]])


def test_samples_without_a_range_are_refused() -> None:
    data = save(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF")
    with pytest.raises(CorruptInput, match="32-bit samples"):
        decode(data)


def test_palette() -> None:
    data = save(photograph().quantize(32), "PNG")
    np.testing.assert_array_equal(decode(data), by_pillow(data))
    assert len(np.unique(decode(data).reshape(-1, 3), axis=0)) > 8


def test_palette_with_a_transparent_entry_shows_white() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode=None).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    pixels = decode(save(image, "PNG", {"transparency": 1}))
    assert pixels.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_alpha_is_composited_on_white() -> None:
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    assert decode(save(Image.fromarray(rgba), "PNG")).tolist() == [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]]
    grey = np.array([[[0, 0], [100, 255]]], np.uint8)
    assert decode(save(Image.fromarray(grey), "PNG")).tolist() == [[[255] * 3, [100] * 3]]


def test_one_bit() -> None:
    image = Image.fromarray(np.array([[True, False]]))
    assert decode(save(image, "PNG")).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP", "JPEG"])
def test_one_pixel(kind: str) -> None:
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {"quality": 100}
    pixels = decode(save(Image.new("RGB", (1, 1), (255, 255, 255)), kind, options))
    assert pixels.tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    data = save(frames[0], kind, {"save_all": True, "append_images": frames[1:], "lossless": True})
    assert Image.open(BytesIO(data)).n_frames == 3
    assert (decode(data) == [255, 0, 0]).all()


def test_camera_file_with_two_pictures_gives_the_first() -> None:
    first, second = photograph(), photograph(20, 10)
    data = save(first, "MPO", {"save_all": True, "append_images": [second]})
    assert decode(data).shape == (47, 61, 3)


# --- what cannot be decoded, and why


def test_zero_bytes(tmp_path: Path) -> None:
    with pytest.raises(CorruptInput, match="the file is empty"):
        decode(b"")
    (tmp_path / "a.jpg").touch()
    with pytest.raises(CorruptInput, match=r"a\.jpg: the file is empty"):
        decode(tmp_path / "a.jpg")


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(CorruptInput, match="cannot be opened: No such file"):
        decode(tmp_path / "none.jpg")
    with pytest.raises(CorruptInput, match="cannot be opened: Is a directory"):
        decode(tmp_path)


@pytest.mark.parametrize("data", [b"<!DOCTYPE html><html>", b"x", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\0" * 5000])
def test_not_an_image(data: bytes) -> None:
    with pytest.raises(CorruptInput, match="not an image in a known format"):
        decode(data)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_truncated_jpeg_is_never_half_a_picture(mode: str, progressive: bool) -> None:
    data = save(photograph(200, 150, mode), "JPEG", {"progressive": progressive})
    for share in (0.3, 0.5, 0.8, 0.97):
        cut = data[: int(len(data) * share)]
        with pytest.raises(CorruptInput, match="truncated"):
            decode(cut)
        with pytest.raises(CorruptInput, match="truncated"):
            decode(cut + b"\xff\xd9")  # an end marker does not make it whole; Pillow would give a half-grey picture
    for length in (3, 20):
        with pytest.raises(CorruptInput):
            decode(data[:length])


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "PPM"])
def test_truncated_others(kind: str) -> None:
    data = save(photograph(200, 150), kind)
    with pytest.raises(CorruptInput):
        decode(data[: len(data) // 2])


def test_harmless_bytes_before_a_marker_are_forgiven() -> None:
    data = save(photograph(), "JPEG")
    at = data.index(b"\xff\xda")  # start of scan
    odd = data[:at] + b"\0\0\0" + data[at:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(odd)
    np.testing.assert_array_equal(decode(odd), decode(data))


def png_header(width: int, height: int) -> bytes:
    data = save(Image.new("1", (8, 8)), "PNG")
    head = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + data[24:29]
    return data[:12] + head + zlib.crc32(head).to_bytes(4, "big") + data[33:]


def jpeg_header(width: int, height: int) -> bytes:
    data = save(photograph(8, 8), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[at + 4 :]


def patched(kind: str, at: int, width: int) -> Callable[[int, int], bytes]:
    """A header with other sides, little-endian, at this place."""

    def write(*sides: int) -> bytes:
        data = save(photograph(8, 8), kind)
        return data[:at] + b"".join(side.to_bytes(width, "little") for side in sides) + data[at + 2 * width :]

    return write


HEADERS = {"JPEG": jpeg_header, "PNG": png_header, "GIF": patched("GIF", 6, 2), "BMP": patched("BMP", 18, 4)}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_460, 30_000])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_picture_beyond_the_limit_says_its_size_and_what_to_do(kind: str, side: int) -> None:
    """Above Pillow's warning and above its error; nothing of that size is allocated."""
    assert side * side > MAX_PIXELS
    data = HEADERS[kind](side, side)
    with pytest.raises(CorruptInput) as caught:
        decode(data)
    assert str(caught.value) == (
        f"too large: {side:,} × {side:,} = {side * side:,} pixels; the limit is 89,478,485, so that a small file cannot"
        " fill the memory (a decompression bomb). Scale the image down, for instance to 4,096 pixels on its longer side"
    )


def test_too_large_under_warnings_as_errors() -> None:
    with pytest.raises(CorruptInput, match=r"^too large: 9,460 × 9,460 = 89,491,600 pixels"):
        decode(png_header(9_460, 9_460))


def test_a_picture_at_the_limit_is_not_too_large() -> None:
    with pytest.raises(CorruptInput, match=r"^truncated image"):
        decode(png_header(MAX_PIXELS, 1))


def test_too_large_inside_another_file() -> None:
    """An icon holds a PNG that tells another size than the icon's own header."""
    icon = save(Image.new("RGB", (16, 16)), "ICO", {"sizes": [(16, 16)]})
    at = icon.index(b"\x89PNG")
    with pytest.raises(CorruptInput, match=r"^too large: .*900,000,000 pixels; the limit"):
        decode(icon[:at] + png_header(30_000, 30_000))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO"])
def test_damage_is_a_picture_or_corrupt_input_and_nothing_else(kind: str) -> None:
    rng = np.random.default_rng(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = save(photograph(32, 32), kind, {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else None)
    refused = 0
    for _ in range(150):
        broken = bytearray(data)
        for at in rng.integers(0, min(len(data), 400), 4):
            broken[at] = rng.integers(256)
        try:
            assert decode(bytes(broken)).shape[2] == 3
        except CorruptInput:
            refused += 1
    assert refused > 0


def test_threads_agree() -> None:
    data = [save(photograph(60 + i, 40), kind) for i in range(8) for kind in ("JPEG", "PNG", "WEBP")]
    alone = [decode(each) for each in data]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(alone, pool.map(decode, data), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.data
def test_real_jpegs_have_pillows_pixels() -> None:
    folder = Path(os.environ["RETRIEVAL_BENCH_DATA"]) / "cars196_112" / "cropped_test"
    paths = sorted(folder.glob("*.jpg"))[::50]
    assert len(paths) > 100
    for path in paths:
        np.testing.assert_array_equal(decode(path), by_pillow(path.read_bytes()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
def test_a_still_picture_is_told_by_its_content(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "film.mp4"
    file.write_bytes(save(photograph(), kind))
    assert is_picture(file)


def test_what_moves_or_cannot_be_read_is_no_picture(tmp_path: Path) -> None:
    moving = save(photograph(), "GIF", {"save_all": True, "append_images": [photograph(mode="L").convert("RGB")]})
    for content in (moving, b"", b"hello", b"\0\0\0\x20ftypisom\0\0\2\0"):
        (tmp_path / "x.png").write_bytes(content)
        assert not is_picture(tmp_path / "x.png")
    assert not is_picture(tmp_path / "missing.png")
    assert not is_picture(tmp_path)


def test_a_picture_of_too_many_pixels_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.png").write_bytes(save(photograph(), "PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert is_picture(tmp_path / "x.png")
