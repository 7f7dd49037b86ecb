"""Another run as the base of a new one: `from=RUN` takes over its configuration, and with it its embeddings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from retrieval_bench.binding import TRAINING
from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.record import CACHE, PATHS, RUN, RunRecord, restored

# These decide the embeddings, so they come from the run; of `embed` a few do not decide anything.
TAKEN = ("data", "encoder", "pool", "embed")
_FREE_OF_EMBED = ("batch_size", "workers", "max_unreadable")
_CHOSEN = ("transform", "search", "metric")
_VALUES = ("name", "seed", "stage", "similarity", "k", "cuts")
_FREE = "search, k, cuts, metric, measure, similarity, transform, seed, name, logger, and data.root of data that moved"
AS_IN_RUN = "as_in_run"  # what the run's own choice of a group is called


@dataclass(frozen=True, eq=False)
class Origin:
    """A finished run that another one starts from.

    Attributes:
        config: its configuration for this machine; the cache is left open as `${paths.cache}`.
    """

    record: RunRecord
    config: dict[str, Any]

    @classmethod
    def of(cls, run: Path) -> Origin:
        """Read a run; it may be another person's.

        Raises:
            BadConfig: no finished run lies there; names the nearest. CorruptInput: its record is damaged, of another
            schema, or its configuration is none that `run` writes.
        """
        record = RunRecord.load(run)
        for where, value in _leaves(record.config):
            own = value.removeprefix(RUN) if isinstance(value, str) and value != CACHE else ""
            if "${" in own:
                raise CorruptInput(f"{run}: {where}={value} is not what a run writes; its record was changed")
        single = [record.config.get("measure"), *([moment] if (moment := record.config.get("moment")) else [])]
        whole = all(isinstance(node, dict) and "_target_" in node and "defaults" not in node for node in single)
        parts = [record.config.get(group) or {} for group in _CHOSEN]
        known = all(isinstance(part, dict) for part in parts) and {*TAKEN, *_VALUES} <= {*record.config}
        if not known or not whole:
            raise CorruptInput(f"{run}: its configuration is not what a run writes")
        return cls(record, restored(record.config, record.folder, "${paths.cache}"))

    def write(self, shipped: Path, folder: Path) -> None:
        """Write it as configuration files into an empty folder that stands before the `shipped` one.

        Names of the run's own indexes, metrics and transforms then mean the run's parameters.

        Raises:
            CorruptInput: a part of the run has a name that no override can give.
        """
        config = yaml.safe_load((shipped / "config.yaml").read_text(encoding="utf-8"))
        chosen = {group: dict(self.config.get(group) or {}) for group in _CHOSEN}
        for group, parts in chosen.items():
            for name, node in parts.items():
                if not re.fullmatch(r"\w[\w-]*", name) or "_target_" not in node or "defaults" in node:
                    raise CorruptInput(f"{self.record.folder}: {group}.{name} is not what a run writes")
                _write(folder / group / f"{name}.yaml", f"# @package {group}.{name}\n", node)
        single = [name for name in ("measure", "moment") if self.config.get(name)]
        for name in single:
            _write(folder / name / f"{AS_IN_RUN}.yaml", "", self.config[name])
        config["defaults"] = [
            *({name: AS_IN_RUN} for name in single),
            *({group: list(parts)} for group, parts in chosen.items()),
            {"logger": ["csv"]},
            "_self_",
        ]
        config |= {key: self.config[key] for key in (*TAKEN, *_VALUES)}
        config |= {key: self.config[key] for key in TRAINING if key in self.config}
        _write(folder / "config.yaml", "", config)

    def refuse(self, keys: Sequence[str]) -> None:
        """Refuse keys of the command line that would make other embeddings. Raises BadConfig.

        Where the data lie is free: that they are the same is checked by their fingerprint.
        """
        for key in keys:
            group, _, rest = key.partition("@")[0].lstrip("+~").partition(".")
            if group == "experiment":
                raise BadConfig(f"{key}= and from= both set a whole configuration; leave one of them out")
            free = (group == "embed" and rest in _FREE_OF_EMBED) or (group == "data" and rest in PATHS)
            if group in (*TAKEN, *TRAINING) and not free:
                raise BadConfig(
                    f"{key}= decides the embeddings, and from= takes over those of {self.record.folder}; leave one of"
                    f" them out. Free to choose with from=: {_FREE}"
                )

    def check(self, config: Mapping[str, Any]) -> None:
        """The last word, on the composed configuration: the same embeddings, and stages that the run has.

        Raises:
            BadConfig: they are not.
        """
        own = restored(self.record.config, self.record.folder, str(config["paths"]["cache"]))
        for key in (*TAKEN, *TRAINING):
            free = PATHS if key == "data" else _FREE_OF_EMBED
            if _without(config.get(key), free) != _without(own.get(key), free):
                self.refuse([key])
        stages = config["stage"] if isinstance(config["stage"], list) else [config["stage"]]
        has = own["stage"] if isinstance(own["stage"], list) else [own["stage"]]
        if set(stages) - set(has):
            raise BadConfig(
                f"stage={stages}: {self.record.folder} has embeddings of stage={has} only; type one of these, or leave"
                " out from="
            )


def _without(node: Any, keys: Sequence[str]) -> Any:
    return {k: v for k, v in node.items() if k not in keys} if isinstance(node, Mapping) else node


def moved(config: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """A run's configuration for data that lie below `root` now; files that lay in the old folder are looked for there.

    Raises:
        BadConfig: these data are read from no folder.
    """
    data = dict(config["data"])
    if "root" not in data:
        raise BadConfig(f"--root {root}: the data of this run are read from no folder; leave it out")
    for key in sorted({*PATHS} & {*data} - {"root"}):
        file = data[key]
        if isinstance(file, str) and not Path(file).exists():
            inside = os.path.relpath(file, data["root"] or Path(file).parent)
            data[key] = str(root / inside) if (root / inside).exists() else file
    return {**config, "data": data | {"root": str(root)}}


def _leaves(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value below a node, and every key, which could hold an interpolation as well."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield where, str(key)
            yield from _leaves(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, list):
        for value in node:
            yield from _leaves(value, where)
    else:
        yield where, node


def _write(file: Path, head: str, value: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(head + yaml.safe_dump(dict(value), sort_keys=False), encoding="utf-8")
