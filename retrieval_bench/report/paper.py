"""Tables and figures for papers: the numbers of the page as LaTeX, CSV or Markdown, and the Pareto figure as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from pathlib import Path

from retrieval_bench.errors import BadConfig
from retrieval_bench.record import RunRecord
from retrieval_bench.report.common import not_told, told_of
from retrieval_bench.report.everything import PointsTable, points_tables
from retrieval_bench.report.figure import pareto_figure, save_figure
from retrieval_bench.report.rows import failed, interval
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
        BadConfig: there is no finished run; the form, suffix or column is none.
    """
    if wanted.table is not None and wanted.table not in set(TableForm):
        forms = ", ".join(TableForm)
        raise BadConfig(f"a table for a paper is {forms}, not {wanted.table!r}; type --table {TableForm.LATEX}")
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
    tables = told_of(points_tables, [(record, "") for record in records], skipped)
    if not tables:
        raise BadConfig(f"there is nothing to tell: {'; '.join(skipped or ['no operating point was measured'])}")
    return "\n".join(write(table) for table in tables)


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
        BadConfig: a suffix that names no form, or a column that the runs lack.
    """
    if file.suffix not in SUFFIXES:
        raise BadConfig(f"{file}: a figure is {', '.join(SUFFIXES)}; type --figure {file.with_suffix('.svg').name}")
    written: list[Path] = []
    odd: list[str] = []
    for record in records:
        name = file.name if len(records) == 1 else f"{file.stem}_{record.run_id}{file.suffix}"
        try:
            figure = pareto_figure(record.points, metric, cost)
        except ValueError as error:
            odd.append(f"{record.folder}: {error}; name them with --metric and --cost")
        except Exception as error:  # noqa: BLE001  # whatever is odd about one record, the others are drawn
            odd.append(not_told(record, error))
        else:
            written.append(save_figure(figure, file.with_name(name)))
    if odd and (skipped is None or not written):
        raise BadConfig("; ".join(odd))
    if skipped is not None:
        skipped += [reason for reason in odd if reason not in skipped]
    return written


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
            for end, value in zip(ends, interval(line.row, cell.column), strict=True)
        }
        writer.writerow([table.title, line.run_id, *table.names(line), *(values[name] for name in known)])
    return buffer.getvalue()
