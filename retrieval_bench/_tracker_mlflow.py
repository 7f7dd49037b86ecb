"""MLflow: a server, or a local store, which also stands in for a server that is away."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from retrieval_bench._readings import name_of
from retrieval_bench._tracker import Attempt, Factory, Story, Tracker, artifact_name, placed
from retrieval_bench.errors import MissingExtra
from retrieval_bench.record import make_folder

if TYPE_CHECKING:
    from pytorch_lightning.loggers import MLFlowLogger

_SERVER = "MLFLOW_TRACKING_URI"
# Unless the user set them: nothing is reported to MLflow's makers, and a server that is away is given up in seconds.
_USUAL = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}
_CHATTY = ("mlflow", "alembic", "pytorch_lightning.loggers.mlflow")


class MLflowTracker(Tracker):
    """Takes everything; a run belongs to the MLflow experiment that is named like ours."""

    keeps = False
    logger: MLFlowLogger

    def __init__(self, factory: Factory) -> None:
        if find_spec("mlflow") is None:
            raise MissingExtra("mlflow", "mlflow")
        self._sends_weights, self._store = bool(factory.keywords.get("log_model")), factory.keywords["tracking_uri"]
        place = Path(factory.keywords["save_dir"])
        make_folder(place)
        with FileLock(place / ".mlflow.lock"):  # jobs of one sweep make the store, and the experiment in it, once
            super().__init__(partial(factory, log_model=False))  # Lightning's own would look for its checkpoints

    @classmethod
    def attempts(cls, factory: Factory, story: Story, folder: Path) -> list[Attempt]:
        """The server that is named, else the local store in `save_dir`."""
        given = placed(factory, folder).keywords
        place = Path(given["save_dir"]).absolute()
        tags = {"run_id": story.record.run_id, "name": story.record.name, **_tags(given.get("tags"))}
        name = given.get("run_name") or story.record.run_id
        factory = partial(factory, save_dir=str(place), tags=tags, run_name=name)
        files = place / "mlflow_files" / name_of(str(given.get("experiment_name")))
        local = partial(factory, tracking_uri=f"sqlite:///{place / 'mlflow.db'}", artifact_location=files.as_uri())
        server = given.get("tracking_uri") or os.environ.get(_SERVER)
        if not server:
            return [Attempt(local)]
        remote = Attempt(partial(factory, tracking_uri=server), "it is kept in a local store")
        return [remote, Attempt(local, "there is no local store either", final=False)]

    @classmethod
    @contextmanager
    def surroundings(cls) -> Iterator[None]:
        """Patience and silence; MLflow itself changes the environment, which the next run must not see."""
        before = dict(os.environ)
        levels = {name: logging.getLogger(name).level for name in _CHATTY}
        os.environ.update({key: value for key, value in _USUAL.items() if key not in before})
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            for key in {*_USUAL, *(name for name in os.environ if name.startswith("MLFLOW_"))}:
                if key in before:
                    os.environ[key] = before[key]
                else:
                    os.environ.pop(key, None)

    def settings(self, story: Story) -> None:
        """As parameters, cut off where they are long, and whole as an artifact."""
        self.logger.log_hyperparams(_accepted(story.settings))
        self.logger.experiment.log_dict(self.logger.run_id, story.settings, "settings.json")

    def extras(self, story: Story) -> None:
        """Artifacts: points.json (a table in its pages), the pictures, the weights."""
        client, run = self.logger.experiment, self.logger.run_id
        columns, rows = story.table
        table = {column: [row[i] for row in rows] for i, column in enumerate(columns)}
        client.log_table(run, table, "points.json")
        for file in story.pictures.values():
            client.log_artifact(run, str(file))
        if story.weights is not None and self._sends_weights:
            for file in (story.weights, story.weights.with_name("model_card.md")):
                client.log_artifact(run, str(file), artifact_name(story.record))

    def remedy(self) -> str:
        """How to look at a local store, and how to tell the server later."""
        if not self._store.startswith("sqlite:"):
            return ""
        return (
            f". See it with: mlflow ui --backend-store-uri {self._store}. Once the server answers, type the same"
            " command again: it is told then, and nothing is measured twice"
        )


def _tags(given: Mapping[str, Any] | Sequence[str] | str | None) -> dict[str, Any]:
    """Tags with their values; those of a list, as other trackers take them, have the value "true".

    >>> _tags(["first", "small"]), _tags({"of": "Monday"}), _tags(None)
    ({'first': 'true', 'small': 'true'}, {'of': 'Monday'}, {})
    """
    if isinstance(given, Mapping):
        return dict(given)
    return dict.fromkeys(map(str, [given] if isinstance(given, str) else given or ()), "true")


def _accepted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with keys that MLflow takes as names."""
    return {name_of(str(k)): _accepted(v) if isinstance(v, Mapping) else v for k, v in settings.items()}
