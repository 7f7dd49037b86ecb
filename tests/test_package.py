"""The package itself: what importing it does."""

import os
import subprocess
import sys
from pathlib import Path

import retrieval_bench

SOURCES = Path(retrieval_bench.__file__).parent


def folder_of(package: Path, **changes: str) -> str:
    """The folder of compiled kernels that a fresh process uses with the package at this place."""
    kept = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    code = "import os, retrieval_bench; print(os.environ['NUMBA_CACHE_DIR'])"
    environment = kept | {"PYTHONPATH": str(package.parent)} | changes
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_compiled_code_of_other_sources_is_not_used(tmp_path: Path) -> None:
    copy = tmp_path / "retrieval_bench"
    copy.mkdir()
    for name in ("__init__.py", "_tiles.py"):
        (copy / name).write_bytes((SOURCES / name).read_bytes())
    cache = {"RETRIEVAL_BENCH_CACHE": str(tmp_path / "cache")}
    before = folder_of(copy, **cache)
    assert Path(before).parent == tmp_path / "cache" / "compiled"
    assert folder_of(copy, **cache) == before
    (copy / "_tiles.py").write_text((copy / "_tiles.py").read_text() + "# edited\n")
    assert folder_of(copy, **cache) != before
    assert folder_of(copy, NUMBA_CACHE_DIR="mine") == "mine", "the user's own choice stays"
