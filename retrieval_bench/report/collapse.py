"""Signs of collapse: the spectrum of the embeddings, and hubs among the neighbours, a line a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    spectra = {
        stage: _positive(found["spectrum"]["axis"], found["spectrum"]["share"]) for stage, found in known.items()
    }
    hubs = {
        stage: _positive(found["hubness"]["item"], found["hubness"]["occurrence"]) for stage, found in known.items()
    }
    if not any(spectra.values()) and not any(hubs.values()):  # one vector, or all are equal
        return None
    with literal():
        figure = Figure(figsize=(9.2, 3.3), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        k = next(iter(known.values()))["hubness"]["k"]
        _panel(left, "Spectrum", ("principal axis", "share of the variance"), spectra)
        names = "gallery item, the most frequent first", f"lists (k = {k}) that hold it"
        _panel(right, "Hubs", names, hubs)
        if len(known) > 1 and any(spectra.values()):
            left.legend(fontsize=8, frameon=False)
    return figure


def _positive(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    """What is 0 has no place on a logarithmic axis: the line ends before it."""
    return [(a, b) for a, b in zip(x, y, strict=True) if b and b > 0]


def _panel(axis: Axes, title: str, names: tuple[str, str], curves: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    plain_axes(axis)
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(names[0], fontsize=9)
    axis.set_ylabel(names[1], fontsize=9)
    for i, (stage, pairs) in enumerate(curves.items()):
        colour = mpl.colormaps["viridis"](0.1 + 0.7 * i / max(1, len(curves) - 1))
        if pairs:
            axis.loglog([a for a, _ in pairs], [b for _, b in pairs], color=colour, linewidth=1.5, label=stage)
    for line, at in ((axis.xaxis, 0), (axis.yaxis, 1)):
        values = [pair[at] for pairs in curves.values() for pair in pairs]
        if values:
            axis.margins(0.05)
            log_ticks(line, min(values), max(values))
