"""Tables and figures for papers: the numbers of the page as LaTeX, CSV or Markdown, and the Pareto figure as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite, nan
from pathlib import Path

from retrieval_bench.errors import BadConfig
from retrieval_bench.record import RunRecord
from retrieval_bench.report.common import not_told, told_of
from retrieval_bench.report.everything import PointsTable, points_tables
from retrieval_bench.report.figure import NoColumn, pareto_figure, save_figure
from retrieval_bench.report.rows import FLOOR_INDEX, failed, interval
from retrieval_bench.report.text import BLANK
from retrieval_bench.runs import found_runs

SUFFIXES = (".svg", ".pdf", ".png")
# Longest first where one holds another; a backslash is told by its own name.
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "–": "--", "†": r"\dag{}",
}  # fmt: skip


class TableForm(StrEnum):
    """How a table is written."""

    LATEX = "latex"  # booktabs
    CSV = "csv"  # raw numbers, with the ends of their intervals in columns of their own
    MARKDOWN = "markdown"


@dataclass(frozen=True)
class Paper:
    """What is wanted for a paper.

    Attributes:
        table: a `TableForm`, or none. figure: the file, or none; of `metric` against `cost`.
    """

    table: str | None = None
    figure: Path | None = None
    metric: str = "ann_recall"
    cost: str = "latency_p50_ms"


def for_paper(folders: Sequence[Path], wanted: Paper) -> tuple[str, list[Path], list[str]]:
    """Tables as text, figures that were written, and why runs were skipped, of the runs in or below these folders.

    Raises:
        BadConfig: there is no finished run, or none that can be told; the form, suffix or column is none.
    """
    if wanted.table is not None and wanted.table not in set(TableForm):
        forms = ", ".join(TableForm)
        raise BadConfig(f"a table for a paper is {forms}, not {wanted.table!r}; type --table {TableForm.LATEX}")
    if wanted.figure is not None:
        _check_suffix(wanted.figure)
    records, skipped = found_runs(folders)
    text = "" if wanted.table is None else paper_tables(records, TableForm(wanted.table), skipped)
    files = [] if wanted.figure is None else paper_figures(records, wanted.figure, wanted.metric, wanted.cost, skipped)
    return text, files, skipped


def paper_tables(records: Sequence[RunRecord], form: TableForm, skipped: list[str] | None = None) -> str:
    """All operating points of these runs, a table a protocol, with 95 % intervals.

    Args:
        skipped: gets the names of runs that cannot be told, and why; none = that is an error.

    Raises:
        BadConfig: no run can be told.
    """
    write = {TableForm.LATEX: _latex, TableForm.CSV: _csv, TableForm.MARKDOWN: _markdown}[form]
    reasons = [] if skipped is None else skipped
    runs = [(record, "") for record in _measured(records, reasons)]
    texts = told_of(lambda some: [write(table) for table in points_tables(some)], runs, skipped)
    _must(texts, reasons, skipped)
    return "\n".join(texts)


def paper_figures(
    records: Sequence[RunRecord],
    file: Path,
    metric: str = "ann_recall",
    cost: str = "latency_p50_ms",
    skipped: list[str] | None = None,
) -> list[Path]:
    """The Pareto figure of each run; of several, the run's id stands in each file's name.

    Args:
        skipped: gets the names of runs that cannot be drawn, and why; none = that is an error.

    Raises:
        BadConfig: a suffix that names no form, or no run could be drawn.
    """
    _check_suffix(file)
    reasons = [] if skipped is None else skipped
    lacking: dict[str, list[str]] = {}  # what is missing → runs
    written: dict[str, Path] = {}
    for number, record in enumerate(_measured(records, reasons), start=1):
        name = file.name if len(records) == 1 else _free(file, record, number, written)
        try:
            figure = pareto_figure(record.points, metric, cost)
        except NoColumn as error:
            lacking.setdefault(str(error), []).append(str(record.folder))
        except Exception as error:  # noqa: BLE001  # whatever is odd about one record, the others are drawn
            reason = not_told(record, error)
            reasons += [] if reason in reasons else [reason]
        else:
            written[name] = save_figure(figure, file.with_name(name))
    reasons += [f"{', '.join(runs)}: {what}; name them with --metric and --cost" for what, runs in lacking.items()]
    _must(list(written), reasons, skipped)
    return list(written.values())


def _free(file: Path, record: RunRecord, number: int, taken: Container[str]) -> str:
    """A name for the figure of one run among others; the same run may lie there under two names."""
    parts = record.run_id, f"{record.name}_{record.run_id}", f"{record.name}_{record.run_id}_{number}"
    names = [f"{file.stem}_{part}{file.suffix}" for part in parts]
    return next((name for name in names if name not in taken), names[-1])


def _check_suffix(file: Path) -> None:
    if file.suffix not in SUFFIXES:
        raise BadConfig(f"{file}: a figure is {', '.join(SUFFIXES)}; type --figure {file.with_suffix('.svg').name}")


def _measured(records: Sequence[RunRecord], reasons: list[str]) -> list[RunRecord]:
    """Runs that have something to tell; the others get a reason."""
    found = []
    for record in records:
        reason = f"{record.folder}: nothing was measured in it"
        if any(row.get("index") != FLOOR_INDEX for row in record.rows):
            found.append(record)
        elif reason not in reasons:
            reasons.append(reason)
    return found


def _must(made: Sequence[str], reasons: Sequence[str], skipped: list[str] | None) -> None:
    """Raises BadConfig: there is nothing, or what was left out is told to nobody."""
    if not made or (reasons and skipped is None):
        raise BadConfig(f"there is nothing to tell: {'; '.join(reasons)}" if not made else "; ".join(reasons))


def _body(table: PointsTable) -> list[list[str]]:
    heads = [*table.heads, *(cell.title for cell in table.cells)]
    lines = [
        [*table.names(line), *(BLANK if failed(line.row) else cell(line.row) for cell in table.cells)]
        for line in table.lines
    ]
    return [heads, *lines]


def latex(value: str) -> str:
    r"""A text with what LaTeX would take for a command escaped.

    >>> latex("ann_recall & 5 %"), latex("0.5 ±.1")
    ('ann\\_recall \\& 5 \\%', '0.5 $\\pm$.1')
    """
    return "".join(LATEX.get(letter, letter) for letter in value)


def _latex(table: PointsTable) -> str:
    heads, *lines = [[latex(value) for value in line] for line in _body(table)]
    columns = "l" * len(table.heads) + "r" * len(table.cells)
    rows = [" & ".join(line) + r" \\" for line in lines]
    top = [f"% {table.title}; needs the package booktabs".replace("\n", " "), f"\\begin{{tabular}}{{{columns}}}"]
    return "\n".join([*top, r"\toprule", " & ".join(heads) + r" \\", r"\midrule", *rows, r"\bottomrule",
                      r"\end{tabular}", ""])  # fmt: skip


def _markdown(table: PointsTable) -> str:
    heads, *lines = [[value.replace("|", "\\|").replace("\n", " ") for value in line] for line in _body(table)]
    rule = ["---"] * len(table.heads) + ["---:"] * len(table.cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *lines)) + "\n"


def _csv(table: PointsTable) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    ends = ("", "_lo", "_hi")
    columns = [cell.column + end for cell in table.cells for end in ends]
    known = [name for name in columns if any(line.row.get(name) is not None for line in table.lines)]
    writer.writerow(["data", "run", *table.heads, *known])
    for line in table.lines:
        values = {
            cell.column + end: f"{value:.6g}" if isfinite(value) else ""
            for cell in table.cells
            for end, value in zip(
                ends, (nan,) * 3 if failed(line.row) else interval(line.row, cell.column), strict=True
            )
        }
        writer.writerow([table.title, line.run_id, *table.names(line), *(values[name] for name in known)])
    return buffer.getvalue()
