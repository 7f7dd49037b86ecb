"""From overrides to live objects: the only file that knows Hydra."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_bench.assembly import assembled, check_values
from retrieval_bench.binding import Binder, make_importable
from retrieval_bench.diagnosis import diagnosed
from retrieval_bench.errors import BadConfig, MissingExtra, RetrievalBenchError
from retrieval_bench.guard import guard_hydra, hydra_targets
from retrieval_bench.overrides import Swept, allowed, grid, one_run, refuse_sweeps, singly, sweeps, swept_by
from retrieval_bench.request import Request, requested, told_to_hydra, user_cache
from retrieval_bench.secrecy import refuse_typed
from retrieval_bench.sweep import Outcome, Sweep, begin_sweep, run_job, settled

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

    from retrieval_bench.experiment import Experiment
    from retrieval_bench.origin import Origin
    from retrieval_bench.record import RunRecord

_HERE = Path(__file__).resolve().parent
CONF = _HERE / "conf" if (_HERE / "conf").is_dir() else _HERE.parent / "conf"  # in a wheel inside the package


def _register() -> None:
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("user_cache", user_cache, replace=True)


def _requested(overrides: Sequence[str], config_dir: Path | None) -> AbstractContextManager[Request]:
    _register()
    refuse_typed(overrides)
    return requested(overrides, config_dir, CONF, lambda rest: [override.key_or_group for override in _parse(rest)])


@contextmanager
def _initialised(request: Request) -> Iterator[None]:
    from hydra import initialize_config_dir

    with initialize_config_dir(str(request.folders[0]), version_base="1.3"):
        yield


def _compose(overrides: Sequence[str], request: Request) -> DictConfig:
    """The configuration of one run; Hydra is initialised. Raises BadConfig."""
    from hydra import compose as hydra_compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    extra = request.searchpath
    try:
        config = hydra_compose("config", overrides=[*overrides, *extra], return_hydra_config=True)
        typed = [o for o in overrides if not o.lstrip("+~").startswith("hydra.")]
        own = hydra_compose("config", overrides=[*typed, *extra], return_hydra_config=True)
        groups = [o for o in typed if o.startswith("hydra/launcher=")]
        shipped = hydra_compose("config", overrides=[*groups, *extra], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise BadConfig(_diagnosis(overrides, request) or str(error)) from error
    known: Any = OmegaConf.to_container(shipped.hydra)
    guard_hydra(list(hydra_targets(own.hydra, OmegaConfBaseException)), OmegaConf.to_container(own.hydra), known)
    return config


def _parse(overrides: Sequence[str]) -> list[Override]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as syntax:
        raise BadConfig(
            f"{syntax}\nAn override is key=value; quote lists for the shell: 'search=[exact,hnsw]'"
        ) from syntax


def _diagnosis(overrides: Sequence[str], request: Request) -> str | None:
    """What Hydra refused, in words that name the nearest valid ones."""
    from hydra import compose as hydra_compose
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    loader = GlobalHydra.instance().config_loader()

    def options(group: str) -> list[str]:
        more = [file.stem for folder in request.folders[1:] for file in (folder / group).glob("*.yaml")]
        return sorted({*loader.get_group_options(group), *more})

    def composed(chosen: list[str]) -> DictConfig:
        return hydra_compose("config", overrides=[*chosen, *request.searchpath])

    groups = {file.parent.name for folder in request.folders for file in folder.glob("*/*.yaml")}
    return diagnosed(_parse(overrides), options, composed, sorted(groups), HydraException)


def _composed(request: Request) -> dict[str, Any]:
    """The plain configuration of one run that is no sweep. Raises BadConfig."""
    refuse_sweeps(_parse(request.overrides))
    with _initialised(request):
        return _plain(_compose(request.overrides, request), request)


def _plain(config: DictConfig, request: Request) -> dict[str, Any]:
    """The configuration as plain values, without Hydra's own part.

    Raises:
        BadConfig: a mandatory value is missing, an interpolation cannot be resolved, or it does not go with `from=`.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    own = OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"])
    missing = sorted(map(str, OmegaConf.missing_keys(own)))
    if missing:
        raise BadConfig(f"missing values: type {' '.join(f'{key}=…' for key in missing)}")
    try:
        plain = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise BadConfig(str(error).splitlines()[0]) from error
    values = {str(key): value for key, value in plain.items()}  # type: ignore[union-attr]
    if request.origin is not None:
        request.origin.check(values)
    return values


