"""What a config file may not do with Hydra's own configuration: run foreign code, or read and write foreign files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from retrieval_bench.errors import BadConfig

# What of Hydra's own configuration a config file could use to run foreign code, or to read or write foreign files.
_GUARDED = (
    "callbacks",
    "job_logging",
    "hydra_logging",
    "searchpath",
    "launcher",
    "env",
    "output_subdir",
    "run",
    "sweep",
)
_GUARDED_JOB = ("chdir", "env_set")
# Exact shapes, since a longer dotted path would reach whatever a plugin's module imports, `os` for instance.
_PLUGIN = re.compile(
    r"hydra\._internal\.core_plugins\.\w+\.Basic(Launcher|Sweeper)|hydra_plugins(\.\w+){1,2}\.\w*(Launcher|Sweeper)"
    r"|optuna\.samplers\.\w+Sampler"
)


def guard_hydra(targets: Iterable[str], given: Any, shipped: Any) -> None:
    """Refuse config files that reach for Hydra's callbacks, logging, paths, environment or foreign plugins.

    `given` and `shipped` are Hydra's part as plain values, with the config files and without. Raises BadConfig.
    """
    for target in targets:
        if not _PLUGIN.fullmatch(target):
            raise BadConfig(
                f"a config file sets _target_ {target} within hydra, which is not a Hydra plugin; "
                "choose one with hydra/launcher=NAME or hydra/sweeper=NAME"
            )
        _need_plugin(target)
    changed = [key for key in _GUARDED if given[key] != shipped[key]]
    changed += [f"job.{key}" for key in _GUARDED_JOB if given["job"][key] != shipped["job"][key]]
    swept = (given["sweeper"] or {}).get("params") or {}
    changed += [f"sweeper.params.{key}" for key in swept if str(key).lstrip("+~").startswith("hydra")]
    spaces = (given["sweeper"] or {}).get("spaces") or []
    spaced = [str(key) for space in spaces for key in space]
    changed += [f"sweeper.spaces.{key}" for key in spaced if key.lstrip("+~").startswith("hydra")]
    if changed:
        raise BadConfig(
            f"a config file sets hydra.{changed[0]}, which could run foreign code; only the command line may set it"
        )


def _need_plugin(target: str) -> None:
    """Raise BadConfig where a plugin's package is not installed."""
    package = ".".join(target.split(".")[:2])
    try:
        found = find_spec(package) is not None
    except ModuleNotFoundError:  # no plugin at all is installed
        found = False
    if package.startswith("hydra_plugins.") and not found:
        name = package.partition(".")[2].replace("_", "-")
        extra = "'retrieval-bench[sweep]'" if name == "hydra-joblib-launcher" else name
        raise BadConfig(f"{package} is not installed; type: pip install {extra}")


def hydra_targets(node: Any, unknown: type[Exception], depth: int = 0) -> Iterator[str]:
    """Every `_target_` below a node, with interpolations followed as Hydra would follow them.

    `unknown` is what the node raises for a value that is not known before a job starts (its number, its folder).
    """
    if depth > 20:
        raise BadConfig("a config file nests hydra's own configuration without end")
    for key in node if isinstance(node, Mapping) else range(len(node)):
        try:
            value = node[key]
        except unknown:
            continue
        if key == "_target_":
            yield str(value)
        if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str)):
            yield from hydra_targets(value, unknown, depth + 1)
