"""The break-even figure: what a query costs as the gallery grows, and from where an index beats exact search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import isfinite, log

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from retrieval_bench.break_even import crossings
from retrieval_bench.report.drawing import LINE, family_legend, legend_lines, literal, log_ticks, plain_axes
from retrieval_bench.report.families import Style, functional, styles
from retrieval_bench.report.rows import FLOOR_INDEX, Row, distinct, failed, label, number

COST, SIZE = "latency_p50_ms", "n_gallery"


def curves(points: pd.DataFrame) -> list[Row]:
    """Rows of the reporting half that can be drawn, named by their index with its `crossing`, if that is known.

    Args:
        points: as in `break_even.parquet`, of one stage and one target.
    """
    found = crossings(points) if "exact" in points.columns else {}
    rows: list[Row] = []
    report: list[Row] = points[points["half"] == "report"].to_dict("records")  # type: ignore[assignment]
    for row in report:
        if row["index"] == FLOOR_INDEX or failed(row) or not number(row, COST) > 0:
            continue
        size = found.get((str(row["stage"]), str(row["index"])))
        rows.append({**row, "label": str(row["index"]), "crossing": size})
    return rows


def size_figure(points: pd.DataFrame) -> Figure | None:
    """p50 of one query against the gallery's size, both logarithmic: one panel a stage and target.

    Every index searches at the effort that meets the target at that size; a ring marks where its line crosses that of
    exact search for the last time.

    Args:
        points: as in `break_even.parquet`.

    Returns:
        None where nothing was measured.
    """
    keys = [name for name in ("stage", "target") if name in points.columns]
    groups = [(" · ".join(map(str, key)), curves(group)) for key, group in points.groupby(keys, sort=False)]
    groups = [(name, rows) for name, rows in groups if rows]
    if not groups:
        return None
    every = [row for _, rows in groups for row in rows]
    looks = styles(every)
    columns = min(2, len(groups))
    lines = -(-len(groups) // columns)
    tall = max(4.0, LINE * (legend_lines(every) + 2) / lines)
    with literal():
        figure = Figure(
            figsize=((7.4 if columns == 1 else 6.2 * columns) + 1.8, tall * lines), dpi=150, layout="constrained"
        )
        FigureCanvasAgg(figure)
        axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten()
        for axis, (name, rows) in zip(axes, groups, strict=False):
            _panel(axis, name, rows, looks)
        for axis in axes[len(groups) :]:
            axis.set_axis_off()
        for axis in axes[: len(groups)]:
            for one, column in ((axis.xaxis, SIZE), (axis.yaxis, COST)):
                values = [number(row, column) for row in every]
                log_ticks(one, min(values), max(values))
        family_legend(figure, every, looks, hollow=[label(row) for row in every if functional(row)])
    return figure


def _panel(axis: Axes, name: str, rows: Sequence[Row], looks: Mapping[str, Style]) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    plain_axes(axis)
    axis.grid(True, which="minor", color="0.96", linewidth=0.5)
    axis.set_title(name, fontsize=10)
    axis.set_xlabel("vectors in the gallery", fontsize=9)
    axis.set_ylabel("p50 latency of one query, ms", fontsize=9)
    axis.margins(0.06, 0.08)
    for index in distinct(rows, "label"):
        curve = sorted((row for row in rows if row["label"] == index), key=lambda row: number(row, SIZE))
        look, aside = looks[str(index)], functional(curve[0])
        x, y = [number(row, SIZE) for row in curve], [number(row, COST) for row in curve]
        axis.plot(
            x, y, color=look.colour, marker=look.marker, markersize=4.5, linewidth=1.3, zorder=3, label=str(index),
            markerfacecolor="white" if aside else look.colour, linestyle="--" if aside else "-",
        )  # fmt: skip
        axis.fill_between(x, *_band(curve), color=look.colour, alpha=0.12, linewidth=0)
        for size, cost in _ring(curve):
            axis.plot(
                [size], [cost], marker="o", markersize=11, markerfacecolor="none", markeredgewidth=1.6,
                color=look.colour, zorder=5, label=f"{index} crosses", linestyle="none",
            )  # fmt: skip


def _band(curve: Sequence[Row]) -> tuple[list[float], list[float]]:
    """Ends of the 95 % intervals; the value itself where there is none."""
    ends = []
    for end in ("_lo", "_hi"):
        values = [(number(row, COST + end), number(row, COST)) for row in curve]
        ends.append([bound if isfinite(bound) and bound > 0 else value for bound, value in values])
    return ends[0], ends[1]


def _ring(curve: Sequence[Row]) -> Iterator[tuple[float, float]]:
    """Where the curve crosses that of exact search, both taken as powers of the size between measured sizes."""
    size = number(curve[0], "crossing")
    for below, above in pairwise(curve):
        low, high = number(below, SIZE), number(above, SIZE)
        if isfinite(size) and low <= size <= high and low < high:
            share = log(size / low) / log(high / low)
            yield size, number(below, COST) * (number(above, COST) / number(below, COST)) ** share
            return
