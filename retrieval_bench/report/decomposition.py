"""Where quality is lost: the encoder's part, with exact search, and the index's part on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from retrieval_bench.report import text
from retrieval_bench.report.drawing import literal, plain_axes, tip
from retrieval_bench.report.families import COLOURS, family
from retrieval_bench.report.latency import LINE
from retrieval_bench.report.rows import Row, effort_label, interval, label, number, point_key

LOST, MISSED = "#B2182B", "0.88"


def decomposition_figure(rows: Sequence[Row], metric: str) -> Figure | None:
    """A bar an operating point: what is kept through the index, what the index loses, what the encoder misses.

    The three add up to 1. A negative loss, where wrong answers of exact search are missed by luck, is no bar. The
    whisker is the 95 % interval of what is kept.

    Args:
        rows: points of one panel. metric: label metric, 1 at best.

    Returns:
        None where the metric is known for no point.
    """
    rows = [row for row in rows if isfinite(number(row, metric)) and isfinite(number(row, f"exact_{metric}"))]
    if not rows:
        return None
    with literal():
        figure = Figure(figsize=(9.2, 1.2 + LINE * len(rows)), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.subplots()
        plain_axes(axis)
        axis.grid(False, axis="y")
        _bars(axis, rows, metric)
        for place, row in enumerate(rows):
            value, low, high = interval(row, metric)
            if isfinite(low) and isfinite(high):
                axis.plot([low, high], [place, place], color="0.2", linewidth=0.8)
            axis.plot([value], [place], marker="|", markersize=7, color="0.2", linestyle="none",
                      gid=tip(point_key(row), _told(row, metric)))  # fmt: skip
        names = [" ".join(part for part in (label(row), effort_label(row)) if part) for row in rows]
        axis.set_yticks(range(len(rows)), names, fontsize=8)
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlim(0, 1)
        axis.set_xlabel(metric, fontsize=9)
    return figure


def _bars(axis: Axes, rows: Sequence[Row], metric: str) -> None:
    places = range(len(rows))
    kept = [number(row, metric) for row in rows]
    tops = [max(number(row, metric), number(row, f"exact_{metric}")) for row in rows]
    lost = [top - value for top, value in zip(tops, kept, strict=True)]
    axis.barh(places, kept, height=0.62, color=[COLOURS[family(row)] for row in rows], alpha=0.55)
    axis.barh(places, lost, left=kept, height=0.62, color=LOST, hatch="////", edgecolor="white", linewidth=0)
    axis.barh(places, [1 - top for top in tops], left=tops, height=0.62, color=MISSED)


def _told(row: Row, metric: str) -> str:
    name = " ".join(part for part in (label(row), effort_label(row)) if part)
    return "\n".join(
        [
            name,
            f"through the index: {metric} {text.quality(*interval(row, metric))}",
            f"lost by the index: {text.quality(*interval(row, f'ann_loss_{metric}'))}",
            f"missed by the encoder: {text.quality(1 - number(row, f'exact_{metric}'))}",
        ]
    )
