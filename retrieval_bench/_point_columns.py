"""What a row of `points` says besides metrics: which point it is, what the index costs, and its times."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._results import IndexResult, PointResult
from retrieval_bench.moment_points import costs
from retrieval_bench.seeds import seed_interval
from retrieval_bench.stats import Interval, latency_intervals

if TYPE_CHECKING:
    from retrieval_bench.points import Stage


def identity(stage: Stage, result: IndexResult) -> dict[str, Any]:
    """What all rows of an index with one build seed have in common."""
    build = result.build
    return {
        "stage": stage.name,
        "dim": stage.gallery.dim,
        "n_gallery": len(stage.gallery),
        "n_queries": len(stage.queries),
        "similarity": str(stage.similarity),
        "index": build["index"],
        "backend": build["target"],
        "family": build["family"],
        "exact": build["exact"],
        "index_params": json.dumps(build["params"], sort_keys=True),
        "knob": build["knob"],
        "effort": None,
        "build_seed": build["build_seed"],
        "k": None,
        "threads": 1,  # of the latencies
        "build_threads": build["threads"],
        "encode_ms": stage.encode_ms,
        "build_s": build["build_s"],
        "index_bytes": build["index_bytes"],
        "peak_rss_bytes": build["peak_rss_bytes"],
        "functional": bool(build["functional"]),  # its latency is not to be ranked
        **costs(stage.moments, stage.gallery),
        **_per_hour(build["index_bytes"], stage.video_hours),
    }


def _per_hour(size: int | None, hours: float) -> dict[str, float | None]:
    """Bytes of the index for each hour of the gallery's videos; no column where these are no videos."""
    return {"bytes_per_hour": None if size is None else size / hours} if hours > 0 else {}


def latency(point: PointResult, queries: NDArray[np.bool_] | slice, seed: int) -> dict[str, Interval]:
    """Latency figures over some of the timed queries; nothing where none was timed."""
    return {} if point.timing is None else latency_intervals(point.timing.nanoseconds[:, queries], seed)


def served(point: PointResult, seed: int) -> dict[str, Any]:
    """Queries a second of all clients together, and each query's milliseconds: means over rounds, with t-intervals."""
    if point.clients is None or not point.rounds:
        return {}
    columns: dict[str, list[float]] = {
        "qps_clients": [len(served.nanoseconds) / served.seconds for served in point.rounds]
    }
    for name, share in (("clients_p50_ms", 0.5), ("clients_p99_ms", 0.99)):
        columns[name] = [float(np.quantile(served.nanoseconds, share)) / 1e6 for served in point.rounds]
    seconds = round(point.clients.seconds * len(point.rounds), 9)
    row: dict[str, Any] = {"clients": point.clients.count, "client_seconds": seconds}
    for name, values in columns.items():
        found = seed_interval(values, seed)
        row |= {name: found.value, f"{name}_lo": found.lo, f"{name}_hi": found.hi}
    return row
