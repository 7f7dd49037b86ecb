"""Experiment trackers: they are told everything a run found, and can never end it.

Lightning's loggers are the interface. Lightning and wandb are imported only when a tracker is configured.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

FIGURE = "pareto"
OFFLINE, ONLINE = "offline", "online"  # wandb's own words
Factory = partial[Any]


@dataclass(frozen=True, eq=False)
class Story:
    """What a tracker is told.

    Attributes:
        run_id: names the run in the tracker, unless its configuration does.
        config: the resolved configuration. protocol: the data set's. Both of JSON values.
        points: as in `points.parquet`; every row becomes one step.
        figure: the Pareto figure as PNG, if there is one.
    """

    run_id: str
    config: Mapping[str, Any]
    protocol: Mapping[str, Any]
    points: pd.DataFrame
    figure: Path | None = None


def track(loggers: Mapping[str, Factory], story: Story, folder: Path) -> list[str]:
    """Tell every configured tracker.

    Args:
        loggers: name → a Lightning logger's class with its parameters, not yet constructed.
        story: what to tell.
        folder: where trackers keep their files, unless their `save_dir` says otherwise.

    Returns:
        Warnings for the user, one for each thing that went wrong; a tracker that fails never raises.
    """
    warnings: list[str] = []
    for name, factory in loggers.items():
        trouble: list[str] = []
        logger = _open(_completed(factory, story.run_id, folder), trouble)
        if logger is not None:
            told = _attempt("it was not told everything", partial(_tell, logger, story), trouble)
            _attempt("it did not finish", partial(_finish, logger, told), trouble)
        if trouble:
            warnings.append(f"{name}: {'; '.join(trouble)}{_remedy(logger)}")
    return warnings


def _completed(factory: Factory, run_id: str, folder: Path) -> Factory:
    """The factory with the run's folder and, for trackers that name runs, the run's id."""
    given = factory.keywords
    more: dict[str, Any] = {}
    if given.get("save_dir") is None:
        more["save_dir"] = str(folder)
    if "name" in given and given["name"] is None:
        more["name"] = run_id
    return partial(factory, **more)


def _attempt(what_failed: str, action: Callable[[], None], trouble: list[str]) -> bool:
    """Whether an action went well; if not, why is added to `trouble`."""
    try:
        action()
    # Whatever a tracker throws: the run has its results already and must not end here.
    except Exception as error:  # noqa: BLE001
        reason = str(error).strip().splitlines() or ["no reason given"]
        trouble.append(f"{what_failed} ({type(error).__name__}: {reason[0]})")
        return False
    return True


def _open(factory: Factory, trouble: list[str]) -> Logger | None:
    """The logger, started; offline where its server is away; none where it cannot start at all."""
    made: list[Logger] = []
    offline = partial(factory, mode=OFFLINE)
    if factory.keywords.get("mode") != ONLINE:
        _attempt("it did not start", lambda: made.append(_started(factory)), trouble)
    elif not _attempt("it is kept offline", _need_key, trouble) or not _attempt(
        "it is kept offline", lambda: made.append(_started(factory)), trouble
    ):
        _attempt("it did not start offline either", lambda: made.append(_started(offline)), trouble)
    return made[0] if made else None


def _started(factory: Factory) -> Logger:
    logger: Logger = factory()
    _ = logger.experiment  # type: ignore[attr-defined]  # Lightning opens the files or the connection here
    return logger


def _need_key() -> None:
    """Refuse where wandb would ask for a key at the terminal, or have none."""
    import wandb

    if not wandb.login(prompt=False, verify=False):
        raise ConnectionError("wandb has no key; type: wandb login, or set WANDB_API_KEY")


def _values(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row without its blanks."""
    return {str(column): value for column, value in row.items() if not pd.isna(value)}


def _tell(logger: Logger, story: Story) -> None:
    from pytorch_lightning.loggers import CSVLogger, WandbLogger

    logger.log_hyperparams({"config": dict(story.config), "protocol": dict(story.protocol), "run_id": story.run_id})
    rows = [_values(row) for row in story.points.to_dict("records")]
    takes_text = isinstance(logger, CSVLogger | WandbLogger)
    for step, row in enumerate(rows):
        logger.log_metrics({k: v for k, v in row.items() if takes_text or not isinstance(v, str)}, step=step)
    if isinstance(logger, WandbLogger):
        columns = [str(column) for column in story.points.columns]
        logger.log_table("points", columns=columns, data=[[row.get(column) for column in columns] for row in rows])
    if story.figure is None:
        return
    if isinstance(logger, WandbLogger):
        logger.log_image(FIGURE, [str(story.figure)])
    elif isinstance(logger, CSVLogger):
        shutil.copyfile(story.figure, Path(logger.log_dir) / f"{FIGURE}{story.figure.suffix}")


def _finish(logger: Logger, told: bool) -> None:
    from pytorch_lightning.loggers import WandbLogger

    logger.finalize("success" if told else "failed")
    if isinstance(logger, WandbLogger):
        logger.experiment.finish(exit_code=0 if told else 1)


def _remedy(logger: Logger | None) -> str:
    """How to send later what a tracker kept on the disk."""
    if logger is None:
        return ""
    from pytorch_lightning.loggers import WandbLogger

    if isinstance(logger, WandbLogger) and logger.experiment.settings.mode != "disabled":
        return f". Its files are kept; send them with: wandb sync {logger.experiment.settings.sync_dir}"
    return ""
