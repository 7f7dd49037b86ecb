"""Answers about videos: strips of key frames as a picture, and moments as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from retrieval_bench.report.contact_sheet import COLOURS, INK, PAPER, Verdict
from retrieval_bench.report.lettering import clock, font, shortened

SHOWN = 8  # frames of a strip at most
HEIGHT, WIDEST, APART, FRAME, MARGIN = 96, 192, 3, 4, 14
HEAD, STAMP = 22, 17  # pixels of the line above a strip, and of the times below it
NARROWEST = 560  # of a sheet: room for what stands above the strips
FAINT = (110, 110, 110)


@dataclass(frozen=True, eq=False)
class Strip:
    """Key frames of a video, or of a part of it.

    Attributes:
        head, name: what stands above them; the end of the name is kept where both are too long.
        frames: uint8 [t, height, width, 3] in order of time, or none where they cannot be read any more.
        times: float64 [t] seconds of each, or none where they are not known.
        verdict: right, wrong or unknown, where it is an answer.
    """

    head: str
    name: str
    frames: NDArray[np.uint8] | None
    times: NDArray[np.float64] | None = None
    verdict: Verdict = Verdict.UNKNOWN


@dataclass(frozen=True)
class FoundMoment:
    """One line of a ranked list: part of a video, from start to end, in seconds."""

    video: str
    start: float
    end: float
    score: float


def render_moments(title: str, moments: Sequence[FoundMoment]) -> Group:
    """Rank, score, interval and video of each moment, best first."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("rank", "score", "start", "end"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("video", overflow="fold")
    for rank, moment in enumerate(moments, start=1):
        cells = [str(rank), f"{moment.score:.4f}", clock(moment.start), clock(moment.end), moment.video]
        table.add_row(*map(Text, cells))
    return Group(Text(title, "bold"), table)


def strip_sheet(query: Strip, answers: Sequence[Strip]) -> Image.Image:
    """The query's strip above, those of its answers below it, best first; times stand under the frames.

    Answers are framed blue where right, orange where wrong, grey where unknown.
    """
    strips = [query, *answers]
    wide = max([NARROWEST, *(_width(strip) for strip in strips)]) + 2 * MARGIN
    tall = sum(_height(strip) + MARGIN for strip in strips) + 2 * MARGIN
    sheet = Image.new("RGB", (wide, tall), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = MARGIN
    for place, strip in enumerate(strips):
        _draw(sheet, (MARGIN, y), strip, COLOURS[strip.verdict] if place else INK)
        y += _height(strip) + MARGIN
        if not place:
            draw.line([(MARGIN, y), (wide - MARGIN, y)], fill=(210, 210, 210), width=1)
            y += MARGIN
    return sheet


def shown(n: int) -> NDArray[np.int64]:
    """Which of n frames a strip shows: the middle ones of SHOWN equal parts, all where there are no more."""
    places: NDArray[np.int64] = np.arange(min(n, SHOWN))
    return places if n <= SHOWN else (2 * places + 1) * n // (2 * SHOWN)


def _tile(strip: Strip) -> tuple[int, int]:
    """Width and height of a frame on the sheet, its shape kept."""
    if strip.frames is None:
        return NARROWEST, HEIGHT // 2
    height, width = strip.frames.shape[1:3]
    scale = min(HEIGHT / height, WIDEST / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _width(strip: Strip) -> int:
    count = 1 if strip.frames is None else len(shown(len(strip.frames)))
    return count * (_tile(strip)[0] + APART) - APART + 2 * FRAME


def _height(strip: Strip) -> int:
    return HEAD + _tile(strip)[1] + 2 * FRAME + (0 if strip.times is None else STAMP)


def _draw(sheet: Image.Image, corner: tuple[int, int], strip: Strip, colour: tuple[int, int, int]) -> None:
    draw = ImageDraw.Draw(sheet)
    x, y = corner
    verdict = "" if strip.verdict is Verdict.UNKNOWN else f"   {strip.verdict}"
    head = f"{strip.head}{verdict}   "
    left = x + round(font(13).getlength(head))
    draw.text((x, y), head, fill=INK, font=font(13))
    draw.text((left, y), shortened(strip.name, font(13), sheet.width - MARGIN - left), fill=INK, font=font(13))
    y += HEAD
    width, height = _tile(strip)
    draw.rectangle((x, y, x + _width(strip) - 1, y + height + 2 * FRAME - 1), fill=colour)
    x, y = x + FRAME, y + FRAME
    if strip.frames is None:
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=(245, 245, 245))
        draw.text((x + width / 2, y + height / 2), "cannot be read", fill=INK, font=font(13), anchor="mm")
        return
    enlarged = height >= 4 * strip.frames.shape[1]
    for row in shown(len(strip.frames)):
        picture = Image.fromarray(np.ascontiguousarray(strip.frames[row]))
        how = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
        sheet.paste(picture.resize((width, height), how), (x, y))
        if strip.times is not None:
            stamp, below = clock(float(strip.times[row])), y + height + FRAME + 2
            draw.text((x + width / 2, below), stamp, fill=FAINT, font=font(11), anchor="ma")
        x += width + APART
