"""A sweep: many runs by one command. A job that fails is a row with its error, and the others go on.

What each job did lies in a folder of the sweep, one file a job, so that it does not matter which process ran it. Jobs
of the same run (those that differ in their indexes alone) wait for one another and share one run folder.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from retrieval_bench.errors import RetrievalBenchError
from retrieval_bench.record import digest, make_folder, write_json, written_whole
from retrieval_bench.secrecy import hidden

if TYPE_CHECKING:
    from retrieval_bench.experiment import Experiment
    from retrieval_bench.record import RunRecord

BEGUN, OK, FAILED = "begun", "ok", "failed"
COLUMNS = ("job", "overrides", "status", "seconds", "run", "error")
FOLDER = "sweeps"  # below paths.runs


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        job: its number in the sweep. overrides: what was typed or chosen for it.
        status: begun, ok or failed; `begun` stays where its process was killed.
        run: the run's folder. rows: the operating points that it asked for. seconds: that it took.
        strict: an index failed, and `strict=true` makes that a failure of the job.
    """

    job: int
    overrides: list[str]
    status: str = BEGUN
    error: str | None = None
    run: str | None = None
    rows: list[dict[str, Any]] = field(default_factory=list, repr=False)
    seconds: float | None = None
    strict: bool = False


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder, which its jobs write into from any process.

    Attributes:
        folder: below `paths.runs`. owner: process that started it: what runs there is shown in full.
    """

    folder: Path
    owner: int = field(default_factory=os.getpid)

    @classmethod
    def of(cls, runs: Path, typed: Sequence[str]) -> Sweep:
        """The sweep of these overrides: the same command, typed again, goes on in the same folder."""
        return cls(runs / FOLDER / digest(sorted(typed)))

    def write(self, outcome: Outcome) -> None:
        """Keep what became of a job; a job of the same overrides is the same job."""
        write_json(self._file(outcome.overrides), asdict(outcome))

    def known(self, overrides: Sequence[str]) -> Outcome | None:
        """What became of a job; none if it never began, or what was written is damaged."""
        return _read(self._file(overrides))

    def outcomes(self) -> list[Outcome]:
        """Of all jobs that ever began, in order."""
        found = [_read(file) for file in sorted((self.folder / "jobs").glob("*.json"))]
        return sorted((each for each in found if each is not None), key=lambda each: each.job)

    def set_aside(self) -> None:
        """Keep what became of the jobs in a folder of its own, `jobs-1` and so on, and know nothing of them."""
        jobs = self.folder / "jobs"
        if jobs.is_dir():
            jobs.rename(self.folder / f"jobs-{1 + sum(1 for _ in self.folder.glob('jobs-*'))}")

    def _file(self, overrides: Sequence[str]) -> Path:
        return self.folder / "jobs" / f"{digest(sorted(overrides))}.json"

    def write_table(self, outcomes: Sequence[Outcome]) -> Path:
        """`jobs.csv`: one row a job (COLUMNS)."""
        import csv

        file = self.folder / "jobs.csv"
        with written_whole(file) as handle:
            writer = csv.writer(handle)
            writer.writerow(COLUMNS)
            for one in outcomes:
                told = "" if one.seconds is None else f"{one.seconds:.1f}"
                writer.writerow((one.job, " ".join(one.overrides), one.status, told, one.run, one.error))
        return file


_begun: list[Sweep] = []  # of this process: Hydra makes sweepers itself, so that nothing can be handed to them


def begin_sweep(runs: Path, typed: Sequence[str]) -> Sweep:
    """The sweep of these overrides, and of whatever else decides what they mean; `current_sweep` tells of it."""
    _begun[:] = [Sweep.of(runs, typed)]
    return _begun[0]


def current_sweep() -> Sweep:
    """The sweep that this process began last."""
    return _begun[0]


def _read(file: Path) -> Outcome | None:
    try:
        return Outcome(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def run_job(sweep: Sweep, begun: Outcome, make: Callable[[], Experiment]) -> Outcome:
    """Run one job, whatever happens; only an interruption by the user and a killed process end more than this job.

    Args:
        begun: its number and overrides. make: its experiment.
    """
    before = sweep.known(begun.overrides)
    if before is None or before.status != OK:  # what is finished stays so while it is looked at again
        sweep.write(begun)
    start = perf_counter()
    try:
        experiment = make()
        record = _run(sweep, begun, experiment)
        found = _finished(begun, experiment, record)
    except (RetrievalBenchError, OSError) as error:
        found = replace(begun, status=FAILED, error=hidden(str(error)))
    except Exception as error:  # noqa: BLE001  # whatever a part raises, the other jobs go on; its traceback is kept
        file = sweep.folder / "jobs" / f"{digest(sorted(begun.overrides))}.txt"
        make_folder(file.parent)
        file.write_text(hidden(traceback.format_exc()), encoding="utf-8")
        found = replace(begun, status=FAILED, error=hidden(f"{type(error).__name__}: {error} (see {file})"))
    found = replace(found, seconds=_seconds(perf_counter() - start, before, found))
    sweep.write(found)
    return found


def _seconds(now: float, before: Outcome | None, found: Outcome) -> float:
    """That a job took; one that was only looked at again took what it took before."""
    if before is None or before.seconds is None or before.status != OK or before.rows != found.rows:
        return now
    return max(now, before.seconds)


def _run(sweep: Sweep, begun: Outcome, experiment: Experiment) -> RunRecord:
    """In the process that the user looks at with progress and table; elsewhere a line when something is to be told."""
    if os.getpid() == sweep.owner:
        from retrieval_bench.running import run_shown

        return run_shown(experiment, patient=True)
    from retrieval_bench.experiment import silent
    from retrieval_bench.pipeline import run_experiment

    def say(text: str) -> None:
        print(f"#{begun.job} {' '.join(begun.overrides)}: {text}", flush=True)

    say("begins")
    record = run_experiment(experiment, silent, say, patient=True)
    say(f"done: {record.folder}")
    return record


def _finished(begun: Outcome, experiment: Experiment, record: RunRecord) -> Outcome:
    from retrieval_bench.wanted import asked

    table = asked(experiment, record)
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    strict = bool(experiment.config["strict"]) and any(row["status"] == FAILED for row in record.rows)
    return replace(begun, status=OK, run=str(record.folder), rows=rows, strict=strict)


def settled(sweep: Sweep, jobs: Sequence[Sequence[str]]) -> list[Outcome]:
    """What became of the jobs of this command, also of those whose process was killed or that never began."""
    found = []
    for number, overrides in enumerate(jobs):
        one = sweep.known(overrides) or Outcome(number, list(overrides), error="it was not begun")
        if one.status == BEGUN:
            one = replace(one, status=FAILED, error=one.error or "its process ended before it was done")
        found.append(replace(one, job=number))
    return found
