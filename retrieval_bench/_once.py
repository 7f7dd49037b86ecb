"""What a cache keeps is made once: under a lock, in a folder of another name that is renamed when it is complete."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from retrieval_bench.errors import BadConfig, OutOfSpace

Value = TypeVar("Value")


def once(place: Path, load: Callable[[], Value | None], make: Callable[[Path], object]) -> Value:
    """What is in a folder of the cache, made by one process while others wait.

    It is made in a folder of another name, which is then renamed: a killed process leaves nothing that looks finished.

    Args:
        place: the folder.
        load: what is in it, or none if it is not there or damaged.
        make: writes into the folder that it is given.

    Raises:
        OutOfSpace: the disk of the cache is full. BadConfig: the cache cannot be written.
    """
    found = load()
    if found is not None:
        return found
    part = place.with_name(place.name + ".part")
    with writing(place.parent), FileLock(f"{place}.lock"):
        found = load()
        if found is None:
            for leftover in (part, place):
                shutil.rmtree(leftover, ignore_errors=True)
            part.mkdir()
            try:
                make(part)
                part.rename(place)
            finally:
                shutil.rmtree(part, ignore_errors=True)  # a full disk gets its space back at once
            found = load()
    if found is None:
        raise BadConfig(f"what was written to {place} could not be read back; type paths.cache=FOLDER")
    return found


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """For writing into a folder of the cache, which is made: what the system says becomes what a user can do.

    Raises:
        OutOfSpace: the disk of the cache is full. BadConfig: the cache cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(
                f"the disk of {folder} is full; free about 1 GB, or type paths.cache=FOLDER for a folder on another"
                " disk"
            ) from error
        raise BadConfig(f"the cache {folder} cannot be written ({error}); type paths.cache=FOLDER") from error
