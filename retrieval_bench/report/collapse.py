"""Signs of collapse: the spectrum of the embeddings, and hubs among the neighbours, a line a stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from retrieval_bench.report import text
from retrieval_bench.report.drawing import literal, log_ticks, plain_axes

HEADS = ("dimensions", "effective rank", "first axis %", "mean cosine", "hubness", "in no list %", "largest hub")


@dataclass(frozen=True)
class CollapseTable:
    """Lines: (stage, a cell for each of `HEADS`). k: depth of the lists in which items are counted."""

    lines: list[tuple[str, list[str]]]
    k: int


def collapse_table(stages: Mapping[str, Mapping[str, Any]]) -> CollapseTable | None:
    """Of the record's stages; none where an older version wrote it.

    >>> collapse_table({"random": {}}) is None
    True
    """
    known = {stage: facts for stage, facts in stages.items() if facts.get("collapse")}
    if not known:
        return None
    lines = []
    for stage, facts in known.items():
        found = facts["collapse"]
        hubs, shares = found["hubness"], found["spectrum"]["share"]
        cells = [
            text.count(facts["dim"]),
            f"{found['effective_rank']:.3g}",
            f"{100 * shares[0]:.3g}" if shares else text.BLANK,
            text.BLANK if found["mean_cosine"] is None else text.quality(found["mean_cosine"]),
            f"{hubs['skewness']:.3g}",
            f"{100 * hubs['never']:.3g}",
            text.count(max(hubs["occurrence"], default=0)),
        ]
        lines.append((stage, cells))
    return CollapseTable(lines, next(iter(known.values()))["collapse"]["hubness"]["k"])


def collapse_figure(stages: Mapping[str, Mapping[str, Any]]) -> Figure | None:
    """Left the share of the variance along each principal axis, right in how many lists each gallery item stands.

    Both fall from the largest and are logarithmic. None where nothing is known.
    """
    known = {stage: facts["collapse"] for stage, facts in stages.items() if facts.get("collapse")}
    if not known:
        return None
    with literal():
        figure = Figure(figsize=(9.2, 3.3), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        for i, (stage, found) in enumerate(known.items()):
            colour = mpl.colormaps["viridis"](0.1 + 0.7 * i / max(1, len(known) - 1))
            _curve(left, found["spectrum"]["axis"], found["spectrum"]["share"], (stage, colour))
            _curve(right, found["hubness"]["item"], found["hubness"]["occurrence"], (stage, colour))
        k = next(iter(known.values()))["hubness"]["k"]
        _named(left, "Spectrum", "principal axis", "share of the variance")
        _named(right, "Hubs", "gallery item, the most frequent first", f"lists (k = {k}) that hold it")
        for axis, lists in ((left, [f["spectrum"]["axis"] for f in known.values()]),
                            (right, [f["hubness"]["item"] for f in known.values()])):  # fmt: skip
            log_ticks(axis.xaxis, 1, max((max(values, default=1) for values in lists), default=1))
        occurrences = [n for f in known.values() for n in f["hubness"]["occurrence"] if n > 0]
        log_ticks(right.yaxis, min(occurrences, default=1), max(occurrences, default=1))
        if len(known) > 1:
            left.legend(fontsize=8, frameon=False)
    return figure


def _curve(axis: Axes, x: list[float], y: list[float], look: tuple[str, Any]) -> None:
    """What is 0 has no place on a logarithmic axis: the line ends before it."""
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if b and b > 0]
    if pairs:
        axis.plot([a for a, _ in pairs], [b for _, b in pairs], color=look[1], linewidth=1.5, label=look[0])
        axis.set_xscale("log")
        axis.set_yscale("log")


def _named(axis: Axes, title: str, x: str, y: str) -> None:
    plain_axes(axis)
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
