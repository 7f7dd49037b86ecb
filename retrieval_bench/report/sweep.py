"""What a sweep found, in one table: a line an operating point, means over seeds, and the jobs that failed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from retrieval_bench.errors import RetrievalBenchError
from retrieval_bench.record import RunRecord
from retrieval_bench.report.classes import class_table_of_runs, render_classes
from retrieval_bench.report.seeds import seed_rows, seed_tables
from retrieval_bench.sweep import FAILED, Outcome


def render_sweep(outcomes: Sequence[Outcome], file: Path) -> RenderableType:
    """The table of a sweep.

    Args:
        outcomes: of all its jobs. file: the list of its jobs, to be named.
    """
    runs = list(dict.fromkeys(one.run for one in outcomes if one.run is not None))
    bad = [one for one in outcomes if one.status == FAILED]
    head = f"Sweep: {len(outcomes)} jobs, {len(bad)} failed, {len(runs)} run folders"
    parts: list[RenderableType] = [Text(head, "bold")]
    settings, seeds = told_settings([one.overrides for one in outcomes])
    found = seed_rows(
        [
            (told, seed, pd.DataFrame(one.rows))
            for told, seed, one in zip(settings, seeds, outcomes, strict=True)
            if one.rows
        ]
    )
    if len(found):
        parts += seed_tables(found)
        if (found["seeds"] > 1).any():
            parts.append(Text("± over seeds: Student's 95 % interval; of one seed: the run's own", "dim"))
    if classes := class_table_of_runs(_named(settings, outcomes)):
        parts += [Text(f"By class: {classes.metric} with exact search", "bold"), render_classes(classes, counts=False)]
    for one in bad:
        parts.append(Text(f"failed: #{one.job} {' '.join(one.overrides)}: {one.error}", "red"))
    if bad:
        parts.append(Text("Mend it and type the same command again: what is finished is not done again."))
    parts.append(Text(f"jobs: {file}", "dim"))
    return Group(*parts)


def _named(settings: Sequence[str], outcomes: Sequence[Outcome]) -> dict[str, RunRecord]:
    """Finished runs by the values that were set for each; without those that were deleted or are damaged."""
    found: dict[str, RunRecord] = {}
    for told, one in zip(settings, outcomes, strict=True):
        if one.run is not None:
            values = " ".join(part.partition("=")[2] for part in told.split())
            with suppress(RetrievalBenchError):
                found.setdefault(values, RunRecord.load(Path(one.run)))
    return found


def told_settings(jobs: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """Of each job: the overrides that not all jobs have, without the seed; and the seed.

    >>> told_settings([["data=digits", "pool=gem", "seed=0"], ["data=digits", "pool=mac", "seed=1"]])
    (['pool=gem', 'pool=mac'], ['0', '1'])
    """
    common = set.intersection(*map(set, jobs)) if jobs else set()
    settings, seeds = [], []
    for job in jobs:
        own = [override for override in job if override not in common]
        settings.append(" ".join(one for one in own if not one.startswith("seed=")))
        seeds.append(next((one.partition("=")[2] for one in job if one.startswith("seed=")), ""))
    return settings, seeds
