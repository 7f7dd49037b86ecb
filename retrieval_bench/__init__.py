"""Image and video retrieval measured end to end: encoder and index in one experiment."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

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
