"""The Pareto figure: what an index finds against what a query costs."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox

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
)

# Okabe and Ito's colours, told apart by colour-blind readers too; yellow is left out: too pale on white.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
FAMILIES = {
    "exact": ("exact", "flat"),
    "graph": ("hnsw", "nsw", "cagra", "diskann", "vamana", "usearch", "voyager"),
    "inverted list": ("ivf",),
    "hashing": ("lsh", "minhash", "simhash"),
    "tree": ("annoy", "kd", "ball"),
    "server": ("milvus",),
}
OTHER = "other"
MARKERS = "osD^vP*X"
ON_FRONT = "front"
# Where a label may stand beside its point, best first: offset in points, and the corner of the text that is put there.
PLACES = (
    ((-4, 3), "right", "bottom"),
    ((5, -3), "left", "top"),
    ((4, 3), "left", "bottom"),
    ((-5, -3), "right", "top"),
    ((0, 6), "center", "bottom"),
    ((0, -6), "center", "top"),
)
COSTS = {
    "latency_p50_ms": "p50 latency of one query, ms",
    "latency_p95_ms": "p95 latency of one query, ms",
    "latency_p99_ms": "p99 latency of one query, ms",
    "latency_mean_ms": "mean latency of one query, ms",
    "index_bytes": "index size, bytes",
    "build_s": "build time, s",
}


def family(index: str) -> str:
    """The family that an index's name tells.

    >>> family("hnsw_m32"), family("ivf"), family("mine")
    ('graph', 'inverted list', 'other')
    """
    for name, words in FAMILIES.items():
        if any(word in index.lower() for word in words):
            return name
    return OTHER


def pareto_front(rows: Sequence[Row], metric: str, cost: str) -> list[Row]:
    """Rows that no other row beats in both metric (more is better) and cost (less is better), by rising cost."""
    finite = [row for row in rows if isfinite(number(row, metric)) and isfinite(number(row, cost))]
    front: list[Row] = []
    for row in sorted(finite, key=lambda row: (number(row, cost), -number(row, metric))):
        if not front or number(row, metric) > number(front[-1], metric):
            front.append(row)
    return front


def pareto_figure(points: pd.DataFrame, metric: str = "ann_recall", cost: str = "latency_p50_ms") -> Figure:
    """One panel a stage and depth: a quality metric against a cost on a logarithmic axis.

    Points carry their 95 % intervals and their effort; a colour is a family, a marker an index. The grey line is the
    Pareto front, the dashed one the floor. Failed points are not drawn but named below the panel.

    Args:
        points: as in `points.parquet`.
        metric: column on the linear axis, more is better.
        cost: column on the logarithmic axis, less is better.

    Raises:
        ValueError: a column is missing; names the numeric ones that exist.
    """
    rows = operating_points(points) if len(points) else []
    numeric = [str(column) for column in points.select_dtypes("number").columns]
    for column in (metric, cost):
        if column not in numeric and not all(failed(row) for row in rows):
            raise ValueError(f"points have no numeric column {column!r}; choose among: {', '.join(numeric)}")
    groups = panels(rows)
    columns = min(2, max(1, len(groups)))
    lines = max(1, -(-len(groups) // columns))
    figure = Figure(figsize=(6.4 * columns, 4.4 * lines), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axis, group in zip(axes, groups, strict=False):
        _panel(axis, group, metric, cost)
    for axis in axes[len(groups) :]:
        axis.set_axis_off()
    if rows:
        row = rows[0]
        figure.suptitle(
            f"{row['data']} · {row['encoder']} · {row['similarity']} · {number(row, 'n_gallery'):,.0f} vectors",
            fontsize=11,
        )
    figure.draw_without_rendering()  # fixes where the axes are
    for axis in axes[: len(groups)]:
        _place_labels(figure, axis)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as what the suffix says (.png, .svg, .pdf); under a temporary name first, then renamed."""
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    figure.savefig(part)
    part.replace(path)
    return path


