import gc
from typing import NamedTuple

import numpy as np
from numba import njit

from retrieval_bench.search._handle import held


class Part(NamedTuple):
    values: np.ndarray
    factor: float


@njit
def total(handle):
    part, more = handle.parts
    return part.values.sum() * part.factor + more[0]


def test_compiled_code_reads_the_parts_and_the_handle_keeps_them_alive():
    handle = held((Part(np.arange(1000.0), 2.0), np.array([5])))
    gc.collect()
    assert total(handle) == 2 * 499_500 + 5
    assert total(held((Part(np.arange(3, dtype=np.float32), 1.0), np.array([0.5])))) == 3.5, "other types, other code"
