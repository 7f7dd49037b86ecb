"""From overrides to live objects: the only file that knows Hydra."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_bench.binding import Binder, nearest
from retrieval_bench.errors import BadConfig, RetrievalBenchError
from retrieval_bench.types import Similarity

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retrieval_bench.experiment import Experiment
    from retrieval_bench.record import RunRecord

# In a wheel `conf` lies inside the package, in a checkout beside it.
_HERE = Path(__file__).resolve().parent
CONF = _HERE / "conf" if (_HERE / "conf").is_dir() else _HERE.parent / "conf"
STAGES = ("pretrained", "random")
# What of Hydra's own configuration a config file could use to run foreign code or to read foreign files.
_GUARDED = ("callbacks", "job_logging", "hydra_logging", "searchpath")
_PLUGINS = ("hydra._internal.core_plugins.", "hydra_plugins.", "optuna.samplers.", "omegaconf.")


def _user_cache() -> str:
    from platformdirs import user_cache_dir

    return user_cache_dir("retrieval_bench")


def compose(overrides: Sequence[str], config_dir: Path | None = None) -> DictConfig:
    """The configuration of one run.

    Raises:
        BadConfig: a group, key or value does not exist; names the nearest valid ones.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    OmegaConf.register_new_resolver("user_cache", _user_cache, replace=True)
    if config_dir is not None and not config_dir.is_dir():
        raise BadConfig(f"--config-dir {config_dir} is not a folder")
    extra = _searchpath(config_dir)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            config = hydra_compose("config", overrides=[*overrides, *extra], return_hydra_config=True)
            typed = [o for o in overrides if not o.lstrip("+~").startswith("hydra.")]
            _guard(hydra_compose("config", overrides=[*typed, *extra], return_hydra_config=True), extra)
        except (HydraException, OmegaConfBaseException) as error:
            raise _diagnose(overrides, config_dir, error) from error
    return config


def _searchpath(config_dir: Path | None) -> list[str]:
    return [] if config_dir is None else [f"hydra.searchpath=[file://{config_dir.resolve()}]"]


def _guard(config: DictConfig, extra: Sequence[str]) -> None:
    """Refuse a config file that reaches for Hydra's callbacks, logging, search path or foreign plugins."""
    from hydra import compose as hydra_compose
    from omegaconf import OmegaConf

    shipped = hydra_compose("config", overrides=list(extra), return_hydra_config=True)
    for key in _GUARDED:
        if OmegaConf.to_container(config.hydra)[key] != OmegaConf.to_container(shipped.hydra)[key]:  # type: ignore[index, call-overload]
            raise BadConfig(
                f"a config file sets hydra.{key}, which could run foreign code; only the command line may set it"
            )
    for key in ("launcher", "sweeper"):
        target = str(config.hydra[key].get("_target_", ""))
        if not target.startswith(_PLUGINS):
            raise BadConfig(
                f"hydra.{key}._target_ is {target}, which is not a Hydra plugin; choose one with hydra/{key}=NAME"
            )


def _options(group: str, config_dir: Path | None) -> list[str]:
    """Names that a group offers, the user's own folder included."""
    from hydra.core.global_hydra import GlobalHydra

    own = [] if config_dir is None else [file.stem for file in (config_dir / group).glob("*.yaml")]
    return sorted({*GlobalHydra.instance().config_loader().get_group_options(group), *own})


def _diagnose(overrides: Sequence[str], config_dir: Path | None, error: Exception) -> BadConfig:
    """Turn Hydra's refusal into one message that names the nearest valid groups, options or keys."""
    from hydra import compose as hydra_compose
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    loader = GlobalHydra.instance().config_loader()
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as syntax:
        return BadConfig(f"{syntax}\nAn override is key=value; quote lists for the shell: 'search=[exact,hnsw]'")
    groups = []
    for override in parsed:
        options = _options(override.key_or_group, config_dir)
        if not options:
            continue
        groups.append(str(override.input_line))
        given = override.value()
        for value in given if isinstance(given, list) else [given]:
            if value is not None and str(value) not in options:
                return BadConfig(f"there is no {override.key_or_group}={value}; {nearest(str(value), options)}")
    try:
        known = hydra_compose("config", overrides=[*groups, *_searchpath(config_dir)])
    except HydraException:
        return BadConfig(str(error))
    top = sorted({*map(str, known), *loader.list_groups("")} - {"hydra"})
    for override in parsed:
        if str(override.input_line) not in groups and not override.is_add():
            wrong = _wrong_key(override.key_or_group, known, top)
            if wrong:
                return BadConfig(wrong)
    return BadConfig(str(error))