def _panel(axis: Axes, group: Sequence[Row], metric: str, cost: str) -> None:
    axis.set_xscale("log")
    axis.grid(True, which="major", color="0.92", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(panel_name(group), fontsize=10)
    axis.set_xlabel(COSTS.get(cost, cost))
    axis.set_ylabel(f"{metric}@{depth(group)}" if metric in {"ann_recall", "distance_ratio"} else metric)
    axis.tick_params(labelleft=True, labelbottom=True)
    axis.margins(0.06, 0.08)
    drawn = [row for row in group if not failed(row) and isfinite(number(row, metric)) and number(row, cost) > 0]
    _fit(axis, drawn, cost)
    front = pareto_front(drawn, metric, cost)
    axis.plot(
        [number(row, cost) for row in front], [number(row, metric) for row in front],
        color="0.8", linewidth=5, solid_capstyle="round", zorder=1, label="Pareto front",
    )  # fmt: skip
    for i, index in enumerate(distinct(group, "label")):
        rows = [row for row in drawn if row["label"] == index]
        _curve(axis, rows, front, (metric, cost), MARKERS[i % len(MARKERS)])
    _floor(axis, drawn, cost)
    _missing(axis, group)
    _ticks(axis)
    if drawn:
        axis.legend(fontsize=8, frameon=False, loc="lower right")


def _curve(axis: Axes, rows: Sequence[Row], front: Sequence[Row], columns: tuple[str, str], marker: str) -> None:
    if not rows:
        return
    metric, cost = columns
    rows = sorted(rows, key=lambda row: number(row, "effort"))
    name = str(rows[0]["index"])
    kind = family(name)
    legend = _legend(label(rows[0]), kind)
    colour = COLOURS[[*FAMILIES, OTHER].index(kind)]
    x, y = [number(row, cost) for row in rows], [number(row, metric) for row in rows]
    axis.errorbar(
        x, y, xerr=_bars(rows, cost), yerr=_bars(rows, metric), color=colour, marker=marker, markersize=5,
        linewidth=1.2, elinewidth=0.9, capsize=2, zorder=3, label=legend,
    )  # fmt: skip
    best = {id(row) for row in front}
    for row, a, b in zip(rows, x, y, strict=True):
        text = axis.annotate(
            effort_label(row) or name,
            (a, b),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=7,
            color=colour,
            zorder=4,
        )
        text.set_gid(ON_FRONT if id(row) in best else None)


def _legend(name: str, kind: str) -> str:
    """Index, family and distinguishing build parameters: `hnsw (graph, m=32)`."""
    index, bracket, params = name.partition(" (")
    if kind in {index, OTHER}:
        return name
    return f"{index} ({kind}, {params}" if bracket else f"{name} ({kind})"


def _place_labels(figure: Figure, axis: Axes) -> None:
    """Put each effort where it hides no point and no other label, those on the front first; else leave it out."""
    texts = [text for text in axis.texts if isinstance(text, Annotation)]
    marks = [axis.transData.transform(text.xy) for text in texts]
    reach = 3.2 * figure.dpi / 72
    taken = [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in marks]
    for text in sorted(texts, key=lambda text: text.get_gid() != ON_FRONT):
        left, right, *others = PLACES
        for offset, side, edge in (left, right, *others) if text.get_gid() == ON_FRONT else (right, left, *others):
            text.set(position=offset, horizontalalignment=side, verticalalignment=edge)
            box = text.get_window_extent()
            if axis.bbox.x0 <= box.x0 and box.x1 <= axis.bbox.x1 and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
        else:
            text.set_visible(False)


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
    floors = [number(row, "latency_floor_ms") for row in rows if cost.startswith("latency")]
    ends = [end for end in (*floors, *(end for row in rows for end in interval(row, cost))) if end > 0]
    if ends:
        axis.set_xlim(min(ends) / 1.3, max(ends) * 1.3)


def _floor(axis: Axes, rows: Sequence[Row], cost: str) -> None:
    floors = [value for row in rows if isfinite(value := number(row, "latency_floor_ms"))]
    if cost.startswith("latency") and floors:
        axis.axvline(
            max(floors), color="0.45", linestyle="--", linewidth=1, zorder=2, label=f"floor, {max(floors):.2g} ms"
        )


def _missing(axis: Axes, group: Sequence[Row]) -> None:
    names = distinct([row for row in group if failed(row)], "label")
    if names:
        axis.set_title(f"failed: {', '.join(names)}", loc="right", fontsize=8, color="#D55E00")


def _ticks(axis: Axes) -> None:
    axis.xaxis.set_major_locator(LogLocator(base=10))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
