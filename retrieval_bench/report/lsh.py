"""LSH theory beside practice: how often pairs of like similarity become candidates, predicted and measured."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from retrieval_bench.naming import index_labels

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SHOWN = 5  # efforts of an index: more would hide one another
COLUMNS = 3


def collision_figure(curves: pd.DataFrame) -> Figure:
    """One panel a stage and index: lines are predicted probabilities of being a candidate, points are measured shares.

    Points carry their 95 % interval. The similarity is the family's own: cosine, Jaccard of token sets, distance.

    Args:
        curves: as `collisions.collision_curves` gives them; not empty.
    """
    panels = list(curves.groupby(["stage", "index", "index_params"], sort=False))
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.6 * lines), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False, sharey=True).flatten()
    labels = index_labels([(str(index), str(params)) for (_, index, params), _ in panels])
    for axis, ((stage, index, params), group) in zip(axes, panels, strict=False):
        _panel(axis, group, f"{labels[str(index), str(params)]} · {stage}")
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    return figure


def _panel(axis: Axes, group: pd.DataFrame, title: str) -> None:
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("similarity in the family's own terms")
    axis.set_ylabel("share of pairs that are candidates")
    axis.grid(True, color="0.92", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelleft=True)
    knob = _knob(group)
    known = _spread(sorted(group["effort"].dropna().unique()))
    parts = [(f"{knob} {effort:g}", group[group["effort"] == effort]) for effort in known] or [(knob, group)]
    for colour, (name, part) in zip(COLOURS, parts, strict=False):
        rows = part.sort_values("similarity")
        axis.plot(rows["similarity"], rows["predicted"], color=colour, linewidth=1.2, label=name)
        bars = [rows["measured"] - rows["measured_lo"], rows["measured_hi"] - rows["measured"]]
        axis.errorbar(
            rows["similarity"], rows["measured"], yerr=[bar.clip(lower=0) for bar in bars],
            fmt="o", markersize=3, elinewidth=0.8, color=colour,
        )  # fmt: skip
    axis.set_ylim(-0.03, 1.03)
    axis.legend(fontsize=7, frameon=False, title="line: predicted, points: measured", title_fontsize=7)


def _knob(group: pd.DataFrame) -> str:
    knob = group["knob"].iloc[0] if "knob" in group.columns else None
    return str(knob) if isinstance(knob, str) else "effort"


def _spread(efforts: Sequence[Any]) -> list[float]:
    """At most SHOWN of the efforts, from the smallest to the largest."""
    known = [float(effort) for effort in efforts if isfinite(effort)]
    if len(known) <= SHOWN:
        return known
    return [known[round(i * (len(known) - 1) / (SHOWN - 1))] for i in range(SHOWN)]
