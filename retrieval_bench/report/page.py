"""One self-contained HTML page from finished runs: it opens offline, and all of it can be read without its script."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from enum import IntEnum
from functools import partial
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from retrieval_bench.errors import BadConfig
from retrieval_bench.moment_points import HEADLINE
from retrieval_bench.naming import is_moment
from retrieval_bench.record import RunRecord, written_whole
from retrieval_bench.report.cells import chosen, encoder_part, panel
from retrieval_bench.report.collapse import HEADS, collapse_figure, collapse_table
from retrieval_bench.report.common import Common, attempt, common_tables, many_lines
from retrieval_bench.report.drawn import drawn_svg, figures, panel_figures, pareto_views, query_times, trainings
from retrieval_bench.report.families import functional
from retrieval_bench.report.figure import pareto_figure
from retrieval_bench.report.gallery import galleries
from retrieval_bench.report.moments import asked
from retrieval_bench.report.overview import heading
from retrieval_bench.report.provenance import build_params, command, place, told_facts
from retrieval_bench.report.remarks import run_facts
from retrieval_bench.report.rows import (
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
from retrieval_bench.report.table import RunFacts, errors, times
from retrieval_bench.runs import found_runs

PARETO_MEANING = (
    "Up and left is better. Bars: 95 % intervals. The grey band joins the operating points that no other beats in both."
)


class Detail(IntEnum):
    """How much of each run a page shows: as much as there is room for."""

    FULL = 0
    LEAN = 1  # one Pareto figure a panel, no pictures
    BARE = 2  # tables alone
    COMMON = 3  # the tables that runs share; each run is a line
    FRONTS = 4  # and in them of each run's operating points only those on its Pareto fronts


LIMIT = 8_000_000  # bytes of a page
PICTURES = 3_000_000  # of its pictures
FEW, SOME = 6, 40  # runs of a page that are shown in full, or leanly
MANY = 8_000  # rows of all runs from which sections are not even tried: they take minutes, and would not fit


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
    return write_page(records, out or alone / "report.html", skipped), skipped


def write_page(records: Sequence[RunRecord], path: Path, skipped: list[str] | None = None) -> Path:
    """Write the page of these runs, whole or not at all.

    Args:
        records: finished runs, each a section of its own: unlike protocols never share a table.
        skipped: as of `page`.
    """
    html = page(records, skipped=skipped)
    with written_whole(path) as file:
        file.write(html)
    return path


def page(records: Sequence[RunRecord], most: Detail = Detail.FULL, skipped: list[str] | None = None) -> str:
    """The page as HTML; of many runs less is shown of each, so that it stays small enough to open and to send.

    Args:
        most: show no more of a run than this.
        skipped: gets the names of runs that cannot be told, and why; none = that is an error.

    Raises:
        BadConfig: no run can be told, or so many that even the shortest page is too large. That of one run is kept.
    """
    least = max(most, Detail.FULL if len(records) <= FEW else Detail.LEAN if len(records) <= SOME else Detail.BARE)
    if len(records) > 1 and sum(len(record.rows) for record in records) > MANY:
        least = max(least, Detail.COMMON)
    last = Detail.FRONTS if len(records) > 1 else max(least, Detail.BARE)
    told, html, common = [(record, f"run{i}") for i, record in enumerate(records, start=1)], "", Common([], [], [])
    for detail in [level for level in Detail if least <= level <= last]:
        runs = _sections(told, detail, skipped)
        if detail == least:  # what could not be told once is not told in the tables either
            kept = {run["anchor"] for run in runs}
            told = [(record, anchor) for record, anchor in told if anchor in kept]
            common = common_tables(told, skipped)
        html = _rendered(runs, detail, common)
        if (size := len(html.encode())) <= LIMIT:
            return html
    if len(records) > 1:
        raise BadConfig(
            f"a page of these {len(records)} runs has {size:,} bytes, more than the {LIMIT:,} that open well;"
            " name fewer folders, or type --table csv for all of their numbers"
            + "".join(f"; skipped: {each}" for each in skipped or ())
        )
    return html


def _sections(runs: Sequence[tuple[RunRecord, str]], detail: Detail, skipped: list[str] | None) -> list[dict[str, Any]]:
    """What is told of each run, but of those that cannot be told."""
    room = PICTURES // len(runs) if detail is Detail.FULL else 0
    found = [
        attempt(record, partial(_section if detail < Detail.COMMON else _line, record, anchor, detail, room), skipped)
        for record, anchor in runs
    ]
    told = [section for section in found if section is not None]
    if not told:
        raise BadConfig(f"there is nothing to tell: {'; '.join(skipped or ())}")
    return told


def _rendered(runs: Sequence[dict[str, Any]], detail: Detail, common: Common) -> str:
    loader = PackageLoader("retrieval_bench.report", "templates")
    environment = Environment(
        loader=loader,
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = loader.get_source(environment, "page.js")[0]
    told = common.fronts if detail is Detail.FRONTS else common
    return environment.get_template("page.html").render(
        runs=runs,
        trained=told.trained,
        points=[many_lines(table) for table in told.points],
        seeds=told.seeds,
        lean=detail is not Detail.FULL,
        sections=detail < Detail.COMMON,
        cut=(told.shown, common.shown) if detail is Detail.FRONTS else None,
        script={"text": Markup(script), "digest": b64encode(sha256(script.encode()).digest()).decode()},
    )


def _line(record: RunRecord, anchor: str, *_: object) -> dict[str, Any]:
    """A run without a section: what it is, and where it lies."""
    points = record.points
    told = heading(record, operating_points(points) if len(points) else [])
    return {"anchor": anchor, "run_id": record.run_id, "heading": told, "place": place(record)}


def _section(record: RunRecord, anchor: str, detail: Detail, room: int) -> dict[str, Any]:
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
        "trainings": trainings(record, anchor) if detail < Detail.BARE else [],
        "panels": _panels(record, rows, metrics, anchor, detail),
        "choices": choices,
        "galleries": galleries(record.folder, record.stages, room) if room else [],
        "collapse": _collapse(record, anchor, detail),
        "figures": figures(record.folder, anchor) if detail < Detail.BARE else [],
        "notes": [*times([row for row in rows if not failed(row)]), *_notes(facts)],
        "errors": [(index, ", ".join(stages), error) for (index, error), stages in errors(rows).items()],
        "builds": sorted({(label(row), build_params(row)) for row in rows}),
        "facts": told_facts(record),
        "command": command(record),
    }


def _collapse(record: RunRecord, anchor: str, detail: Detail) -> dict[str, Any] | None:
    """Spectrum and hubness, as far as the record knows them."""
    table = collapse_table(record.stages)
    if table is None:
        return None
    figure = collapse_figure(record.stages) if detail is Detail.FULL else None
    drawn = None if figure is None else drawn_svg(figure, f"{anchor}-collapse")
    return {"heads": HEADS, "lines": table.lines, "k": table.k, "figure": drawn}


def _place(group: Sequence[Row]) -> tuple[Any, int | None]:
    return group[0]["stage"], depth(group)


def _panels(
    record: RunRecord, rows: Sequence[Row], metrics: Sequence[str], anchor: str, detail: Detail
) -> list[dict[str, Any]]:
    """A table and figures for each stage and depth."""
    points = record.points
    tune, report = (
        {_place(group): group for group in panels(operating_points(points, half))} if rows else {}
        for half in ("tune", "report")
    )
    times = query_times(record.folder) if detail is Detail.FULL else None
    found = []
    for i, group in enumerate(panels(rows)):
        stage, k = _place(group)
        part = points[points["stage"] == stage]
        if k is not None:
            part = part[part["k"].isna() | (part["k"] == k)]
        drawable = [row for row in group if isfinite(number(row, "ann_recall")) and number(row, "latency_p50_ms") > 0]
        salt = f"{anchor}-pareto{i}"
        drawn = drawable and detail < Detail.BARE
        figure = drawn_svg(pareto_figure(part, titled=False), salt) if drawn else None
        full, metric = drawable and detail is Detail.FULL, _headline(group, metrics)
        told = panel(group, metrics, (tune.get((stage, k), group), report.get((stage, k), group)))
        told |= {"views": pareto_views(part, metric, salt) if full else []}
        told |= {"drawn": panel_figures(group, metric, times, salt) if full else []}
        found.append(told | {"figure": figure, "meaning": PARETO_MEANING + _aside(drawable)})
    return found


def _headline(group: Sequence[Row], metrics: Sequence[str]) -> str | None:
    """The label metric that figures show: the first that this depth has, of moments the one that tells most."""
    known = [name for name in metrics if any(isfinite(number(row, name)) for row in group)]
    return next((name for name in HEADLINE if name in known), next(iter(known), None))


def _aside(rows: Sequence[Row]) -> str:
    names = distinct([row for row in rows if functional(row)], "label")
    return f" Not on it, whatever their numbers: {', '.join(names)} (empty markers)." if names else ""


def _notes(facts: RunFacts) -> list[str]:
    notes = list(facts.remarks)
    if facts.nothing_relevant:
        notes.append(
            f"{facts.nothing_relevant:,} {facts.queries[1]} have nothing relevant: counted, left out of the means."
        )
    if facts.unreadable:
        notes.append(f"{facts.unreadable:,} items could not be read and are left out; unreadable.csv names them.")
    return notes
