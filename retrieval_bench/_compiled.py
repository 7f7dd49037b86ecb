"""numba's compiler, with a cache that several processes may fill at once.

numba numbers the files of a cache by what its index names, and takes no lock: two processes that keep code for
different types of one function at the same moment may take the same number; then one type gets the other's code, for
good.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from filelock import FileLock
from numba import njit
from numba.core.caching import IndexDataCacheFile

__all__ = ["njit"]


def _one_at_a_time(save: Callable[[Any, Any, Any], None]) -> Callable[[Any, Any, Any], None]:
    @wraps(save)
    def keep(self: Any, key: Any, data: Any) -> None:
        with FileLock(f"{self._cache_path}.lock"):
            save(self, key, data)

    return keep


IndexDataCacheFile.save = _one_at_a_time(IndexDataCacheFile.save)  # type: ignore[method-assign]
