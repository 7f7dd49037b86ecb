"""How long a sweep will take, said before its first job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retrieval_bench.environment import processor
from retrieval_bench.estimate import Timing, duration, earlier_rows, forecast, scan_speed
from retrieval_bench.experiment import Experiment
from retrieval_bench.foresight import Sizes, everything
from retrieval_bench.sweep import OK, Outcome


def expected(experiment: Experiment, known: Sequence[Outcome]) -> str:
    """A sentence: how many jobs, how many are finished, and how long the others take as far as earlier runs tell.

    Args:
        experiment: of the first job. known: what is known of every job of a grid; none where a sweeper chooses them.
    """
    if not known:
        return "a sweep whose jobs are chosen one after another; each tells how long it will take"
    done = sum(one.status == OK for one in known)
    left = len(known) - done
    told = f"{len(known)} {'job' if len(known) == 1 else 'jobs'}"
    told += f", {done} of them finished before" if done else ""
    if not left:
        return f"{told}: nothing is measured again"
    each = _seconds(experiment, known)
    if each is None:
        return f"{told}; how long they take is known when the first one has begun to encode"
    measured, source = each
    return f"{told}; about {duration(left * measured)} in all if the {left} left take as long as {source}"


def _seconds(experiment: Experiment, known: Sequence[Outcome]) -> tuple[float, str] | None:
    """Seconds of one job: as the finished ones took, or as earlier runs of these data and indexes tell."""
    took = [one.seconds for one in known if one.status == OK and one.seconds is not None]
    if took:
        return sum(took) / len(took), "the finished ones"
    rows = earlier_rows(experiment.folder.parent, processor())
    alike = {row["stage"]: row for row in rows if row["data"] == experiment.data.name}
    sizes = [_sizes(alike[stage]) for stage in experiment.encoders or ("given",) if stage in alike]
    if not sizes or "trained" in experiment.encoders:
        return None
    works = [work for size in sizes for work in everything(experiment, size)]
    settings = experiment.measure
    served = 0.0 if settings.clients is None else settings.client_seconds
    timing = Timing(settings.passes, settings.max_queries, settings.max_seconds, served)
    found = forecast(works, timing, rows, scan_speed(sizes[0].dim))
    return found.seconds, "earlier runs' measurements of the first one's indexes say (encoding not counted)"


def _sizes(row: dict[str, Any]) -> Sizes:
    return Sizes(int(row["n_gallery"]), int(row["n_queries"]), int(row["dim"]), 0, 1)
