"""One run as its user sees it: progress on the way, the table at the end."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from retrieval_bench.experiment import Experiment
    from retrieval_bench.record import RunRecord

WIDTH = 100
FILES = (
    "record.json",
    "config.yaml",
    "points.parquet",
    "queries.parquet",
    "neighbours.parquet",
    "moments.parquet",
    "pareto.png",
    "report.html",
    "unreadable.csv",
    "truncated.csv",
    "trained/weights.safetensors",
    "trained/model_card.md",
    "trained/history.csv",
)


def terminal(stderr: bool = False) -> Console:
    """The terminal, or a file of WIDTH columns."""
    from rich.console import Console

    console = Console(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        return Console(stderr=stderr, width=WIDTH)
    return console


def run_shown(experiment: Experiment, patient: bool = False) -> RunRecord:
    """Run an experiment and print its table; raises as `run_experiment`."""
    from retrieval_bench.pipeline import run_experiment
    from retrieval_bench.report.progress import StageProgress

    with StageProgress() as progress:
        record = run_experiment(experiment, progress, partial(_say, progress.console), patient)
    _show(record, experiment)
    return record


def any_failed(record: RunRecord) -> bool:
    """Whether an index failed."""
    return any(row["status"] == "failed" for row in record.rows)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def _show(record: RunRecord, experiment: Experiment) -> None:
    from retrieval_bench.report.remarks import run_facts
    from retrieval_bench.report.table import render_table
    from retrieval_bench.wanted import asked

    facts = run_facts(record, [str(record.folder / name) for name in FILES if (record.folder / name).exists()])
    console: Any = terminal()
    console.print(render_table(asked(experiment, record), facts, width=min(console.width, WIDTH)))
