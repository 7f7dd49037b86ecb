"""How each kind of Lightning logger is told a story. wandb and MLflow, which may be away, have files of their own."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import yaml

from retrieval_bench._readings import encoder_values, readings
from retrieval_bench.errors import MissingExtra
from retrieval_bench.record import TRAINED, RunRecord, digest

if TYPE_CHECKING:
    from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

Factory = partial[Any]
_WEIGHTS = f"{TRAINED}/weights.safetensors"


@dataclass(frozen=True, eq=False)
class Story:
    """What a tracker is told.

    Attributes:
        record: the run. pictures: name → PNG.
    """

    record: RunRecord
    pictures: Mapping[str, Path]

    @property
    def settings(self) -> dict[str, Any]:
        """Configuration, protocol, data fingerprint and what names the run: JSON values."""
        record = self.record
        facts = {"run_id": record.run_id, "name": record.name, "data_fingerprint": record.data_fingerprint}
        return {"config": record.config, "protocol": record.protocol, **facts, **self.weights_settings}

    @property
    def weights(self) -> Path | None:
        """The weights that the run trained, if it did."""
        file = self.record.folder / _WEIGHTS
        return file if file.is_file() else None

    @property
    def weights_settings(self) -> dict[str, str]:
        """For trackers without artifacts: where the weights lie in the run's folder."""
        return {} if self.weights is None else {"weights": _WEIGHTS}

    @property
    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Every row of `points.parquet`, failed ones too: columns, and plain values or none."""
        points = self.record.points
        rows = [[_plain(value) for value in row] for row in points.itertuples(index=False, name=None)]
        return [str(column) for column in points.columns], rows


@dataclass(frozen=True)
class Attempt:
    """One way to reach a tracker.

    Attributes:
        factory: the logger's class with its parameters. failed: what a user is told where it does not start.
        final: whoever is told this way need not be told again by a later command.
    """

    factory: Factory
    failed: str = "it did not start"
    final: bool = True


class Tracker(ABC):
    """A Lightning logger that has been started.

    Attributes:
        keeps: what it is told lies on this disk, whatever happens then; else the next attempt tells everything anew.
    """

    keeps: ClassVar[bool] = True

    def __init__(self, factory: Factory) -> None:
        self.logger: Logger = factory()
        _ = self.logger.experiment  # Lightning opens files or the connection here

    @classmethod
    def attempts(cls, factory: Factory, story: Story, folder: Path) -> list[Attempt]:
        """Ways to reach it, the best first."""
        return [Attempt(placed(factory, folder))]

    @classmethod
    def surroundings(cls) -> AbstractContextManager[None]:
        """Holds while the tracker is in use."""
        return nullcontext()

    def tell(self, story: Story) -> None:
        """Everything, in the order settings, numbers, table, pictures, weights."""
        self.settings(story)
        for reading in readings(story.record):
            self.logger.log_metrics(reading.values, step=reading.step)
        self.extras(story)

    def settings(self, story: Story) -> None:
        """Configuration, protocol and fingerprint."""
        self.logger.log_hyperparams(story.settings)

    @abstractmethod
    def extras(self, story: Story) -> None:
        """Table, pictures and weights, as far as the tracker takes them."""

    def finish(self, told: bool) -> None:
        """Close it."""
        self.logger.finalize("success" if told else "failed")

    def remedy(self) -> str:
        """How to send or see later what it kept."""
        return ""


class NumbersTracker(Tracker):
    """A logger of the user's own: it is told settings and numbers."""

    def extras(self, story: Story) -> None:
        """Nothing: Lightning has no common call for them."""


class CSVTracker(Tracker):
    """Files: metrics.csv, hparams.yaml, points.csv and the pictures. The weights lie in the run's folder anyway."""

    logger: CSVLogger

    def extras(self, story: Story) -> None:
        """Beside metrics.csv."""
        place = Path(self.logger.log_dir)
        story.record.points.to_csv(place / "points.csv", index=False)
        for name, file in story.pictures.items():
            shutil.copyfile(file, place / f"{name}{file.suffix}")


class TensorBoardTracker(Tracker):
    """One event file; settings and the table are texts, the encoder's numbers fill the HPARAMS tab."""

    logger: TensorBoardLogger

    def __init__(self, factory: Factory) -> None:
        if find_spec("tensorboard") is None:  # Lightning would name another package
            raise MissingExtra("tensorboard", "tensorboard")
        super().__init__(factory)

    def settings(self, story: Story) -> None:
        """The HPARAMS tab, and each part as a text."""
        self.logger.log_hyperparams(story.settings, encoder_values(story.record), 0)
        for name, value in story.settings.items():
            text = value if isinstance(value, str) else _fenced(yaml.safe_dump(value, sort_keys=False))
            self.logger.experiment.add_text(name, text)

    def extras(self, story: Story) -> None:
        """The table as Markdown, the pictures as images."""
        self.logger.experiment.add_text("points", _markdown(*story.table))
        for name, file in story.pictures.items():
            self.logger.experiment.add_image(name, pixels(file), dataformats="HWC")


def placed(factory: Factory, folder: Path) -> Factory:
    """The factory with a folder for its files, unless its `save_dir` says otherwise."""
    return factory if factory.keywords.get("save_dir") else partial(factory, save_dir=str(folder))


def pixels(file: Path) -> Any:
    """A PNG as uint8 [height, width, 3]."""
    from PIL import Image

    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def artifact_name(record: RunRecord) -> str:
    """Of the weights, equal for equal trainings.

    A training that came from the cache is the same one, whichever run shows it.
    """
    training: Mapping[str, Any] = next((f["training"] for f in record.stages.values() if f.get("training")), {})
    return f"weights-{training.get('key') or digest(record.run_id)}"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if value is None or pd.isna(value) else value


def _fenced(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())  # Markdown shows what is indented as it is


def _markdown(columns: list[str], rows: list[list[Any]]) -> str:
    shown = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    lines = [[columns[i] for i in shown], ["---"] * len(shown)]
    lines += [["" if row[i] is None else _cell(row[i]) for i in shown] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
