"""Memory that training frees at every step stays with the process."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# malloc.h of glibc: what is set, what training wants, and what mallopt(3) gives as the default.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_KEEP = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}
_DEFAULT = {_TRIM_THRESHOLD: 128 * 1024, _MMAP_MAX: 65_536}


@contextmanager
def kept_heap() -> Iterator[None]:
    """Let freed blocks be used again instead of going back to the system, until the end; then they go back.

    glibc maps each large block anew, and the system clears its pages one by one: on a CPU that is a third of the time
    of a forward and backward pass of a small CNN. Elsewhere than on glibc nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    for name, value in _KEEP.items():
        library.mallopt(name, value)
    try:
        yield
    finally:
        for name, value in _DEFAULT.items():
            library.mallopt(name, value)
        library.malloc_trim(0)
