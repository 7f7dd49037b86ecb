"""Experiment trackers: they are told everything a run found, and can never end it.

Lightning's loggers are the interface; Lightning and the trackers are imported only when one is configured. All are told
the same, from the run's record, after the run: so a training that was resumed, or taken from the cache, has its curve.

What a user sees, under the same names in each:

| name | what | step |
|---|---|---|
| `training/<column>` | curve of each column of the training's history: loss, val_map_at_r, … | epoch |
| `encoder/<stage>/<metric>` | the encoder's own quality, by exact search: one number, to compare runs by | 0 |
| `points/<stage>/<index>/k<depth>/<column>` | curve of quality and cost, build seeds averaged | effort, 0 without one |
| `points` | table of every row of `points.parquet`, with intervals, build seeds and errors | |
| `pareto`, `gallery` | pictures: the Pareto figure; some queries with their neighbours, right or wrong | |
| `config`, `protocol`, `data_fingerprint`, `run_id`, `name` | settings; `weights`, where some were trained | |

A point's numbers stand over its effort, since that is what a user turns; what has no number stands in the table. In
names, `@` is written `_at_` (`hit_rate_at_10`), and other signs than letters, digits and `_ . -` as `_`: not every
tracker takes more. The weights go to trackers that keep artifacts (wandb, MLflow); the others name their file.
Runs of one `name` are one group: wandb's group, MLflow's experiment, one folder of TensorBoard's and CSV's files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from retrieval_bench._tracker import Attempt, Factory, Story, Tracker
from retrieval_bench.secrecy import hidden

__all__ = ["Story", "Told", "attempted", "track"]


@dataclass(frozen=True)
class Told:
    """What came of it.

    Attributes:
        warnings: for the user, one for each tracker with which something went wrong.
        done: trackers that need not be told the same again.
    """

    warnings: list[str]
    done: list[str]


def track(loggers: Mapping[str, Factory], story: Story, folder: Path) -> Told:
    """Tell every configured tracker; one that fails never raises.

    Args:
        loggers: name → a Lightning logger's class with its parameters, not yet constructed.
        story: what to tell.
        folder: where trackers keep their files, unless their `save_dir` says otherwise.
    """
    told = Told([], [])
    for name, given in loggers.items():
        trouble, done = list[str](), list[bool]()
        attempted("it was not told", lambda g=given, t=trouble, d=done: d.append(_told(g, story, folder, t)), trouble)  # type: ignore[misc]
        if trouble:
            told.warnings.append(f"{name}: {'; '.join(trouble)}")
        if any(done):
            told.done.append(name)
    return told


def _told(given: Factory, story: Story, folder: Path, trouble: list[str]) -> bool:
    """Whether this tracker need not be told again; what went wrong, and the remedy, are added to `trouble`."""
    # Hydra's own kind of partial hides its keywords where it is extended.
    factory = partial(given.func, *given.args, **given.keywords)
    kind = _kind(factory)
    with kind.surroundings():
        tracker, done = _tell(kind, kind.attempts(factory, story, folder), story, trouble)
        if trouble and tracker is not None:
            remedy = list[str]()
            attempted("what mends it is not known", lambda: remedy.append(tracker.remedy()), trouble)
            trouble[-1] += "".join(remedy)
    return done


def _kind(factory: Factory) -> type[Tracker]:
    """How this class of loggers is spoken to."""
    from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger

    from retrieval_bench._tracker import CSVTracker, NumbersTracker, TensorBoardTracker
    from retrieval_bench._tracker_mlflow import MLflowTracker
    from retrieval_bench._tracker_wandb import WandbTracker

    kinds: dict[type, type[Tracker]] = {
        CSVLogger: CSVTracker,
        TensorBoardLogger: TensorBoardTracker,
        WandbLogger: WandbTracker,
        MLFlowLogger: MLflowTracker,
    }
    made = factory.func
    fitting = [kind for known, kind in kinds.items() if isinstance(made, type) and issubclass(made, known)]
    return fitting[0] if fitting else NumbersTracker


def _tell(
    kind: type[Tracker], attempts: list[Attempt], story: Story, trouble: list[str]
) -> tuple[Tracker | None, bool]:
    """The tracker that was started, if one was, and whether it need not be told again."""
    made: list[Tracker] = []
    for attempt in attempts:
        if not attempted(attempt.failed, lambda each=attempt: made.append(kind(each.factory)), trouble):  # type: ignore[misc]
            continue
        tracker, others = made[-1], attempt is not attempts[-1] and not kind.keeps
        words = attempt.failed if others else "it was not told everything"
        well = attempted(words, partial(tracker.tell, story), trouble)
        attempted("it did not finish", partial(tracker.finish, well), trouble)
        if well or not others:
            return tracker, well and attempt.final
    return None, False


def attempted(what_failed: str, action: Callable[[], None], trouble: list[str]) -> bool:
    """Whether an action went well; if not, why is added to `trouble`."""
    try:
        action()
    # Whatever a tracker throws: the run has its results already and must not end here.
    except Exception as error:  # noqa: BLE001
        reason = str(error).strip().splitlines() or ["no reason given"]
        trouble.append(f"{what_failed} ({type(error).__name__}: {hidden(reason[0])})")
        return False
    return True
