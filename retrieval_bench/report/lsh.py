"""LSH theory beside practice: how often pairs of like similarity become candidates, predicted and measured."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from retrieval_bench.naming import index_labels
from retrieval_bench.report.drawing import literal, plain_axes

SHOWN = 5  # efforts of an index: more would hide one another
COLUMNS = 2
DARKEST, PALEST = 0.05, 0.82  # of viridis: efforts rise from dark to pale


def collision_figure(curves: pd.DataFrame) -> Figure:
    """One panel a stage and index: lines are predicted probabilities of being a candidate, points are measured shares.

    Points carry their 95 % interval. The similarity is the family's own: cosine, Jaccard of token sets, distance.

    Args:
        curves: as `collisions.collision_curves` gives them; not empty.
    """
    panels = list(curves.groupby(["stage", "index", "index_params"], sort=False))
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    with literal():
        figure = Figure(figsize=(5.2 * columns, 3.5 * lines), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(lines, columns, squeeze=False, sharey=True).flatten()
        labels = index_labels([(str(index), str(params)) for (_, index, params), _ in panels])
        for axis, ((stage, index, params), group) in zip(axes, panels, strict=False):
            _panel(axis, group, f"{labels[str(index), str(params)]} · {stage}")
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
    return figure


def _panel(axis: Axes, group: pd.DataFrame, title: str) -> None:
    plain_axes(axis)
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("similarity in the family's own terms", fontsize=9)
    axis.set_ylabel("share of pairs that are candidates", fontsize=9)
    knob = _knob(group)
    known = _spread(sorted(group["effort"].dropna().unique()))
    parts = [(f"{knob} {effort:g}", group[group["effort"] == effort]) for effort in known] or [(knob, group)]
    handles = []
    for i, (name, part) in enumerate(parts):
        colour = mpl.colormaps["viridis"](DARKEST + (PALEST - DARKEST) * i / max(1, len(parts) - 1))
        rows = part.sort_values("similarity")
        axis.plot(rows["similarity"], rows["predicted"], color=colour, linewidth=1.3, label=name)
        bars = [rows["measured"] - rows["measured_lo"], rows["measured_hi"] - rows["measured"]]
        axis.errorbar(
            rows["similarity"], rows["measured"], yerr=[bar.clip(lower=0) for bar in bars],
            fmt="o", markersize=3.5, elinewidth=0.8, color=colour,
        )  # fmt: skip
        handles.append(Line2D([], [], color=colour, linewidth=1.3, marker="o", markersize=3.5))
    axis.set_ylim(-0.03, 1.03)
    names = [name for name, _ in parts]
    box = axis.legend(
        handles[::-1], names[::-1], fontsize=7.5, frameon=False, title="line: predicted, points: measured"
    )
    box.get_title().set(fontsize=7, color="0.35")


def _knob(group: pd.DataFrame) -> str:
    knob = group["knob"].iloc[0] if "knob" in group.columns else None
    return str(knob) if isinstance(knob, str) else "effort"


def _spread(efforts: Sequence[Any]) -> list[float]:
    """At most SHOWN of the efforts, from the smallest to the largest."""
    known = [float(effort) for effort in efforts if isfinite(effort)]
    if len(known) <= SHOWN:
        return known
    return [known[round(i * (len(known) - 1) / (SHOWN - 1))] for i in range(SHOWN)]
