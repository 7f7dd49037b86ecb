"""Points that look like a real run's: two stages, three backends, several efforts, one failed index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

EXACT_LABELS = {
    "random": {"hit_rate@1": 0.132, "hit_rate@10": 0.315, "recall@10": 0.081, "r_precision": 0.049, "map_at_r": 0.021},
    "pretrained": {
        "hit_rate@1": 0.651,
        "hit_rate@10": 0.873,
        "recall@10": 0.402,
        "r_precision": 0.281,
        "map_at_r": 0.193,
    },
}
CURVES: dict[str, list[tuple[int | None, float, float]]] = {  # effort, ann_recall, p50 in ms at 20,480 vectors
    "exact": [(None, 1.0, 1.84)],
    "ivf": [(1, 0.412, 0.021), (4, 0.748, 0.052), (16, 0.957, 0.171), (64, 0.999, 0.634)],
    "hnsw": [(16, 0.871, 0.047), (32, 0.941, 0.078), (64, 0.979, 0.131), (128, 0.994, 0.236)],
}
KNOBS = {"exact": None, "ivf": "nprobe", "hnsw": "ef", "lsh": None, "null": None}
FAMILIES = {"exact": "exact", "ivf": "inverted list", "hnsw": "graph", "lsh": "LSH", "null": "other"}
BUILDS = {
    "exact": (0.0, 104_857_600, 104_900_000),
    "ivf": (0.61, 105_900_000, 131_000_000),
    "hnsw": (4.37, 110_300_000, 148_000_000),
}


def _interval(row: dict[str, Any], name: str, value: float, half: float) -> None:
    row[name], row[f"{name}_lo"], row[f"{name}_hi"] = value, value - half, value + half


def fake_row(stage: str, index: str, effort: int | None, k: int | None, seed: int = 0) -> dict[str, Any]:
    """One operating point without its numbers."""
    return {
        "run_id": "3f2a90c1", "stage": stage, "data": "glyphs", "encoder": "efficientnet_lite0", "dim": 1280,
        "n_gallery": 20_480, "n_queries": 4_096, "similarity": "cosine", "index": index, "index_params": "{}",
        "family": FAMILIES[index], "exact": index == "exact", "functional": False,
        "knob": KNOBS[index], "effort": effort, "build_seed": seed, "k": k, "threads": 2, "half": "all",
        "status": "ok", "error": None,
    }  # fmt: skip


def measured_row(
    stage: str, index: str, point: tuple[int | None, float, float], k: int, seed: int = 0
) -> dict[str, Any]:
    """One operating point with numbers."""
    effort, recall, p50 = point
    row = fake_row(stage, index, effort, k, seed)
    shift = 0.004 * seed
    _interval(row, "ann_recall", recall - (0 if index == "exact" else shift), 0.004 * (recall < 1))
    for name, value in EXACT_LABELS[stage].items():
        if name == "recall@10" and k < 10:
            continue
        _interval(row, f"exact_{name}", value, 0.012)
        blank = name in {"r_precision", "map_at_r"} and k < 40
        loss = 0.08 * value * (1 - recall)
        _interval(row, name, np.nan if blank else value - loss, 0.012)
        _interval(row, f"ann_loss_{name}", np.nan if blank else loss, 0.3 * loss)
    for name, factor in (("p50", 1.0), ("p95", 1.31), ("p99", 1.62), ("mean", 1.04)):
        _interval(row, f"latency_{name}_ms", p50 * factor, 0.03 * p50)
    build_s, size, memory = BUILDS[index]
    row |= {
        "latency_floor_ms": 0.0009, "encode_ms": 11.7, "qps_single": 960 / p50, "qps_batch": 2400 / p50,
        "build_s": build_s, "index_bytes": size, "peak_rss_bytes": memory, "candidate_fraction": np.nan,
        "empty_rate": 0.0, "distance_ratio": 1 - 0.1 * (1 - recall),
    }  # fmt: skip
    return row


def build_points(
    stages: tuple[str, ...] = ("random", "pretrained"),
    depths: tuple[int, ...] = (10,),
    seeds: tuple[int, ...] = (0,),
    failed: str | None = "hnsw is not installed; type: pip install 'retrieval-bench[hnsw]'",
) -> pd.DataFrame:
    """A points table; `failed` is the error of one more index, of which nothing was measured."""
    rows = [
        measured_row(stage, index, point, k, seed)
        for stage in stages
        for k in depths
        for seed in seeds
        for index, curve in CURVES.items()
        for point in curve
    ]
    if failed:
        rows += [fake_row(stage, "lsh", None, None) | {"status": "failed", "error": failed} for stage in stages]
    rows += [
        fake_row(stage, "null", None, k) | {"latency_p50_ms": 0.0009, "ann_recall": np.nan}
        for stage in stages
        for k in depths
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def make_points() -> Callable[..., pd.DataFrame]:
    return build_points


@pytest.fixture
def points() -> pd.DataFrame:
    return build_points()
