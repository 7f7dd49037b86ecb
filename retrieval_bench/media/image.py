"""Image bytes → uint8 RGB pixels, or a CorruptInput that says what is wrong with them."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from retrieval_bench.errors import CorruptInput

Image.init()  # all plugins now: Pillow would load them at the first use, which may be in several threads at once

Pixels = NDArray[np.uint8]

# A quarter of a GiB of RGB; Pillow's own limit, above which it warns, and above twice of which it refuses.
MAX_PIXELS = 89_478_485
BACKGROUND = (255, 255, 255)
# No EPS, PDF or similar: Pillow hands those to an external interpreter.
FORMATS = tuple(
    name
    for name in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "ICO")
    if name in Image.OPEN
)
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif", ".tif", ".tiff", ".bmp", ".ppm",
     ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".ico")
)  # fmt: skip
# Everything that Pillow's parsers were seen to raise on damaged files; warnings, where the user made them errors.
DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError, AttributeError,
    RuntimeError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError, Warning,
)  # fmt: skip
ORIENTATION = 0x0112  # EXIF tag
TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a[::-1].transpose(1, 0, 2),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a[:, ::-1].transpose(1, 0, 2),
}


def decode(source: Path | bytes) -> Pixels:
    """The first frame of an image file as people see it: uint8 RGB [height, width, 3], C-contiguous.

    Thread-safe; the global lock is released while pixels are decoded. EXIF orientation is applied. Transparent pixels
    are composited on white. 16-bit samples keep their high byte; CMYK is converted without a colour profile. A JPEG
    takes a direct libjpeg-turbo path with the same pixels as Pillow, which reads everything else.

    Raises:
        CorruptInput: unreadable, empty, truncated, not an image, or more than MAX_PIXELS; the reason is in the message.
    """
    if isinstance(source, Path):
        try:
            return decode(source.read_bytes())
        except OSError as error:
            raise CorruptInput(f"{source}: cannot be opened: {error.strerror}") from error
        except CorruptInput as error:
            raise CorruptInput(f"{source}: {error}") from error
    if not source:
        raise CorruptInput("the file is empty (0 bytes)")
    pixels = _decode_jpeg(source) if source.startswith(b"\xff\xd8\xff") else None
    return _decode_any(source) if pixels is None else pixels


def is_picture(path: Path) -> bool:
    """Whether a file is a still picture, whatever it is called; its pixels are not read."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return int(getattr(image, "n_frames", 1)) == 1
    except Image.DecompressionBombError:
        return True
    except DAMAGE:
        return False


def _decode_jpeg(data: bytes) -> Pixels | None:
    """The direct path; none where Pillow should have its try (CMYK, unusual or slightly damaged files)."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(width, height)
        # Strict: libjpeg's warnings become errors. Without that, the missing half of a file is grey.
        pixels = simplejpeg.decode_jpeg(data, "CMYK" if colours in ("CMYK", "YCCK") else "RGB", fastdct=False,
                                        fastupsample=False)  # fmt: skip
    except ValueError as error:
        if "remature end" in str(error):
            raise CorruptInput(f"truncated JPEG: {error}") from error
        return None
    if pixels.shape[2] != 3:  # it was only checked for truncation; Pillow knows Adobe's inverted inks
        return None
    return np.ascontiguousarray(_turn(pixels, _orientation(data)))


def _orientation(data: bytes) -> int:
    """EXIF (or XMP) orientation of a JPEG, 1–8; Pillow is asked only where the file has such a segment."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xE1:
            return _jpeg_orientation(data)
        if marker == 0xDA:  # start of scan: no more headers that matter
            break
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 1


def _jpeg_orientation(data: bytes) -> int:
    try:
        with Image.open(BytesIO(data), formats=("JPEG",)) as image:
            return _stored_orientation(image)
    except DAMAGE:
        return 1  # the pixels are sound: a header that Pillow cannot read must not lose the picture


def _stored_orientation(image: Image.Image) -> int:
    """Of a loaded image (Pillow turns a TIFF itself while loading, and then says 1)."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except DAMAGE:
        return 1  # a damaged EXIF block must not lose the picture


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    turn = TURNS.get(orientation)
    return pixels if turn is None else turn(pixels)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise CorruptInput(_too_large(f"{width:,} × {height:,} = {width * height:,}"))


def _too_large(pixels: str) -> str:
    return (
        f"too large: {pixels} pixels; the limit is {MAX_PIXELS:,}, so that a small file cannot fill the memory"
        " (a decompression bomb). Scale the image down, for instance to 4,096 pixels on its longer side"
    )


def _size_by_header(data: bytes) -> tuple[int, int] | None:
    """Width and height of what Pillow refuses to open: its own readers of the header, without its check."""
    for name in FORMATS:
        reader, accept = Image.OPEN[name]
        if accept is not None and accept(data[:16]) is True:
            try:
                return reader(BytesIO(data), "").size
            except DAMAGE:
                continue
    return None


def _decode_any(data: bytes) -> Pixels:
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _check_size(*image.size)
            image.load()
            return np.ascontiguousarray(_turn(_to_rgb(image), _stored_orientation(image)))
    except UnidentifiedImageError as error:
        raise CorruptInput(
            f"not an image in a known format ({', '.join(FORMATS)}); its first bytes are {data[:12]!r}"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        size = _size_by_header(data)
        if size is not None:
            _check_size(*size)
        found = re.search(r"\((\d+) pixels\)", str(error))  # of a picture inside the file
        raise CorruptInput(_too_large(f"{int(found[1]):,}" if found else "an unknown number of")) from error
    except DAMAGE as error:
        kind = "truncated" if "runcated" in str(error) else "damaged"
        raise CorruptInput(f"{kind} image: {error or type(error).__name__}") from error


def _to_rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        samples = np.asarray(image).astype(np.uint16)
        high = (samples >> 8).astype(np.uint8)  # the high byte, as libpng strips 16-bit RGB
        if "transparency" in image.info:
            high[samples == image.info["transparency"]] = BACKGROUND[0]
        return np.repeat(high[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise CorruptInput(f"32-bit samples (mode {image.mode}) have no fixed range; convert the file to 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(ground, image)
    return np.array(image.convert("RGB"))
