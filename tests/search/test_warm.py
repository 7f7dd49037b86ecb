"""What a backend loads before it is measured is all that it will need, also where it reads what another one saved."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval_bench.cli import CONF

BODY = """
import json, sys
from pathlib import Path

import numpy as np
from numba.core.dispatcher import Dispatcher

from retrieval_bench.doctor import shipped_backend
from retrieval_bench.types import Similarity

file, folder, dtype = Path(sys.argv[1]), Path(sys.argv[2]), np.dtype(sys.argv[3])


def compiled():
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith("retrieval_bench")]
    known = {id(each): each for module in modules for each in vars(module).values() if isinstance(each, Dispatcher)}
    return {f"{each.py_func.__module__}.{each.py_func.__name__}": len(each.signatures) for each in known.values()}


index, other = shipped_backend(file)(), shipped_backend(file)()
for each in (index, other):
    each.warm(dtype)
    each.set_threads(1)
before = compiled()
rng = np.random.default_rng(0)
gallery = rng.integers(0, 256, (400, 24)).astype(dtype)
queries = rng.integers(0, 256, (9, 24)).astype(np.float32)
index.build(gallery, Similarity.EUCLIDEAN, 0)
effort = None if index.knob is None else max(index.efforts)
for part in (queries[:1], queries):
    index.search(part, 5, effort)
index.save(folder)
other.load(folder)
for part in (queries[:1], queries):
    other.search(part, 5, effort)
after = compiled()
print(json.dumps([sum(before.values()), {name: n for name, n in after.items() if n != before.get(name, 0)}]))
"""
NAMES = ["exact", "simhash", "cross_polytope", "e2lsh", "minhash_lsh", "datasketch_lsh", "ivf_pq", "rabitq"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_compiled_after_it(name: str, dtype: str, tmp_path: Path) -> None:
    """In a process of its own: in this one others may have compiled it."""
    (tmp_path / "saved").mkdir()
    command = [sys.executable, "-c", BODY, str(CONF / "search" / f"{name}.yaml"), str(tmp_path / "saved"), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded, later = json.loads(done.stdout.splitlines()[-1])
    assert loaded > 0 and later == {}
