"""Weights & Biases: offline where it is away or refuses the key."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval_bench._tracker import Attempt, Factory, Story, Tracker, artifact_name, placed

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger

_OFFLINE, _ONLINE, _DISABLED = "offline", "online", "disabled"  # wandb's own words


class WandbTracker(Tracker):
    """Takes everything; online, it writes the same files first and sends them beside."""

    logger: WandbLogger

    def __init__(self, factory: Factory) -> None:
        if factory.keywords.get("mode") == _ONLINE:
            _need_key()
        self._sends_weights = bool(factory.keywords.get("log_model"))
        super().__init__(partial(factory, log_model=False))  # Lightning's own would look for its checkpoints

    @classmethod
    def attempts(cls, factory: Factory, story: Story, folder: Path) -> list[Attempt]:
        """Online as asked, else offline."""
        factory = placed(factory, folder)
        if factory.keywords.get("name") is None:
            factory = partial(factory, name=story.record.run_id)
        if factory.keywords.get("mode") != _ONLINE:
            return [Attempt(factory)]
        offline = Attempt(partial(factory, mode=_OFFLINE), "it did not start offline either")
        return [Attempt(factory, "it is kept offline"), offline]

    def extras(self, story: Story) -> None:
        """A table, pictures, and the weights as an artifact of type model."""
        columns, rows = story.table
        self.logger.log_table("points", columns=columns, data=rows)
        for name, file in story.pictures.items():
            self.logger.log_image(name, [str(file)])
        if story.weights is not None and self._sends_weights:
            import wandb

            artifact = wandb.Artifact(artifact_name(story.record), type="model")
            for file in (story.weights, story.weights.with_name("model_card.md")):
                artifact.add_file(str(file))
            self.logger.experiment.log_artifact(artifact)

    def finish(self, told: bool) -> None:
        """End the run, or wandb would take the next one for the same."""
        super().finish(told)
        self.logger.experiment.finish(exit_code=0 if told else 1)

    def remedy(self) -> str:
        """The command that sends the files."""
        settings = self.logger.experiment.settings
        return (
            ""
            if settings.mode == _DISABLED
            else f". Its files are kept; send them with: wandb sync {settings.sync_dir}"
        )


def _need_key() -> None:
    """Refuse where wandb would ask for a key at the terminal, or have none."""
    import wandb

    if not wandb.login(prompt=False, verify=False):
        raise ConnectionError("wandb has no key; type: wandb login, or set WANDB_API_KEY")
