"""Errors that a user can mend. Every message says what was given, what is allowed and what to type."""

from __future__ import annotations

from collections.abc import Sequence


class RetrievalBenchError(Exception):
    """Base of all errors that the command line prints as one message, without a traceback."""


class BadConfig(RetrievalBenchError):
    """A group, key or value of the configuration is wrong."""


class DataNotFound(RetrievalBenchError):
    """A folder, file or download that a data set needs is missing."""


class CorruptInput(RetrievalBenchError):
    """A file exists but cannot be read as what it should be; raised per item for images, per file for vectors."""


class DamagedRecord(CorruptInput):
    """A run's record is cut off or otherwise no record; what was measured still lies beside it."""


class TooManyUnreadable(RetrievalBenchError):
    """More items than the configured limit could not be read; `items` holds (key, reason) of each."""

    def __init__(self, message: str, items: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.items = list(items)


class MissingExtra(RetrievalBenchError):
    """An optional library is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed; type: pip install 'retrieval-bench[{extra}]'")
        self.library, self.extra = library, extra

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return MissingExtra, (self.library, self.extra)


class UnsupportedSimilarity(RetrievalBenchError):
    """An index cannot search by the similarity of the run."""


class UnlikeProtocols(RetrievalBenchError):
    """Two runs were measured under different protocols and may not be compared."""


class RunInUse(RetrievalBenchError):
    """Another process works in the same run folder."""


class ReadFailed(RetrievalBenchError):
    """The machine could not read a file: its fault, not the file's, so nothing is remembered of the file."""


class OutOfSpace(RetrievalBenchError):
    """The disk is full; what was finished before is kept."""


class IndexGone(RetrievalBenchError):
    """A saved index named something in a database that is no longer there; the harness builds it again."""


class WorkerFailed(RetrievalBenchError):
    """A worker process crashed, hung past its time limit, or exceeded its memory limit."""


class TrainingDiverged(RetrievalBenchError):
    """Loss, vectors or weights are not finite numbers any more; `rows` are the training items of the batch."""

    def __init__(self, told: str, rows: Sequence[int]) -> None:
        super().__init__(told)
        self.rows = list(rows)
