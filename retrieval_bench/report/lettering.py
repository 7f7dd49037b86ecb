"""Letters in pictures that are drawn without matplotlib."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont


@cache
def font(points: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib ships: labels may be in any of its scripts.

    It is looked for where it usually lies, since importing matplotlib takes longer than drawing the sheet.
    """
    spec = find_spec("matplotlib")
    usual = Path(str(spec and spec.origin)).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    if not usual.is_file():
        from matplotlib import font_manager

        usual = Path(font_manager.findfont("DejaVu Sans"))
    return ImageFont.truetype(str(usual), points)


def shortened(line: str, letters: ImageFont.FreeTypeFont, width: int) -> str:
    """The line, or what fits into so many pixels of it: its end, where file names differ."""
    line = line.replace("\n", " ")
    if letters.getlength(line) <= width:
        return line
    while line and letters.getlength("…" + line) > width:
        line = line[1:]
    return "…" + line


def clock(seconds: float) -> str:
    """Minutes, seconds and tenths.

    >>> clock(0.04), clock(75.25), clock(119.97), clock(3600)
    ('0:00.0', '1:15.2', '2:00.0', '60:00.0')
    """
    minutes, tenths = divmod(round(seconds * 10), 600)
    return f"{minutes}:{tenths // 10:02}.{tenths % 10}"
