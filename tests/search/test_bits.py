import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from numba import njit, uintp

from retrieval_bench.search._bits import BLOCK, at_most, lowest_bit, popcount, prefetch


@njit
def bits_of(words, out):
    for i in range(len(words)):
        out[i, 0], out[i, 1] = popcount(words[i]), lowest_bit(words[i])


def test_set_bits_and_the_lowest():
    words = np.random.default_rng(0).integers(1, 2**64, 500, dtype=np.uint64)
    words[:64] = np.uint64(1) << np.arange(64, dtype=np.uint64)
    words[64] = 2**64 - 1
    out = np.empty((500, 2), np.int64)
    bits_of(words, out)
    assert out[:, 0].tolist() == [int(word).bit_count() for word in words]
    assert out[:, 1].tolist() == [(int(word) & -int(word)).bit_length() - 1 for word in words]


@njit
def within(values, start, limit):
    return at_most(uintp(values.ctypes.data) + uintp(start), np.uint8(limit))


def test_bytes_within_a_limit():
    values = np.random.default_rng(1).integers(0, 256, BLOCK + 7, dtype=np.uint8)
    for start in (0, 1, 7):  # no alignment is needed
        for limit in (0, 1, 127, 128, 254, 255):
            expected = sum(1 << j for j in range(BLOCK) if values[start + j] <= limit)
            assert within(values, start, limit) == expected


@njit
def fetch(address):
    prefetch(uintp(address))
    return 1


def test_a_hint_may_point_anywhere():
    assert fetch(0) == fetch(12345) == 1


def test_a_processor_without_wide_vectors_gives_the_same(tmp_path: Path):
    """Compiled for the oldest 64-bit processor of this kind: no popcount, no 512-bit registers."""
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    names = ("test_set_bits_and_the_lowest", "test_bytes_within_a_limit", "test_a_hint_may_point_anywhere")
    code = f"import runpy; tests = runpy.run_path({__file__!r}); [tests[name]() for name in {names}]"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **plain}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
