"""A small finished run as a record, for those who tell of it, and the shipped loggers."""

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from retrieval_bench.record import RunRecord
from retrieval_bench.track import Story

CONF = Path(__file__).parents[2] / "conf" / "logger"
BLANK = {"knob": None, "effort": None, "k": 10, "half": "all", "status": "ok", "error": None, "build_seed": 0}
HISTORY = [
    {"epoch": 0, "step": 0, "loss": None, "val_hit_rate@1": 0.25},
    {"epoch": 1, "step": 12, "loss": 2.5, "val_hit_rate@1": 0.5},
]


def row(index: str, **more: Any) -> dict[str, Any]:
    return (
        {"stage": "trained", "index": index, "index_params": "{}", "dim": 8, "exact_hit_rate@10": 0.75} | BLANK | more
    )


ROWS = [
    row("null", latency_p50_ms=0.1),
    row("exact", **{"hit_rate@10": 0.75, "hit_rate@10_lo": 0.5}),
    row("hnsw", knob="ef", effort=32, **{"hit_rate@10": 0.5}),
    row("hnsw", knob="ef", effort=32, build_seed=1, **{"hit_rate@10": 0.7}),
    row("hnsw", knob="ef", effort=16, **{"hit_rate@10": 0.25}),
    row("hnsw", knob="ef", effort=16, half="tune", **{"hit_rate@10": 0.125}),
    row("lsh", status="failed", error="no such library | sorry"),
]


def told_run(folder: Path) -> Story:
    """A run that trained, in `folder/runs/study/3f2a90c1`."""
    place = folder / "runs" / "study" / "3f2a90c1"
    (place / "trained").mkdir(parents=True)
    (place / "trained" / "weights.safetensors").write_bytes(b"weights")
    (place / "trained" / "model_card.md").write_text("card")
    pictures = {}
    for name in ("pareto", "gallery"):
        pictures[name] = place / f"{name}.png"
        Image.new("RGB", (4, 3), (200, 30, 30)).save(pictures[name])
    record = RunRecord(
        run_id="3f2a90c1",
        name="study",
        config={"k": [10], "data": {"name": "glyphs", "an odd (key)": None}},
        protocol={"self": "removed by id"},
        data_fingerprint="f00d",
        environment={},
        seeds={},
        stages={"trained": {"training": {"history": HISTORY, "best": 1, "key": "abc"}}},
        rows=ROWS,
        folder=place,
    )
    return Story(record, pictures)


def factory(name: str, **changes: Any) -> "partial[Any]":
    """A shipped logger, with what its yaml takes from elsewhere in the configuration filled in."""
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    module, _, target = node.pop("_target_").rpartition(".")
    assert node.pop("_partial_") is True
    filled = {key: {"${name}": "study", "${paths.runs}": None}.get(str(value), value) for key, value in node.items()}
    return partial(getattr(import_module(module), target), **(filled | changes))
