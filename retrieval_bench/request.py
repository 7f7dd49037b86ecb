"""What a user typed, and the folders that its configurations are composed from."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from retrieval_bench.errors import BadConfig
from retrieval_bench.overrides import origin_run

if TYPE_CHECKING:
    from retrieval_bench.origin import Origin


@dataclass(frozen=True)
class Request:
    """Overrides, and where configurations lie.

    Attributes:
        overrides: without `from=`. origin: the run that it names.
        config_dir: the user's own folder, if there is one.
        folders: `config.yaml` lies in the first; a name that several offer means the first one's.
    """

    overrides: list[str]
    config_dir: Path | None
    origin: Origin | None
    folders: list[Path]

    @property
    def beside(self) -> list[str]:
        """What else decides what overrides mean: the run to start from, and the user's own configurations."""
        origin = [] if self.origin is None else [f"from={self.origin.record.run_id}"]
        return [*origin, *([] if self.config_dir is None else [f"--config-dir={self.config_dir.resolve()}"])]

    @property
    def searchpath(self) -> list[str]:
        """The override that tells Hydra of the folders behind the first."""
        more = ",".join(f"'file://{folder.resolve()}'" for folder in self.folders[1:])
        return [f"hydra.searchpath=[{more}]"] if more else []


@contextmanager
def requested(
    overrides: Sequence[str], config_dir: Path | None, shipped: Path, keys: Callable[[Sequence[str]], Sequence[str]]
) -> Iterator[Request]:
    """Find the folders; with `from=RUN`, make one of that run's configuration, which goes when the block ends.

    Args:
        shipped: the shipped configurations.
        keys: the keys of overrides, as Hydra parses them.

    Raises:
        BadConfig: a folder or run does not exist, or another override does not go with it. CorruptInput: the run.
    """
    if config_dir is not None and not config_dir.is_dir():
        raise BadConfig(f"--config-dir {config_dir} is not a folder")
    run, rest = origin_run(overrides)
    folders = [shipped] if config_dir is None else [shipped, config_dir]
    if run is None:
        yield Request(rest, config_dir, None, folders)
        return
    from retrieval_bench.origin import Origin  # pandas is not needed for other commands' mistakes

    origin = Origin.of(run)
    origin.refuse(keys(rest))
    with TemporaryDirectory(prefix="retrieval_bench_from_") as folder:
        origin.write(shipped, Path(folder))
        yield Request(rest, config_dir, origin, [Path(folder), *folders])


@contextmanager
def told_to_hydra(arguments: Sequence[str]) -> Iterator[None]:
    """Hydra's `main` reads the command line; and within this block it raises, instead of a traceback and an exit."""
    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["retrieval-bench", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]


def user_cache() -> str:
    """Where a user's cache lies on this system."""
    from platformdirs import user_cache_dir

    return user_cache_dir("retrieval_bench")
