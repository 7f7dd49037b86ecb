"""The nearest neighbours of one query, as a picture and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from retrieval_bench.report.lettering import font, shortened

TILE, GAP, CAPTION, FRAME = 160, 12, 34, 5
COLUMNS = 5
INK, PAPER = (34, 34, 34), (255, 255, 255)


class Verdict(StrEnum):
    """Whether a neighbour is relevant to the query."""

    RIGHT = "right"
    WRONG = "wrong"
    UNKNOWN = "unknown"  # the query has no label, as with a picture of the user's own


# Told apart by colour-blind readers; the verdict is also written.
COLOURS = {Verdict.RIGHT: (0, 114, 178), Verdict.WRONG: (213, 94, 0), Verdict.UNKNOWN: (170, 170, 170)}
STYLES = {Verdict.RIGHT: "green", Verdict.WRONG: "red", Verdict.UNKNOWN: ""}


@dataclass(frozen=True, eq=False)
class Neighbour:
    """One line of a ranked list.

    Attributes:
        key: source key of the gallery item.
        score: as the index gave it; larger is closer.
        label: its label for people, or nothing.
        verdict: right, wrong or unknown.
        image: uint8 [height, width, 3], or none where the picture cannot be read any more.
    """

    key: str
    score: float
    label: str = ""
    verdict: Verdict = Verdict.UNKNOWN
    image: NDArray[np.uint8] | None = None


def render_neighbours(title: str, neighbours: Sequence[Neighbour]) -> Group:
    """Rank, score, label, verdict and key of each neighbour, nearest first."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    labelled = any(neighbour.label for neighbour in neighbours)
    judged = any(neighbour.verdict is not Verdict.UNKNOWN for neighbour in neighbours)
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right", no_wrap=True)
    if labelled:
        table.add_column("label", overflow="ellipsis", no_wrap=True)
    if judged:
        table.add_column("verdict")
    table.add_column("key", overflow="fold")
    for rank, neighbour in enumerate(neighbours, start=1):
        cells = [str(rank), f"{neighbour.score:.4f}"]
        cells += [neighbour.label] if labelled else []
        cells += [neighbour.verdict.value] if judged else []
        table.add_row(*map(Text, [*cells, neighbour.key]), style=STYLES[neighbour.verdict])
    return Group(Text(title, "bold"), table)


def contact_sheet(query: NDArray[np.uint8], caption: str, neighbours: Sequence[Neighbour]) -> Image.Image:
    """The query on the left, its neighbours beside it in rows of five, nearest first.

    Args:
        query: uint8 [height, width, 3].
        caption: what stands under the query.
        neighbours: framed blue where right, orange where wrong, grey where unknown.
    """
    lines = max(1, -(-len(neighbours) // COLUMNS))
    step = TILE + 2 * FRAME + GAP
    across = min(COLUMNS, max(1, len(neighbours)))
    left = step + 2 * GAP
    sheet = Image.new("RGB", (left + across * step + GAP, lines * (step + CAPTION) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    _tile(sheet, (GAP, GAP), query, INK)
    _caption(draw, (GAP, GAP + TILE + 2 * FRAME), ("query", caption))
    draw.line(
        [(step + GAP + GAP // 2, GAP), (step + GAP + GAP // 2, sheet.height - GAP)], fill=(210, 210, 210), width=1
    )
    for i, neighbour in enumerate(neighbours):
        corner = (left + (i % COLUMNS) * step, GAP + (i // COLUMNS) * (step + CAPTION))
        _tile(sheet, corner, neighbour.image, COLOURS[neighbour.verdict])
        verdict = "" if neighbour.verdict is Verdict.UNKNOWN else f"  {neighbour.verdict}"
        head = f"{i + 1}   {neighbour.score:.3f}{verdict}"
        _caption(draw, (corner[0], corner[1] + TILE + 2 * FRAME), (head, neighbour.label or neighbour.key))
    return sheet


def _tile(
    sheet: Image.Image, corner: tuple[int, int], pixels: NDArray[np.uint8] | None, colour: tuple[int, int, int]
) -> None:
    """A framed square with the whole picture in it, its shape kept."""
    x, y = corner
    side = TILE + 2 * FRAME
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((x, y, x + side - 1, y + side - 1), outline=colour, width=FRAME - 1, fill=(245, 245, 245))
    if pixels is None:
        draw.text((x + side / 2, y + side / 2), "cannot be read", fill=INK, font=font(13), anchor="mm")
        return
    picture = Image.fromarray(pixels)
    scale = TILE / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    picture = picture.resize((width, height), Image.Resampling.NEAREST if scale >= 4 else Image.Resampling.LANCZOS)
    sheet.paste(picture, (x + (side - width) // 2, y + (side - height) // 2))


def _caption(draw: ImageDraw.ImageDraw, corner: tuple[int, int], lines: tuple[str, str]) -> None:
    for i, line in enumerate(lines):
        text = shortened(line, font(13), TILE + 2 * FRAME)
        draw.text((corner[0], corner[1] + 2 + 15 * i), text, fill=INK, font=font(13))
