"""Products of 8-bit vectors against plain integers."""

import numpy as np
import pytest
from llvmlite.binding import get_host_cpu_features
from numba import njit

from retrieval_bench import _simd
from retrieval_bench._simd import dot_u8, dot_u8_portable, squared_u8, squared_u8_portable

PAIRS = [(dot_u8, squared_u8), (dot_u8_portable, squared_u8_portable)]


@pytest.mark.parametrize(("dot", "squared"), PAIRS, ids=["vector", "portable"])
def test_every_length_up_to_300_and_some_beyond(dot, squared):
    rng = np.random.default_rng(3)
    for dim in (*range(301), 512, 1000, 1024, 33_000):
        # Ends of arrays are where a wrong tail would read on: what follows must not count.
        left, right = rng.integers(0, 256, (2, dim + 64), dtype=np.uint8)
        wide, other = left[:dim].astype(np.int64), right[:dim].astype(np.int64)
        assert dot(left[:dim], right[:dim]) == wide @ other
        assert squared(left[:dim], right[:dim]) == ((wide - other) ** 2).sum()


@pytest.mark.parametrize(("dot", "squared"), PAIRS, ids=["vector", "portable"])
@pytest.mark.parametrize("dim", [1, 63, 64, 65, 128, 191, 33_000])
def test_extremes(dot, squared, dim):
    full, none = np.full(dim, 255, np.uint8), np.zeros(dim, np.uint8)
    assert dot(full, full) == 255**2 * dim
    assert dot(full, none) == dot(none, full) == dot(none, none) == 0
    assert squared(full, none) == squared(none, full) == 255**2 * dim
    assert squared(full, full) == 0


def test_they_are_called_from_compiled_code_on_rows():
    @njit
    def all_pairs(left, right):
        out = np.empty((len(left), len(right), 2), np.int64)
        for i in range(len(left)):
            for j in range(len(right)):
                out[i, j, 0], out[i, j, 1] = dot_u8(left[i], right[j]), squared_u8(left[i], right[j])
        return out

    rng = np.random.default_rng(4)
    left, right = rng.integers(0, 256, (3, 70), dtype=np.uint8), rng.integers(0, 256, (5, 70), dtype=np.uint8)
    wide, other = left.astype(np.int64), right.astype(np.int64)
    got = all_pairs(left, right)
    np.testing.assert_array_equal(got[..., 0], wide @ other.T)
    np.testing.assert_array_equal(got[..., 1], ((wide[:, None] - other) ** 2).sum(-1))


def test_the_instruction_is_used_where_the_processor_has_it_and_nowhere_else():
    row = np.zeros(64, np.uint8)
    fresh = njit(dot_u8.py_func)  # compiled here: code from the cache on disk cannot be looked at
    fresh(row, row)
    has = bool(get_host_cpu_features().get("avx512vnni"))
    assert ("vpdpbusd" in "".join(fresh.inspect_asm().values())) is has


def test_without_the_instruction_the_compiled_code_takes_the_plain_loop(monkeypatch):
    """As on another processor: compiled anew with the instruction out of sight, the answers stay."""
    monkeypatch.setattr(_simd, "target_has_vnni", lambda context: False)
    rng = np.random.default_rng(5)
    left, right = rng.integers(0, 256, (2, 200), dtype=np.uint8)
    for vector, want in (
        (dot_u8, left.astype(int) @ right),
        (squared_u8, ((left.astype(int) - right) ** 2).sum()),
    ):
        fresh = njit(vector.py_func)
        assert fresh(left, right) == want
        assert "vpdpbusd" not in "".join(fresh.inspect_asm().values())


def test_the_features_that_decide_are_part_of_the_key_of_the_cache():
    """A cache on disk that moves to another processor is not used there."""
    from numba.core.registry import cpu_target

    dot_u8(np.zeros(1, np.uint8), np.zeros(1, np.uint8))
    context = cpu_target.target_context
    features = context.codegen().magic_tuple()[2]
    assert _simd.target_has_vnni(context) is all(name in features.split(",") for name in _simd.NEEDED)
    assert features in str(dot_u8._cache._index_key(dot_u8.signatures[0], context.codegen()))
