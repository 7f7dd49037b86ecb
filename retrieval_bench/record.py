"""What a run leaves behind: files that are written whole or not at all, the record, and reading many runs at once."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from errno import EDQUOT, ENOSPC
from math import isfinite
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import yaml

from retrieval_bench.errors import BadConfig, CorruptInput, DamagedRecord, OutOfSpace, RunInUse
from retrieval_bench.hashing import json_digest

if TYPE_CHECKING:
    import pandas as pd  # imported where tables are made: a question to a finished run makes none

TRAINED = "trained"  # folder of a run with the weights that it trained
SCHEMA = 1
RUN, CACHE = "${run}", "${cache}"  # stand for the run folder and the cache in a stored configuration
PATHS = ("root", "table", "weights", "gallery", "queries", "train", "neighbours", "labels", "save_dir")
_HERE = ("paths", "allow", "force", "strict")  # of one command on one machine
_DICTS = ("config", "protocol", "environment", "seeds", "stages")
PART = re.compile(r"(?!.*\.\.)\w[\w.-]*")  # what a name that becomes part of a path is made of
_ROW = frozenset({"stage", "index", "index_params", "build_seed", "effort", "k", "half", "status"})


@contextmanager
def written_whole(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file that becomes `path` when the block ends without an error.

    Raises:
        OutOfSpace: the disk is full; the old `path`, if any, is untouched.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        make_folder(path.parent)
        with part.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise OutOfSpace(
                f"the disk of {path.parent} is full; free some space and type the same command again"
            ) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder. BadConfig: none can lie there, as in a pseudo file system, which says that it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:
        raise BadConfig(
            f"no folder can be made at {folder}; choose another place with paths.runs=FOLDER or paths.cache=FOLDER"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all. NaN becomes null."""
    with written_whole(path) as file:
        json.dump(_plain(value), file, indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    """JSON values: numpy's scalars become Python's, and a number that is none becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table, whole or not at all."""
    with written_whole(path, "wb") as file:
        table.to_parquet(file, index=False)


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Write yaml, whole or not at all."""
    with written_whole(path) as file:
        yaml.safe_dump(dict(value), file, sort_keys=False)


@contextmanager
def only_one(folder: Path, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold a run folder for this process.

    Args:
        waiting: told once if another process holds it, which is then waited for; none = that is an error.

    Raises:
        RunInUse: another process holds it.
    """
    from filelock import FileLock, Timeout

    make_folder(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        if waiting is None:
            raise RunInUse(
                f"another process is working in {folder}; wait for it, or give yours another place: paths.runs=FOLDER"
            ) from error
        waiting(f"another process is working in {folder}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def digest(*values: Any) -> str:
    """Short digest of JSON values; whatever is none counts as its text.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1})
    True
    """
    return json_digest(values, 6, default=str)


@dataclass(frozen=True)
class RunRecord:
    """One run, whole: configuration, protocol, environment and every row.

    Attributes:
        folder: where it lies (not part of the stored record).
        protocol: what has to be equal before numbers may be compared.
        stages: per stage the encoder, engine, unreadable items, queries with nothing relevant, tie bounds.
        rows: as `points.parquet`, one dict a row.
    """

    run_id: str
    name: str
    config: dict[str, Any]
    protocol: dict[str, Any]
    data_fingerprint: str
    environment: dict[str, Any]
    seeds: dict[str, Any]
    stages: dict[str, Any]
    rows: list[dict[str, Any]] = field(repr=False)
    schema: int = SCHEMA
    folder: Path = field(default=Path(), compare=False)

    @property
    def points(self) -> pd.DataFrame:
        """One row per stage, index, build seed, effort, depth k and half of the queries."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` gives the same record back."""
        return dict(_plain({key: value for key, value in vars(self).items() if key != "folder"}))

    @classmethod
    def from_json(cls, value: Mapping[str, Any], folder: Path = Path()) -> RunRecord:
        """The record that `to_json` wrote."""
        return cls(**value, folder=folder)

    @classmethod
    def load(cls, folder: Path) -> RunRecord:
        """Read a finished run.

        Raises:
            BadConfig: no finished run lies there. DamagedRecord: the record is cut off or was changed. CorruptInput:
            it is of another schema.
        """
        file = folder / "record.json"
        if not file.exists():
            raise BadConfig(f"{folder} holds no finished run; {_near(folder)}")
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
            schema = value["schema"]
            record = cls.from_json(value, folder) if schema == SCHEMA else None
            if record is not None:
                _check_shape(record)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DamagedRecord(
                f"{file} is damaged ({error}); type the command of that run again: it makes the record anew from"
                f" {folder / 'results'}, and measures nothing twice"
            ) from error
        if record is None:
            raise CorruptInput(f"{file} has schema {schema}, this version {SCHEMA}; run it again with force=true")
        return record


def _check_shape(record: RunRecord) -> None:
    """Raise ValueError where a part is not what a run writes: the record was changed by hand, or by a program."""
    wrong = [name for name in _DICTS if not isinstance(getattr(record, name), dict)]
    if not isinstance(record.rows, list) or not all(
        isinstance(row, dict) and row.keys() >= _ROW for row in record.rows
    ):
        wrong.append("rows")
    if wrong:
        raise ValueError(f"{', '.join(wrong)} not as a run writes them")
    parts = {*record.stages, *(row[key] for row in record.rows for key in ("stage", "index"))}
    strange = sorted(repr(part) for part in parts if not (isinstance(part, str) and PART.fullmatch(part)))
    if strange:
        raise ValueError(f"{', '.join(strange)}: no name of a stage or an index")


def _near(folder: Path) -> str:
    """Where finished runs lie: below a folder that exists, else beside it, the likest names first."""
    if (folder / "config.yaml").exists():
        return "it was begun and not finished: type the same command again, and it goes on from there"
    for place, depth in ((folder, 3), (folder.parent, 1), (Path("runs"), 2)):
        patterns = ["/".join(["*"] * n + ["record.json"]) for n in range(depth + 1)]
        runs = sorted({str(file.parent) for pattern in patterns for file in place.glob(pattern)})
        if runs:
            likest = get_close_matches(str(folder), runs, n=5, cutoff=0.0)
            where = "below it" if place == folder else "near it, the likest first"
            return f"finished runs {where}: {', '.join(likest)}"
    return "a run folder is printed at the end of each run: runs/NAME/RUN"


def portable(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A configuration without this machine in it: the cache is named so, other paths are relative to `folder`.

    A path is what stands under a key of `PATHS`, and whatever is absolute.

    >>> portable({"paths": {"cache": "/c"}, "data": {"root": "/a/b", "cache": "/c", "n": 3}}, Path("/a/runs/1"))
    {'data': {'root': '${run}/../../b', 'cache': '${cache}', 'n': 3}}
    """
    cache = str(config["paths"]["cache"])

    def moved(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(name): moved(str(name), inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [moved(key, inner) for inner in value]
        if not isinstance(value, str):
            return value
        if value == cache:
            return CACHE
        here = Path(value).is_absolute() or (key in PATHS and Path(value).exists())
        return f"{RUN}/{os.path.relpath(value, folder)}" if here else value

    return {str(key): moved(str(key), value) for key, value in config.items() if key not in _HERE}


def restored(config: Mapping[str, Any], folder: Path, cache: str) -> dict[str, Any]:
    """What `portable` made portable, for this machine and the run folder `folder`.

    >>> restored({"data": {"root": "${run}/../b", "cache": "${cache}"}}, Path("/runs/1"), "/c")
    {'data': {'root': '/runs/b', 'cache': '/c'}}
    """

    def moved(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): moved(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [moved(inner) for inner in value]
        if isinstance(value, str) and value.startswith(f"{RUN}/"):
            return os.path.normpath(folder / value.removeprefix(f"{RUN}/"))
        return cache if value == CACHE else value

    return {key: moved(value) for key, value in config.items()}


Progress = Callable[[str, int, int], None]  # task, done, total
