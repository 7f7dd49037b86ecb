"""Progress of long stages: bars with the time left on a terminal, one line a stage elsewhere."""

from __future__ import annotations

from time import perf_counter
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class StageProgress:
    """A callback `(task, done, total)` for the pipeline; a context manager that shows bars while it is open.

    Without a terminal (a log file, CI) every stage is one line, written when it is done. A stage that was complete
    at its first call says nothing: there was nothing to do. What follows " · " in a task's name may change on the way.

    Args:
        console: where to write; standard error by default, so that the table alone goes to standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), console=self.console, disable=not self.console.is_terminal,
        )  # fmt: skip
        self._ids: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._finished: set[str] = set()

    def __enter__(self) -> StageProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, task: str, done: int, total: int) -> None:
        """Tell that `done` of `total` steps of a stage are finished."""
        stage = task.partition(" · ")[0]
        if stage in self._finished:
            return
        if done >= total:
            self._finished.add(stage)
        if stage not in self._started:
            if done >= total:
                return
            self._started[stage] = perf_counter()
            self._ids[stage] = self._bars.add_task(task, total=total)
        self._bars.update(self._ids[stage], completed=done, total=total, description=task)
        if done >= total and not self.console.is_terminal:
            seconds = perf_counter() - self._started[stage]
            many = f"{total:,} in " if total > 1 else ""
            self.console.print(f"{task}: {many}{seconds:.1f} s", highlight=False, markup=False)
