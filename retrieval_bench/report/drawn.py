"""The figures of a run's page that stand beside its tables, each with what it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from retrieval_bench.collisions import collision_curves
from retrieval_bench.naming import training_parts
from retrieval_bench.record import RunRecord
from retrieval_bench.report.curve import training_figure
from retrieval_bench.report.decomposition import decomposition_figure
from retrieval_bench.report.drawing import svg
from retrieval_bench.report.figure import pareto_figure
from retrieval_bench.report.latency import few_points, latency_figure, spreads
from retrieval_bench.report.lsh import collision_figure
from retrieval_bench.report.rows import Row
from retrieval_bench.report.sizes import size_figure
from retrieval_bench.report.training import validated

LSH_MEANING = (
    "Lines: the probability, over random hash functions, that a pair becomes a candidate. Points: the share of sampled"
    " pairs that did, with 95 % intervals, under this one draw. Similarity is the family's own: cosine for SimHash and"
    " cross-polytope, distance for E2LSH, Jaccard of the token sets for MinHash."
)
SIZES_MEANING = (
    "The same measurement over seeded samples of the gallery; every index at the cheapest effort that meets the target"
    " at that size. A ring: from here on the index is faster than exact search. Bands: 95 % intervals."
)
VALIDATION_MEANING = (
    "Epoch 0 is before training. Validation searches items of classes neither trained on nor tested, each among"
    " the others; the weights of the epoch with the best map_at_r are kept. Bands: 95 % intervals over queries."
)
NO_VALIDATION = "Nothing was validated: the weights of the last epoch are kept."
DECOMPOSITION_MEANING = (
    "Coloured: what is left through the index, with its 95 % interval. Hatched: what the index loses. Grey: what the"
    " encoder misses, whatever the index."
)
LATENCY_MEANING = (
    "All timed single queries of all passes: boxes from the first to the third quartile with the median, lines from"
    " the 1st to the 99th percentile. Dashed: the floor, the same loop over an index that does nothing."
)
COSTS = {"index_bytes": "against the size of the index", "build_s": "against the time to build"}


@dataclass(frozen=True)
class Drawn:
    """A figure on the page."""

    title: str
    meaning: str
    svg: Markup


def trainings(record: RunRecord, anchor: str) -> list[Drawn]:
    """The curve of each stage that was trained."""
    found = []
    for stage, facts in record.stages.items():
        training = facts.get("training") or {}
        figure = training_figure(training, training_parts(record.config, stage)["loss"])
        if figure is not None:
            meaning = VALIDATION_MEANING if validated(training) else NO_VALIDATION
            found.append(Drawn("Training", meaning, drawn_svg(figure, f"{anchor}-training-{stage}")))
    return found


def figures(folder: Path, anchor: str) -> list[Drawn]:
    """Figures from tables that lie beside the record; a run without them has fewer."""
    found = []
    sizes = table_beside(folder / "break_even.parquet", {"half", "stage", "index", "n_gallery", "latency_p50_ms"})
    if sizes is not None and (figure := size_figure(sizes)) is not None:
        found.append(
            Drawn("From which gallery size an index pays", SIZES_MEANING, drawn_svg(figure, f"{anchor}-sizes"))
        )
    pairs = table_beside(folder / "collisions.parquet", {"stage", "index", "index_params", "effort", "predicted"})
    if pairs is not None:
        drawn = drawn_svg(collision_figure(collision_curves(pairs)), f"{anchor}-lsh")
        found.append(Drawn("LSH: theory beside practice", LSH_MEANING, drawn))
    return found


def table_beside(file: Path, needed: set[str], columns: list[str] | None = None) -> pd.DataFrame | None:
    """A table with rows and these columns; none where there is no such table, or an older version wrote it."""
    if not file.exists():
        return None
    try:
        table = pd.read_parquet(file, columns=columns)
    except (OSError, ValueError):  # cut off: the record stands without it
        return None
    return table if len(table) and needed <= set(table.columns) else None


def drawn_svg(figure: Figure, salt: str) -> Markup:
    """A figure as an element of the page; `salt` keeps its ids apart from those of others."""
    return Markup(svg(figure, salt))  # drawn by us, and its texts escaped by matplotlib


def pareto_views(points: pd.DataFrame, metric: str | None, salt: str) -> list[Drawn]:
    """Further Pareto fronts of a panel: the label metric against latency, ann_recall against bytes and build time."""
    views = [] if metric is None else [(metric, "latency_p50_ms", f"{metric} against latency")]
    views += [("ann_recall", cost, f"ann_recall {title}") for cost, title in COSTS.items()]
    found = []
    for quality, cost, title in views:
        known = points[(points["index"] != "null") & (points.get("status") != "failed")]
        if {quality, cost} <= set(known.columns) and (known[cost].gt(0) & known[quality].notna()).any():
            figure = pareto_figure(points, quality, cost, titled=False)
            found.append(Drawn(title, "", drawn_svg(figure, f"{salt}-{cost}")))
    return found


def panel_figures(group: Sequence[Row], metric: str | None, times: pd.DataFrame | None, salt: str) -> list[Drawn]:
    """Of one stage and depth: where quality is lost, and how latencies are spread."""
    rows, found = few_points(group), []
    lost = None if metric is None else decomposition_figure(rows, metric)
    if lost is not None:
        found.append(Drawn("Where quality is lost", DECOMPOSITION_MEANING, drawn_svg(lost, f"{salt}-lost")))
    spread = None if times is None else latency_figure(rows, spreads(times, rows))
    if spread is not None:
        found.append(Drawn("Latency of single queries", LATENCY_MEANING, drawn_svg(spread, f"{salt}-latency")))
    return found


def query_times(folder: Path) -> pd.DataFrame | None:
    """Times of the timed queries of a run, as in `queries.parquet`; none where there are none."""
    columns = ["stage", "index", "index_params", "effort", "k", "pass", "ns"]
    return table_beside(folder / "queries.parquet", set(columns), columns)
