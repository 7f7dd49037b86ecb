"""What figures have in common: axes, labels that hide nothing, a legend by family, and how a figure is kept."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from math import log10
from pathlib import Path

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter
from matplotlib.transforms import Bbox

from retrieval_bench.record import written_whole
from retrieval_bench.report.families import COLOURS, Style, by_family
from retrieval_bench.report.rows import Row, distinct, label
from retrieval_bench.search.base import Family

TIP = "tip "  # begins the gid of a marker that tells its numbers: the point's key and a text follow
FIRST = "first"  # gid of labels that are placed before others
INK = "0.25"
LINE = 0.19  # inches of a legend's line
# Where a label may stand beside its point, best first: offset in points, and the corner of the text that is put there.
PLACES = (
    ((-5, 3), "right", "bottom"),
    ((5, -3), "left", "top"),
    ((5, 3), "left", "bottom"),
    ((-5, -3), "right", "top"),
    ((0, 6), "center", "bottom"),
    ((0, -6), "center", "top"),
)


def plain_axes(axis: Axes) -> None:
    """A light grid behind the data and no frame above and to the right."""
    axis.grid(True, which="major", color="0.9", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color("0.6")
    axis.tick_params(labelleft=True, labelbottom=True, color="0.6", labelsize=8.5)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Numbers at 1, 10, 100; at 1, 2, 5, 10 where the range is short."""
    short = log10(high / low) < 1.7 if 0 < low < high else True
    axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5) if short else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_formatter(NullFormatter())
    if short:
        axis.set_minor_locator(NullLocator())


def place_labels(figure: Figure, axis: Axes) -> None:
    """Put each label where it hides no point and no other label, those marked FIRST first; else leave it out."""
    texts = [text for text in axis.texts if isinstance(text, Annotation)]
    marks = [axis.transData.transform(text.xy) for text in texts]
    reach = 3.2 * figure.dpi / 72
    taken = [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in marks]
    for text in sorted(texts, key=lambda text: text.get_gid() != FIRST):
        left, right, *others = PLACES
        for offset, side, edge in (left, right, *others) if text.get_gid() == FIRST else (right, left, *others):
            text.set(position=offset, horizontalalignment=side, verticalalignment=edge)
            box = text.get_window_extent()
            if axis.bbox.x0 <= box.x0 and box.x1 <= axis.bbox.x1 and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
        else:
            text.set_visible(False)


def legend_lines(rows: Sequence[Row]) -> int:
    """Lines that `family_legend` takes, beside those of `extra`."""
    return sum(1 + len(distinct(members, "label")) for _, members in by_family(rows))


def family_legend(
    figure: Figure,
    rows: Sequence[Row],
    looks: Mapping[str, Style],
    extra: Sequence[tuple[Artist, str]] = (),
    hollow: Sequence[str] = (),
) -> None:
    """A legend right of all panels: families as headings, below each its indexes.

    Args:
        extra: further artists with what they are called, at the end.
        hollow: labels of indexes that are drawn with empty markers.
    """
    handles: list[Artist] = []
    names: list[str] = []
    heads: list[int] = []
    for kind, members in by_family(rows):
        indexes = distinct(({"label": label(row)} for row in members), "label")
        if indexes != [str(kind)]:
            heads.append(len(names))
            handles.append(Line2D([], [], linestyle="none"))
            names.append(str(kind))
        for index in indexes:
            face = "white" if index in hollow else looks[index].colour
            handles.append(_handle(looks[index], face, dashed=index in hollow))
            names.append(index)
    handles += [artist for artist, _ in extra]
    names += [name for _, name in extra]
    if not handles:
        return
    legend = figure.legend(
        handles, names, loc="outside right upper", fontsize=8, frameon=False, handlelength=2.2, labelspacing=0.35
    )
    kinds = [str(kind) for kind in Family]
    for at in heads:
        text = legend.get_texts()[at]
        text.set(fontweight="bold", color=COLOURS[Family(names[at])] if names[at] in kinds else INK)


def _handle(style: Style, face: str, dashed: bool) -> Line2D:
    return Line2D(
        [], [], color=style.colour, marker=style.marker, markersize=5, markerfacecolor=face, linewidth=1.3,
        linestyle="--" if dashed else "-",
    )  # fmt: skip


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as what the suffix says (.png, .svg, .pdf); under a temporary name first, then renamed."""
    with written_whole(path, "wb") as file:
        figure.savefig(file, format=path.suffix.removeprefix("."))
    return path


def tip(key: str, text: str) -> str:
    """The gid of a marker: `svg` makes a text of it that is shown where the pointer rests.

    Args:
        key: what the marker and a line of a table have in common; letters and digits.
    """
    return f"{TIP}{key} {text}"


def literal() -> AbstractContextManager[None]:
    """Texts made inside are shown as they are: a `$` in a name starts no formula."""
    return mpl.rc_context({"text.parse_math": False})


def svg(figure: Figure, salt: str) -> str:
    """A figure as an SVG element without a background; `salt` keeps its ids apart from those of others on a page."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)
    # A title is shown by browsers where the pointer rests, without any script; its text is escaped as the id was.
    drawn = re.sub(rf'<g id="{TIP}(\w+) ([^"]*)">', r'<g class="tip" data-point="\1"><title>\2</title>', drawn)
    return re.sub(r'<g id="[^"]*"', "<g", drawn)  # groups are never referred to, and their names repeat
