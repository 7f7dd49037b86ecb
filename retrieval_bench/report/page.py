"""One self-contained HTML page from finished runs: it opens offline and needs no script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from matplotlib.figure import Figure

from retrieval_bench.collisions import collision_curves
from retrieval_bench.naming import flat, is_moment, training_parts
from retrieval_bench.record import RunRecord, written_whole
from retrieval_bench.report import text
from retrieval_bench.report.cells import chosen, encoder_part, panel
from retrieval_bench.report.curve import training_figure
from retrieval_bench.report.drawing import svg
from retrieval_bench.report.families import functional
from retrieval_bench.report.figure import pareto_figure
from retrieval_bench.report.lsh import collision_figure
from retrieval_bench.report.moments import asked
from retrieval_bench.report.overview import heading, trained_tables
from retrieval_bench.report.remarks import run_facts
from retrieval_bench.report.rows import (
    FLOOR_INDEX,
    Row,
    depth,
    distinct,
    failed,
    label,
    metric_names,
    number,
    operating_points,
    panels,
)
from retrieval_bench.report.sizes import size_figure
from retrieval_bench.report.table import RunFacts, errors, times
from retrieval_bench.report.training import validated
from retrieval_bench.runs import found_runs

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
PARETO_MEANING = (
    "Up and left is better. Bars: 95 % intervals. The grey band joins the operating points that no other beats in both."
)


@dataclass(frozen=True)
class Drawn:
    """A figure on the page."""

    title: str
    meaning: str
    svg: Markup


def report_runs(folders: Sequence[Path], out: Path | None = None) -> tuple[Path, list[str]]:
    """Write the page of all finished runs in or below these folders.

    Args:
        out: the page; none = `report.html`, in the run's folder where there is but one, else here.

    Returns:
        The page, and why runs were skipped.

    Raises:
        BadConfig: there is no finished run.
    """
    records, skipped = found_runs(folders)
    alone = records[0].folder if len(records) == 1 else Path()
    return write_page(records, out or alone / "report.html"), skipped


def write_page(records: Sequence[RunRecord], path: Path) -> Path:
    """Write the page of these runs, whole or not at all.

    Args:
        records: finished runs, each a section of its own: unlike protocols never share a table.
    """
    with written_whole(path) as file:
        file.write(page(records))
    return path


def page(records: Sequence[RunRecord]) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=PackageLoader("retrieval_bench.report", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    runs = [_section(record, f"run{i}") for i, record in enumerate(records, start=1)]
    tables = trained_tables([(record, run["anchor"]) for record, run in zip(records, runs, strict=True)])
    return environment.get_template("page.html").render(runs=runs, trained=tables)


def _section(record: RunRecord, anchor: str) -> dict[str, Any]:
    points = record.points
    rows = operating_points(points) if len(points) else []
    metrics = [name for name in metric_names(points) if any(isfinite(number(row, f"exact_{name}")) for row in rows)]
    facts = run_facts(record)
    report = operating_points(points, "report") if rows else []
    if all(failed(row) for row in report):  # too few queries for halves
        report = rows
    choices = [
        table
        for stage in distinct(rows, "stage")
        for table in chosen(record.stages.get(stage, {}).get("choices", []), report, stage)
    ]
    return {
        "anchor": anchor,
        "run_id": record.run_id,
        "name": record.name,
        "heading": heading(record, rows),
        "encoder": encoder_part(rows, [name for name in metrics if not is_moment(name)]),
        "windows": "of windows " if asked(rows) else "",
        "classes": facts.classes,
        "trainings": _trainings(record, anchor),
        "panels": _panels(points, rows, metrics, anchor),
        "choices": choices,
        "figures": _figures(record.folder, anchor),
        "notes": [*times([row for row in rows if not failed(row)]), *_notes(facts)],
        "errors": [(index, ", ".join(stages), error) for (index, error), stages in errors(rows).items()],
        "builds": sorted({(label(row), _params(row)) for row in rows}),
        "facts": _facts(record),
        "command": _command(record),
    }


def _place(group: Sequence[Row]) -> tuple[Any, int | None]:
    return group[0]["stage"], depth(group)


def _panels(points: pd.DataFrame, rows: Sequence[Row], metrics: Sequence[str], anchor: str) -> list[dict[str, Any]]:
    """A table and a figure for each stage and depth."""
    tune, report = (
        {_place(group): group for group in panels(operating_points(points, half))} if rows else {}
        for half in ("tune", "report")
    )
    found = []
    for i, group in enumerate(panels(rows)):
        stage, k = _place(group)
        part = points[points["stage"] == stage]
        if k is not None:
            part = part[part["k"].isna() | (part["k"] == k)]
        drawable = [row for row in group if isfinite(number(row, "ann_recall")) and number(row, "latency_p50_ms") > 0]
        figure = _svg(pareto_figure(part, titled=False), f"{anchor}-pareto{i}") if drawable else None
        told = panel(group, metrics, (tune.get((stage, k), group), report.get((stage, k), group)))
        found.append(told | {"figure": figure, "meaning": PARETO_MEANING + _aside(drawable)})
    return found


def _aside(rows: Sequence[Row]) -> str:
    names = distinct([row for row in rows if functional(row)], "label")
    return f" Not on it, whatever their numbers: {', '.join(names)} (empty markers)." if names else ""


def _trainings(record: RunRecord, anchor: str) -> list[Drawn]:
    """The curve of each stage that was trained."""
    found = []
    for stage, facts in record.stages.items():
        training = facts.get("training") or {}
        figure = training_figure(training, training_parts(record.config, stage)["loss"])
        if figure is not None:
            meaning = VALIDATION_MEANING if validated(training) else NO_VALIDATION
            found.append(Drawn("Training", meaning, _svg(figure, f"{anchor}-training-{stage}")))
    return found


def _figures(folder: Path, anchor: str) -> list[Drawn]:
    """Figures from tables that lie beside the record; a run without them has fewer."""
    found = []
    sizes = _table(folder / "break_even.parquet", {"half", "stage", "index", "n_gallery", "latency_p50_ms"})
    if sizes is not None and (figure := size_figure(sizes)) is not None:
        found.append(Drawn("From which gallery size an index pays", SIZES_MEANING, _svg(figure, f"{anchor}-sizes")))
    pairs = _table(folder / "collisions.parquet", {"stage", "index", "index_params", "effort", "predicted"})
    if pairs is not None:
        drawn = _svg(collision_figure(collision_curves(pairs)), f"{anchor}-lsh")
        found.append(Drawn("LSH: theory beside practice", LSH_MEANING, drawn))
    return found


def _table(file: Path, columns: set[str]) -> pd.DataFrame | None:
    """A table with rows and these columns; none where there is no such table, or an older version wrote it."""
    if not file.exists():
        return None
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError):  # cut off: the record stands without it
        return None
    return table if len(table) and columns <= set(table.columns) else None


def _svg(figure: Figure, salt: str) -> Markup:
    return Markup(svg(figure, salt))  # drawn by us, and its texts escaped by matplotlib


def _notes(facts: RunFacts) -> list[str]:
    notes = list(facts.remarks)
    if facts.nothing_relevant:
        notes.append(
            f"{facts.nothing_relevant:,} {facts.queries[1]} have nothing relevant: counted, left out of the means."
        )
    if facts.unreadable:
        notes.append(f"{facts.unreadable:,} items could not be read and are left out; unreadable.csv names them.")
    return notes


def _params(row: Row) -> str:
    """Build parameters as one types them."""
    try:
        params = json.loads(str(row.get("index_params", "{}")))
    except ValueError:
        return str(row.get("index_params"))
    return ", ".join(f"{key}={_plain(value)}" for key, value in flat(params).items()) or text.BLANK


def _facts(record: RunRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    """Protocol, machine and versions as tables."""
    told = {"Protocol": record.protocol, "Environment": record.environment, "Seeds": record.seeds}
    return [(name, [(str(key), _plain(value)) for key, value in values.items()]) for name, values in told.items()]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " · ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _command(record: RunRecord) -> str:
    """What measures again, from the same embeddings. Paths of a machine stay out of the page."""
    searched = distinct((row for row in record.rows if row.get("index") != FLOOR_INDEX), "index")
    folder = record.folder
    run = Path("runs", folder.parent.name, folder.name) if folder.is_absolute() else folder
    which = f" 'search=[{','.join(map(str, searched))}]'" if searched else ""
    return f"retrieval-bench run from={run.as_posix()}{which} force=true"
