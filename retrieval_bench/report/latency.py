"""How the latency of single queries is spread, beside the floor: one box an operating point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from retrieval_bench.report import text
from retrieval_bench.report.drawing import literal, log_ticks, plain_axes, tip
from retrieval_bench.report.families import Style, styles
from retrieval_bench.report.figure import pareto_front, ranked
from retrieval_bench.report.rows import Row, distinct, effort_label, failed, label, number, point_key

COST = "latency_p50_ms"
MOST = 24  # boxes of a figure
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
LINE = 0.27  # inches of a box

Spread = tuple[float, ...]  # milliseconds at QUANTILES


def few_points(group: Sequence[Row], most: int = MOST) -> list[Row]:
    """Points of a panel that a figure with a line each has room for, by family and effort.

    All where they are few; else those on the Pareto front, then both ends of each index, as far as there is room.
    """
    known = [row for row in group if not failed(row) and number(row, COST) > 0]
    if len(known) <= most:
        return known
    wanted = list(pareto_front(ranked(known, COST), "ann_recall", COST))
    for name in distinct(known, "label"):
        curve = [row for row in known if row["label"] == name]
        wanted += [curve[0], curve[-1]]
    kept = list(dict.fromkeys(id(row) for row in wanted))[:most]
    return [row for row in known if id(row) in set(kept)]


def spreads(times: pd.DataFrame, rows: Sequence[Row]) -> dict[str, Spread]:
    """Key of each point → quantiles of all its timed queries, over passes and build seeds; those without are left out.

    Args:
        times: as in `queries.parquet`, one line a query and pass.
    """
    timed = times[times["pass"] >= 0]
    found: dict[str, Spread] = {}
    for row in rows:
        mask = (timed["stage"] == row["stage"]) & (timed["index"] == row["index"])
        mask &= (timed["index_params"] == row.get("index_params", "{}")) & (timed["k"] == number(row, "k"))
        effort = number(row, "effort")
        mask &= timed["effort"] == effort if isfinite(effort) else timed["effort"].isna()
        ns = timed.loc[mask, "ns"].to_numpy(np.float64)
        ns = ns[ns > 0]
        if len(ns):
            found[point_key(row)] = tuple((np.quantile(ns, QUANTILES) / 1e6).tolist())
    return found


def latency_figure(rows: Sequence[Row], found: Mapping[str, Spread]) -> Figure | None:
    """Boxes from the first to the third quartile with the median; whiskers from the 1st to the 99th percentile.

    Args:
        rows: points of one panel, as `few_points` gives them. found: as `spreads` gives it.
    """
    rows = [row for row in rows if point_key(row) in found]
    if not rows:
        return None
    looks = styles(rows)
    with literal():
        figure = Figure(figsize=(9.2, 1.1 + LINE * len(rows)), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.subplots()
        axis.set_xscale("log")
        plain_axes(axis)
        axis.grid(False, axis="y")
        for place, row in enumerate(rows):
            _box(axis, place, row, found[point_key(row)], looks[label(row)])
        axis.set_yticks(range(len(rows)), [_name(row) for row in rows], fontsize=8)
        axis.set_ylim(len(rows) - 0.4, -0.6)
        floors = [value for row in rows if (value := number(row, "latency_floor_ms")) > 0]
        ends = [ms for row in rows for ms in found[point_key(row)]] + floors
        axis.set_xlim(min(ends) / 1.3, max(ends) * 1.3)
        log_ticks(axis.xaxis, min(ends), max(ends))
        axis.set_xlabel("latency of one query, ms", fontsize=9)
        if floors:
            axis.axvline(max(floors), color="0.45", linestyle="--", linewidth=1)
            axis.annotate(
                f"floor {max(floors):.2g}", (max(floors), -0.55), xytext=(3, 0), textcoords="offset points", fontsize=7,
                color="0.35", va="bottom",
            )  # fmt: skip
    return figure


def _name(row: Row) -> str:
    return " ".join(part for part in (label(row), effort_label(row)) if part)


def _box(axis: Axes, place: int, row: Row, spread: Spread, look: Style) -> None:
    first, low, middle, high, last = spread
    axis.plot([first, last], [place, place], color=look.colour, linewidth=0.9, zorder=2)
    axis.barh(place, high - low, left=low, height=0.55, color=look.colour, alpha=0.35, zorder=3)
    quartiles, ends = (f"{text.milliseconds(a)} and {text.milliseconds(b)}" for a, b in ((low, high), (first, last)))
    told = [_name(row), f"median {text.milliseconds(middle)} ms", f"quartiles {quartiles}", f"1 % and 99 % {ends}"]
    axis.plot(
        [middle], [place], marker="|", markersize=11, markeredgewidth=2, color=look.colour, linestyle="none", zorder=4,
        gid=tip(point_key(row), "\n".join(told)),
    )  # fmt: skip