def _build(node: Any) -> Any:
    """Instantiate a checked node; a constructor's complaint becomes a message instead of a traceback."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, RetrievalBenchError):
            raise cause from error
        if isinstance(cause, ImportError) and str(cause.name).startswith("pytorch_metric_learning"):
            raise MissingExtra("pytorch-metric-learning", "train") from error
        if isinstance(cause, ValueError | TypeError):
            raise BadConfig(f"{node.get('_target_')}: {cause}") from error
        raise


def experiment(overrides: Sequence[str], config_dir: Path | None = None) -> Experiment:
    """Compose, check and instantiate the parts of one run.

    Raises:
        RetrievalBenchError: anything that the user can mend.
    """
    with _requested(overrides, config_dir) as request:
        allow = allowed(_parse(request.overrides))
        config = _composed(request)
    make_importable(allow, config_dir)
    return assemble(config, allow, request.origin)


def assemble(config: dict[str, Any], allow: Sequence[str] = (), origin: Origin | None = None) -> Experiment:
    """The live objects of a plain configuration, checked first.

    Args:
        config: as composed; its own `allow` permits nothing.
        allow: targets of the user's own that the user typed.
        origin: the run whose embeddings are taken over.
    """
    config = one_run(config)
    Binder(CONF, allow).check_all(config)
    return assembled(config, _build, None if origin is None else origin.record)


def run(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> RunRecord:
    """Run an experiment from a notebook or a script.

    Args:
        overrides: as on the command line, for instance `["data=digits", "k=[10]"]`.
        config_dir: a folder with configurations of your own.

    Raises:
        RetrievalBenchError: anything that the user can mend.
    """
    from retrieval_bench.pipeline import run_experiment

    return run_experiment(experiment(list(overrides), None if config_dir is None else Path(config_dir)))


def multirun(
    overrides: Sequence[str], config_dir: Path | None, begin: Callable[[Experiment, list[Outcome]], None]
) -> tuple[Sweep, list[Outcome]]:
    """A sweep through Hydra's own sweepers and launchers: its folder, and what became of each job.

    Every swept value is composed and checked before the first job starts; then a job that fails is a row.

    Args:
        begin: told the first job's experiment and what earlier commands know of the jobs, before any starts.

    Raises:
        RetrievalBenchError: anything that the user can mend and that was found before the first job.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    with _requested(overrides, config_dir) as request:
        allow = allowed(_parse(request.overrides))
        make_importable(allow, config_dir)
        first, jobs = _checked_jobs(request, allow)
        typed = [str(o.input_line) for o in _parse(request.overrides) if not o.is_hydra_override()]
        sweep = begin_sweep(Path(first["paths"]["runs"]), [*typed, *request.beside])
        begin(
            assemble(first, allow, request.origin), [sweep.known(job) or Outcome(i, job) for i, job in enumerate(jobs)]
        )
        job = partial(_job, sweep=sweep, allow=allow, request=request)
        try:
            with told_to_hydra(["-m", *request.overrides, *request.searchpath]):
                hydra.main(config_path=str(request.folders[0]), config_name="config", version_base="1.3")(job)()
        except (HydraException, OmegaConfBaseException) as error:
            raise BadConfig(str(error)) from error
        except BrokenExecutor:
            pass  # a launcher's process was killed: its job is told as failed, with what it was about
        return sweep, settled(sweep, jobs or [one.overrides for one in sweep.outcomes()])


def _checked_jobs(request: Request, allow: Sequence[str]) -> tuple[dict[str, Any], list[list[str]]]:
    """The first job's configuration, and the overrides of every job; none where the sweeper chooses them on its way.

    Raises:
        BadConfig: a swept value is wrong, a config file reaches for Hydra, or nothing is to be run.
    """
    with _initialised(request):
        first, jobs, drawn = None, list[list[str]](), False
        for swept in _guard_sweep(request):
            parsed = _parse([*swept.lines, *request.overrides])
            found = grid(parsed, request.folders)
            drawn |= swept.drawn or found is None
            jobs += found or []
            for one in singly(parsed, request.folders):
                plain = _plain(_compose(one, request), request)
                Binder(CONF, allow).check_all(plain)
                check_values(plain)
                first = first or plain
    if first is None or not (jobs or drawn):
        raise BadConfig("the sweep has no combination: a range or a choice in it is empty")
    return first, [] if drawn else jobs


def _guard_sweep(request: Request) -> list[Swept]:
    """Guard every combination of groups before Hydra's callbacks and logging can run; what config files sweep over."""
    found = list[Swept]()
    for combination in sweeps(_parse(request.overrides), request.folders):
        alternatives = swept_by(_compose(combination, request).hydra.sweeper)
        found = found or alternatives
        for one in alternatives:
            for inner in sweeps(_parse([*one.lines, *request.overrides]), request.folders) if one.lines else ():
                _compose(inner, request)
    return found


def _job(config: DictConfig, sweep: Sweep, allow: Sequence[str], request: Request) -> Outcome:
    """One job, in whatever process its launcher runs it."""
    from hydra.core.hydra_config import HydraConfig

    _register()
    make_importable(allow, request.config_dir)
    own = HydraConfig.get()
    begun = Outcome(int(own.job.num), [str(override) for override in own.overrides.task])
    return run_job(sweep, begun, lambda: assemble(_plain(config, request), allow, request.origin))


def composed(overrides: Sequence[str], config_dir: Path | None = None) -> dict[str, Any]:
    """The plain configuration of one run. Raises BadConfig."""
    with _requested(overrides, config_dir) as request:
        return _composed(request)


def reopen(record: RunRecord, allow: Sequence[str] = (), root: Path | None = None) -> Experiment:
    """The live objects of a finished run. Runs may be other people's: only what this user allows is permitted.

    Args:
        root: where the data lie now, if they moved.
    """
    from retrieval_bench.origin import moved
    from retrieval_bench.record import restored

    make_importable(allow)
    cache = os.environ.get("RETRIEVAL_BENCH_CACHE") or user_cache()  # as conf/config.yaml has it
    paths = {"runs": "runs", "cache": cache}
    config = restored(record.config, record.folder, paths["cache"])
    if root is not None:
        config = moved(config, root)
    return assemble({**config, "allow": list(allow), "paths": paths}, allow)
