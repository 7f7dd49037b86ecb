"""Hydra's sweeper interface over `retrieval_bench.study`: `hydra/sweeper=optuna` (see conf/hydra/sweeper/optuna.yaml).

Hydra finds its plugins in this package and nowhere else. Hydra's own Optuna sweeper pins Optuna below 3, knows no
limits beside the objective, and begins anew when it is started again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

_log = logging.getLogger(__name__)


class OptunaSweeper(Sweeper):
    """Searches settings by Optuna; see the yaml for the parameters.

    Raises:
        RetrievalBenchError: anything that the user can mend.
    """

    def __init__(  # noqa: PLR0917
        self,
        objective: Sequence[str],
        at_most: Mapping[str, float],
        at_least: Mapping[str, float],
        evaluations: int,
        at_once: int,
        startup: int,
        seed: int,
        params: Mapping[str, Any],
        spaces: Sequence[Mapping[str, Any]],
    ) -> None:
        self._asked = tuple(objective), dict(at_most), dict(at_least)
        self._counts = evaluations, startup, seed
        self._at_once, self._params, self._spaces = at_once, dict(params), [dict(space) for space in spaces]
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Propose, launch, tell, until the evaluations are made or nothing new can be better.

        The same command, typed again meanwhile, waits: it would take what is being evaluated for left over.
        """
        from retrieval_bench.record import only_one
        from retrieval_bench.sweep import current_sweep

        if self.config is None or self.launcher is None:
            raise RuntimeError("Hydra calls `setup` before `sweep`")
        typed = OverridesParser.create().parse_overrides(arguments)
        fixed = [str(o.input_line) for o in typed if not o.is_sweep_override()]
        spaces = [_space([*_lines(self._params), *_lines(space)], typed) for space in self._spaces or [{}]]
        folder = current_sweep().folder
        with only_one(folder, lambda _: _log.warning("another search of the same settings is running; waiting for it")):
            return self._search(folder / "study.journal", fixed, spaces)

    def _search(self, file: Path, fixed: Sequence[str], spaces: Sequence[Mapping[str, Any]]) -> Any:
        from retrieval_bench.objective import Objective
        from retrieval_bench.report.rows import measured_points
        from retrieval_bench.study import Study
        from retrieval_bench.sweep import current_sweep

        if self.launcher is None:
            raise RuntimeError("Hydra calls `setup` before `sweep`")
        study = Study(file, spaces, Objective(*self._asked), *self._counts)
        if study.earlier is not None and self._changed(fixed, *study.earlier):
            _log.warning("the data or the encoder changed since the earlier evaluations; the search begins anew")
            current_sweep().set_aside()  # first: killed in between, the next command finds the change once more
            study = Study(file, spaces, Objective(*self._asked), *self._counts, anew=True)
        number = 0
        while study.left:
            proposals = [p for _ in range(min(self._at_once, study.left)) if (p := study.ask()) is not None]
            if not proposals:
                _log.info("nothing is left that could be better")
                break
            batch = [[*fixed, *(f"{key}={value}" for key, value in p.settings.items())] for p in proposals]
            self.validate_batch_is_legal(batch)
            for proposal, job in zip(proposals, self.launcher.launch(batch, initial_job_idx=number), strict=True):
                study.tell(proposal, measured_points(job.return_value.rows), _run_of(job))
            number += len(batch)
        for settings, values in study.best():
            told = ", ".join(f"{name} {abs(value):.4g}" for name, value in zip(self._asked[0], values, strict=True))
            _log.info("best: %s: %s", " ".join(f"{key}={value}" for key, value in settings.items()), told)
        return study.best()

    def _changed(self, fixed: Sequence[str], settings: Mapping[str, str], run: str) -> bool:
        """Look at what was measured: a finished job is not done again, unless what decides its numbers is another."""
        if self.launcher is None:
            raise RuntimeError("Hydra calls `setup` before `sweep`")
        kept = [each for each in fixed if not each.startswith("force=")]  # which would measure it once more
        [job] = self.launcher.launch([[*kept, *(f"{key}={value}" for key, value in settings.items())]], 0)
        return _run_of(job) not in {None, run}


def _run_of(job: Any) -> str | None:
    """The name of a job's run, a digest of what decides its numbers; none where it failed."""
    return Path(job.return_value.run).name if job.return_value.run else None


def _lines(space: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in space.items()]


def _space(lines: Sequence[str], typed: Sequence[Override]) -> dict[str, Any]:
    """Parameters of one space; what is typed on the command line replaces those of the same name."""
    chosen = {o.get_key_element(): o for o in OverridesParser.create().parse_overrides(list(lines))}
    chosen |= {o.get_key_element(): o for o in typed if o.is_sweep_override()}
    return {key: _parameter(override) for key, override in chosen.items()}


def _parameter(override: Override) -> Any:
    from retrieval_bench.objective import Choice, Interval

    if override.is_interval_sweep():
        value: Any = override.value()
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        return Interval(float(value.start), float(value.end), whole, "log" in value.tags)
    if override.is_sweep_override():
        values = tuple(str(value) for value in override.sweep_string_iterator())
    else:
        values = (str(override.get_value_element_as_str()),)
    numbers = [_number(value) for value in values]
    rising = None not in numbers and numbers == sorted(numbers, key=lambda each: each or 0.0)
    return Choice(values, rising and len(values) > 1, rising and override.key_or_group.endswith(".efforts"))


def _number(text: str) -> float | None:
    try:
        return float(text.strip("[]"))
    except ValueError:
        return None
