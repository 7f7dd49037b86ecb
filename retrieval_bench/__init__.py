"""Image and video retrieval measured end to end: encoder and index in one experiment."""

from __future__ import annotations

import importlib
import os
from hashlib import blake2b
from pathlib import Path
from typing import Any

__version__ = "0.1.0"


def _keep_compiled_code_apart() -> None:
    """Compiled kernels of other sources than these are never run.

    numba's own check looks at the file of a function alone, not at those of the functions that it calls. So what it
    compiles lies in a folder that is named by all sources of this package; worker processes inherit the variable.
    """
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    sources = blake2b(digest_size=8)
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        sources.update(file.read_bytes())
    root = os.environ.get("RETRIEVAL_BENCH_CACHE")
    if root is None:
        from platformdirs import user_cache_dir

        root = user_cache_dir("retrieval_bench")
    os.environ["NUMBA_CACHE_DIR"] = str(Path(root).absolute() / "compiled" / sources.hexdigest())


_keep_compiled_code_apart()

# Public name -> the module that holds it. Resolved on first use, so that `import retrieval_bench` costs nothing.
_WHERE = {
    "run": "cli",
    "load_runs": "runs",
    "compare": "comparison",
    "RunRecord": "record",
    "Similarity": "types",
    "Embeddings": "types",
    "GroundTruth": "types",
    "SearchResult": "types",
    "Judgement": "types",
}
__all__ = [
    "Embeddings",
    "GroundTruth",
    "Judgement",
    "RunRecord",
    "SearchResult",
    "Similarity",
    "compare",
    "load_runs",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'retrieval_bench' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"retrieval_bench.{_WHERE[name]}"), name)
