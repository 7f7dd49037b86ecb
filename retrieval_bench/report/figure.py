"""The Pareto figure: what an index finds against what a query costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import ArrayLike, NDArray

from retrieval_bench.report import text
from retrieval_bench.report.drawing import (
    FIRST,
    LINE,
    family_legend,
    legend_lines,
    literal,
    log_ticks,
    place_labels,
    plain_axes,
    save_figure,
    tip,
)
from retrieval_bench.report.families import NOT_RANKED, Style, functional, shade, styles
from retrieval_bench.report.rows import (
    Row,
    depth,
    distinct,
    effort_label,
    failed,
    interval,
    label,
    number,
    operating_points,
    panel_name,
    panels,
    point_key,
)

__all__ = ["COSTS", "pareto_figure", "pareto_front", "save_figure"]

COSTS = {
    "latency_p50_ms": "p50 latency of one query, ms",
    "latency_p95_ms": "p95 latency of one query, ms",
    "latency_p99_ms": "p99 latency of one query, ms",
    "latency_mean_ms": "mean latency of one query, ms",
    "index_bytes": "index size, bytes",
    "build_s": "build time, s",
}
MANY = 30  # points of a panel from which only curves' ends and the front tell their effort
NAMED = 3  # indexes that failed
STRETCH = 0.01  # the axis of ann_recall: -log10(1 + STRETCH - value)
RECALL_TICKS = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1)


@dataclass(frozen=True)
class _View:
    """What all panels of a figure share: its two columns and how each index looks."""

    metric: str
    cost: str
    looks: Mapping[str, Style] = field(default_factory=dict)


def pareto_front(rows: Sequence[Row], metric: str, cost: str) -> list[Row]:
    """Rows that no other row beats in both metric (more is better) and cost (less is better), by rising cost."""
    finite = [row for row in rows if isfinite(number(row, metric)) and isfinite(number(row, cost))]
    front: list[Row] = []
    for row in sorted(finite, key=lambda row: (number(row, cost), -number(row, metric))):
        if not front or number(row, metric) > number(front[-1], metric):
            front.append(row)
    return front


def ranked(rows: Sequence[Row], cost: str) -> list[Row]:
    """Rows that may stand on a front: measured, and where time is the cost, only those whose latency is ranked."""
    timed = cost.startswith("latency")
    return [row for row in rows if not failed(row) and not (timed and functional(row))]


class NoColumn(ValueError):
    """A column that is to be drawn is not among the numbers of these points."""


def pareto_figure(
    points: pd.DataFrame, metric: str = "ann_recall", cost: str = "latency_p50_ms", titled: bool = True
) -> Figure:
    """One panel a stage and depth: a quality metric against a cost on a logarithmic axis.

    Points carry their 95 % intervals and their effort; a colour is a family, a shade and a marker an index. The grey
    line is the Pareto front, the dashed one the floor, drawn where it is near the points. Empty markers: an index
    whose latency is not ranked, and so not on the front. Failed points are not drawn but named above the panel.
    The axis of ann_recall is stretched towards 1, where indexes differ.

    Args:
        points: as in `points.parquet`.
        metric: column on the linear axis, more is better.
        cost: column on the logarithmic axis, less is better.
        titled: name data, encoder and size above the panels.

    Raises:
        NoColumn: a column is missing; names the numeric ones that exist.
    """
    rows = operating_points(points) if len(points) else []
    _check(points, rows, (metric, cost))
    with literal():
        return _drawn(rows, _View(metric, cost, styles(rows)), titled)


def _check(points: pd.DataFrame, rows: Sequence[Row], columns: Sequence[str]) -> None:
    blank = [str(column) for column in points.columns if points[column].isna().all()]
    numeric = [str(column) for column in points.select_dtypes("number").columns]
    for column in columns:
        if column not in numeric and column not in blank and not all(failed(row) for row in rows):
            raise NoColumn(f"points have no numeric column {column!r}; choose among: {', '.join(numeric)}")


def _drawn(rows: Sequence[Row], view: _View, titled: bool) -> Figure:
    groups = panels(rows)
    columns = min(2, max(1, len(groups)))
    lines = max(1, -(-len(groups) // columns))
    tall = max(4.6, LINE * (legend_lines(rows) + 4) / lines)
    figure = Figure(
        figsize=((7.4 if columns == 1 else 6.2 * columns) + 1.8, tall * lines), dpi=150, layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axis, group in zip(axes, groups, strict=False):
        _panel(axis, group, view)
    for axis in axes[len(groups) :]:
        axis.set_axis_off()
    drawn = [row for row in rows if _drawable(row, view)]
    for axis in axes[: len(groups)]:
        _scales(axis, drawn, view)
    if rows and titled:
        row = rows[0]
        size = number(row, "n_gallery")
        told = [str(row[name]) for name in ("data", "encoder", "similarity")]
        figure.suptitle(" · ".join([*told, f"{size:,.0f} vectors"] if isfinite(size) else told), fontsize=11)
    hollow = [label(row) for row in drawn if functional(row)] if view.cost.startswith("latency") else []
    family_legend(figure, drawn, view.looks, _signs(drawn, view), hollow)
    figure.draw_without_rendering()  # fixes where the axes are
    for axis in axes[: len(groups)]:
        place_labels(figure, axis)
    return figure


def _drawable(row: Row, view: _View) -> bool:
    return not failed(row) and isfinite(number(row, view.metric)) and number(row, view.cost) > 0


def _panel(axis: Axes, group: Sequence[Row], view: _View) -> None:
    metric, cost = view.metric, view.cost
    axis.set_xscale("log")
    plain_axes(axis)
    axis.set_title(panel_name(group), fontsize=10)
    axis.set_xlabel(COSTS.get(cost, cost), fontsize=9)
    axis.set_ylabel(f"{metric}@{depth(group)}" if metric in {"ann_recall", "distance_ratio"} else metric, fontsize=9)
    axis.margins(0.06, 0.08)
    drawn = [row for row in group if _drawable(row, view)]
    _fit(axis, drawn, cost)
    front = pareto_front(ranked(drawn, cost), metric, cost)
    axis.plot(
        [number(row, cost) for row in front], [number(row, metric) for row in front],
        color="0.85", linewidth=6, solid_capstyle="round", zorder=1, label="Pareto front",
    )  # fmt: skip
    for index in distinct(group, "label"):
        _curve(axis, [row for row in drawn if row["label"] == index], view)
    _efforts(axis, drawn, front, view)
    _floor(axis, drawn, cost)
    names = distinct([row for row in group if failed(row)], "label")
    if names:
        more = f", … {len(names) - NAMED} more" if len(names) > NAMED else ""
        axis.set_title(f"failed: {', '.join(names[:NAMED])}{more}", loc="right", fontsize=8, color="#D55E00")
        axis.set_title(panel_name(group), loc="left", fontsize=10)
        axis.set_title("", loc="center")


def _curve(axis: Axes, rows: Sequence[Row], view: _View) -> None:
    if not rows:
        return
    rows = sorted(rows, key=lambda row: number(row, "effort"))
    look = view.looks[label(rows[0])]
    aside = functional(rows[0]) and view.cost.startswith("latency")
    face = "white" if aside else look.colour
    axis.errorbar(
        [number(row, view.cost) for row in rows], [number(row, view.metric) for row in rows],
        xerr=_bars(rows, view.cost), yerr=_bars(rows, view.metric), color=look.colour, marker=look.marker,
        markerfacecolor=face, linestyle="--" if aside else "-",
        markersize=4.5, linewidth=1.2, elinewidth=0.7, capsize=1.5, zorder=3, label=label(rows[0]),
    )  # fmt: skip
    for row in rows:  # once more, each on its own: what the pointer rests on
        axis.plot(
            [number(row, view.cost)], [number(row, view.metric)], color=look.colour, marker=look.marker,
            markerfacecolor=face, markersize=4.5, linestyle="none", zorder=5,
            gid=tip(point_key(row), told(row, view.metric)),
        )  # fmt: skip


def told(row: Row, metric: str) -> str:
    """What a point is and what it costs, a line each: shown where the pointer rests on it."""
    lines = [" ".join(part for part in (label(row), effort_label(row)) if part)]
    for name in dict.fromkeys((metric, "ann_recall")):
        lines.append(f"{name} {text.quality(*interval(row, name))}")
    lines.append(f"p50 {text.milliseconds(*interval(row, 'latency_p50_ms'))} ms")
    if isfinite(number(row, "build_s")):
        lines.append(f"{text.size(number(row, 'index_bytes'))}, built in {number(row, 'build_s'):.3g} s")
    return "\n".join(lines)


def _efforts(axis: Axes, drawn: Sequence[Row], front: Sequence[Row], view: _View) -> None:
    """The effort of each point; of many points only those on the front and at the ends of curves."""
    best = {id(row) for row in front}
    ends = set()
    for index in distinct(drawn, "label"):
        curve = [row for row in drawn if label(row) == index]
        ends |= {id(curve[0]), id(curve[-1])}
    for row in drawn:
        if len(drawn) >= MANY and id(row) not in best | ends:
            continue
        axis.annotate(
            effort_label(row) or str(row["index"]), (number(row, view.cost), number(row, view.metric)),
            xytext=(0, 0), textcoords="offset points", fontsize=6.5, zorder=4,
            color=shade(view.looks[label(row)].colour, -0.2),
            gid=FIRST if id(row) in best else None,
        )  # fmt: skip


def _bars(rows: Sequence[Row], column: str) -> list[list[float]]:
    """Lengths below and above each value, NaN where there is no interval: [2, rows]."""
    below, above = [], []
    for row in rows:
        value, low, high = interval(row, column)
        known = isfinite(low) and isfinite(high)
        below.append(max(0.0, value - low) if known else nan)
        above.append(max(0.0, high - value) if known else nan)
    return [below, above]


def _fit(axis: Axes, rows: Sequence[Row], cost: str) -> None:
    """Room for every cost with its interval: left alone, matplotlib warns where all are one number."""
    ends = [end for row in rows for end in interval(row, cost) if end > 0]
    if ends:
        axis.set_xlim(min(ends) / 1.3, max(ends) * 1.3)


def _floor(axis: Axes, rows: Sequence[Row], cost: str) -> None:
    """A line where it takes no room from the points; else told beside the axis."""
    floors = [value for row in rows if (value := number(row, "latency_floor_ms")) > 0]
    if not cost.startswith("latency") or not floors:
        return
    floor = max(floors)
    if floor * 3 >= min(number(row, cost) for row in rows):
        axis.axvline(floor, color="0.45", linestyle="--", linewidth=1, zorder=2, label=f"floor, {floor:.2g} ms")
    axis.set_xlabel(f"{axis.get_xlabel()} (floor: {floor:.2g})", fontsize=9)


def _signs(drawn: Sequence[Row], view: _View) -> list[tuple[Artist, str]]:
    if not drawn:
        return []
    signs: list[tuple[Artist, str]] = [(Line2D([], [], color="0.85", linewidth=6), "Pareto front")]
    if view.cost.startswith("latency") and any(functional(row) for row in drawn):
        hollow = Line2D([], [], color="0.4", marker="o", markersize=5, markerfacecolor="white", linestyle="--")
        signs.append((hollow, f"{NOT_RANKED} latency not ranked"))
    return signs


def _scales(axis: Axes, drawn: Sequence[Row], view: _View) -> None:
    costs, values = ([number(row, column) for row in drawn] for column in (view.cost, view.metric))
    if costs:
        log_ticks(axis.xaxis, min(costs), max(costs))
    if view.metric == "ann_recall" and values and max(values) <= 1:
        axis.set_yscale("function", functions=(_stretched, _unstretched))
        axis.set_ylim(max(0.0, min(values) - 0.3 * (1.02 - min(values))), 1.0015)
        axis.yaxis.set_major_locator(FixedLocator(RECALL_TICKS))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_locator(NullLocator())


def _stretched(value: ArrayLike) -> NDArray[np.float64]:
    return -np.log10(np.maximum(1 + STRETCH - np.asarray(value, np.float64), 1e-6))


def _unstretched(place: ArrayLike) -> NDArray[np.float64]:
    return 1 + STRETCH - 10 ** -np.asarray(place, np.float64)