def _wrong_key(key: str, known: DictConfig, top: Sequence[str]) -> str | None:
    """What is wrong with a key, if anything: its first part that does not exist, and what does."""
    node: Any = known
    path = ""
    for part in key.split("."):
        valid = top if node is known else sorted(map(str, node)) if isinstance(node, Mapping) else []
        if part not in valid:
            return f"there is no {key}: {path or 'the configuration'} has no {part!r}; {nearest(part, valid)}"
        path = f"{path}.{part}" if path else part
        node = node.get(part)
    return None


def _plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain values, without Hydra's own part.

    Raises:
        BadConfig: a mandatory value is missing, or an interpolation cannot be resolved.
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
    return {str(key): value for key, value in plain.items()}  # type: ignore[union-attr]


def _choice(name: str, value: Any, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise BadConfig(f"{name}={value} does not exist; {nearest(str(value), allowed)}")
    return str(value)


def _positive(name: str, values: Any) -> tuple[int, ...]:
    values = values if isinstance(values, list) else [values]
    if not values or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in values):
        raise BadConfig(f"{name}={values}: whole numbers from 1 are needed, for instance {name}=[10,100]")
    return tuple(sorted(set(values)))


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
        if isinstance(cause, ValueError | TypeError):
            raise BadConfig(f"{node.get('_target_')}: {cause}") from error
        raise


def _encoders(config: Mapping[str, Any]) -> dict[str, Any]:
    """Stage → constructor of the encoder; the random stage is the same encoder without weights."""
    node = config["encoder"]
    if node is None:
        return {}
    wanted = config["stage"] if isinstance(config["stage"], list) else [config["stage"]]
    stages = {_choice("stage", stage, STAGES) for stage in wanted}
    if node.get("weights") == "none":
        stages = {"random"}
    nodes = {"random": {**node, "weights": "none"}, "pretrained": node}
    return {stage: partial(_build, nodes[stage]) for stage in ("random", "pretrained") if stage in stages}


def experiment(overrides: Sequence[str], config_dir: Path | None = None) -> Experiment:
    """Compose, check and instantiate the parts of one run.

    Raises:
        RetrievalBenchError: anything that the user can mend.
    """
    config = _plain(compose(overrides, config_dir))
    typed_allow = [o for o in overrides if o.lstrip("+").startswith("allow=")]
    if config["allow"] and not typed_allow:
        raise BadConfig("`allow` may be set on the command line only, not by a config file")
    if config["allow"]:
        sys.path[:0] = [str(Path.cwd()), *([] if config_dir is None else [str(config_dir.resolve())])]
    return assemble(config)


def assemble(config: dict[str, Any]) -> Experiment:
    """The live objects of a plain configuration, checked first."""
    Binder(CONF, config["allow"]).check({k: v for k, v in config.items() if k != "allow"})
    similarity = Similarity(_choice("similarity", config["similarity"], list(Similarity)))
    k, cuts = _positive("k", config["k"]), _positive("cuts", config["cuts"])
    if isinstance(config["seed"], bool) or not isinstance(config["seed"], int):
        raise BadConfig(f"seed={config['seed']}: a whole number is needed")
    encoders = _encoders(config)
    data = _build(config["data"])

    from retrieval_bench.experiment import Experiment

    return Experiment(
        config=config,
        data=data,
        encoders=encoders,
        embed=_build(config["embed"]),
        transforms={name: _build(node) for name, node in (config.get("transform") or {}).items()},
        search={name: _build(node) for name, node in (config.get("search") or {}).items()},
        metrics={name: _build(node) for name, node in (config.get("metric") or {}).items()},
        measure=_build(config["measure"]),
        loggers={name: partial(_build, node) for name, node in (config.get("logger") or {}).items()},
        similarity=similarity,
        k=k,
        cuts=cuts,
    )


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


def multirun(overrides: Sequence[str], config_dir: Path | None, task: Callable[[Experiment], None]) -> None:
    """A sweep through Hydra's own sweepers and launchers; `task` gets each job's experiment."""
    import hydra

    compose([o for o in overrides if o.lstrip("+~").startswith("hydra")], config_dir)  # guards before callbacks can run
    sys.argv = ["retrieval-bench", "-m", *overrides, *([] if config_dir is None else ["--config-dir", str(config_dir)])]
    job = partial(_job, task=task)
    hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)()


def _job(config: DictConfig, task: Callable[[Experiment], None]) -> None:
    task(assemble(_plain(config)))


def shown(overrides: Sequence[str], config_dir: Path | None = None) -> str:
    """The composed configuration as yaml."""
    import yaml

    return str(yaml.safe_dump(_plain(compose(overrides, config_dir)), sort_keys=False))


def reopen(config: Mapping[str, Any]) -> Experiment:
    """The live objects of a finished run, from the configuration in its record."""
    return assemble({**config, "paths": _plain(compose([]))["paths"]})
