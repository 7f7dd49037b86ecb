"""The training curve: loss and validation against epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from retrieval_bench.report.drawing import literal, plain_axes
from retrieval_bench.report.families import MARKERS
from retrieval_bench.report.rows import Row, interval, number
from retrieval_bench.report.training import VALIDATED, trained_history, validated

LOSS_COLOUR = "0.25"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito's, as elsewhere
MANY = 20  # epochs from which points have no markers


def training_figure(training: Mapping[str, Any], loss: str | None = None) -> Figure | None:
    """The mean loss of each epoch, and beside it what validation found, with 95 % intervals as bands.

    Epoch 0 is before any step: it has no loss. A dashed line marks the epoch whose weights are kept.

    Args:
        training: what a stage's record has: `history` and `best`.
        loss: its name.

    Returns:
        None where there are no two epochs to draw a line between.
    """
    history = trained_history(training)
    metrics = validated(training)
    losses = [row for row in history if isfinite(number(row, "loss"))]
    if len(history) < 2 or not losses:
        return None
    columns = 2 if metrics else 1
    with literal():
        figure = Figure(figsize=(9.2 if columns == 1 else 6.2 * columns + 1.8, 4.2), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, columns, squeeze=False).flatten()
        _frame(axes[0], history, "loss", f"mean loss of an epoch ({loss})" if loss else "mean loss of an epoch")
        _line(axes[0], losses, "loss", (LOSS_COLOUR, MARKERS[0]))
        if metrics:
            _frame(axes[1], history, "validation", "validation metric, exact search")
            for i, name in enumerate(metrics):
                _line(axes[1], history, name, (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]))
        _kept(figure, number(training, "best"))
    return figure


def _kept(figure: Figure, epoch: float) -> None:
    """A line at the epoch that is kept, and the legend."""
    for axis in figure.axes:
        axis.axvline(epoch, color="0.45", linestyle="--", linewidth=1, zorder=2, label="epoch that is kept")
    handles, names = figure.axes[-1].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside right upper", fontsize=8, frameon=False, handlelength=2.2, labelspacing=0.35
    )


def _frame(axis: Axes, history: Sequence[Row], title: str, ylabel: str) -> None:
    plain_axes(axis)
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("epoch", fontsize=9)
    axis.set_ylabel(ylabel, fontsize=9)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    epochs = [number(row, "epoch") for row in history]
    slack = max(0.3, 0.03 * (max(epochs) - min(epochs)))
    axis.set_xlim(min(epochs) - slack, max(epochs) + slack)  # both panels alike, whatever each has values for
    axis.margins(y=0.08)


def _line(axis: Axes, rows: Sequence[Row], column: str, style: tuple[str, str]) -> None:
    """A metric with its band; an epoch without it leaves a gap in neither."""
    known = [row for row in rows if isfinite(number(row, column))]
    colour, marker = style
    x = [number(row, "epoch") for row in known]
    axis.plot(
        x, [number(row, column) for row in known], color=colour, marker=None if len(known) > MANY else marker,
        markersize=4.5, linewidth=1.3, zorder=3, label=column.removeprefix(VALIDATED),
    )  # fmt: skip
    ends = [interval(row, column) for row in known]
    if any(isfinite(low) and isfinite(high) for _, low, high in ends):
        axis.fill_between(
            x, [low for _, low, _ in ends], [high for _, _, high in ends], color=colour, alpha=0.14, linewidth=0
        )
