"""`retrieval-bench doctor` and `data`: what works here, what does not, and what to type."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from retrieval_bench.data.base import Dataset, Items, VectorDataset
from retrieval_bench.errors import CorruptInput, MissingExtra
from retrieval_bench.record import Progress, environment

SHOWN = 20


def examine(conf: Path) -> RenderableType:
    """Versions, search backends and devices of this installation."""
    facts = environment()
    versions = Table("library", "version", box=None, title="installed", title_justify="left")
    for name, version in facts["versions"].items():
        versions.add_row(name, version or Text("not installed", style="yellow"))
    backends = Table("backend", "state", box=None, title="search backends", title_justify="left")
    for file in sorted((conf / "search").glob("*.yaml")):
        backends.add_row(file.stem, backend_state(file))
    machine = f"{facts['cpu']}, {facts['cores']} cores, {facts['system']}; {_device()}"
    return Group(Text(machine), Text(), versions, Text(), backends)


def backend_state(file: Path) -> Text:
    """Whether a backend can be constructed here, and what to type if not."""
    node: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    module, _, name = str(node.pop("_target_")).rpartition(".")
    node.pop("_partial_", None)
    try:
        getattr(importlib.import_module(module), name)(**node).close()
    except MissingExtra as error:
        return Text(str(error), style="yellow")
    return Text("works", style="green")


def _device() -> str:
    import torch

    return f"GPU {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "no GPU: encoders run on the CPU"


def list_data(conf: Path) -> RenderableType:
    """Every data set, in one line of its own."""
    table = Table("data=", "what", "needs", box=None)
    for file in sorted((conf / "data").glob("*.yaml")):
        node = yaml.safe_load(file.read_text(encoding="utf-8"))
        module, _, name = node["_target_"].rpartition(".")
        about = (getattr(importlib.import_module(module), name).__doc__ or "").strip().partition("\n")[0]
        needs = " ".join(f"data.{key}=…" for key, value in node.items() if value == "???")
        table.add_row(file.stem, about, needs or "nothing")
    return table


def check_data(data: Dataset | VectorDataset, progress: Progress) -> RenderableType:
    """Read every item of a data set once, and say what is wrong with it."""
    lines = [Text(f"{data.name}: " + ", ".join(f"{key}={value}" for key, value in data.protocol.items()))]
    if isinstance(data, VectorDataset):
        for part, vectors in (("queries", data.queries()), ("gallery", data.gallery())):
            lines.append(Text(f"{part}: {len(vectors)} × {vectors.dim} {vectors.vectors.dtype}"))
        return Group(*lines)
    parts = {
        "train": data.train(),
        "validation": data.validation(),
        "queries": data.queries(),
        "gallery": data.gallery(),
    }
    bad: list[tuple[str, str]] = []
    for part, items in parts.items():
        if part == "gallery" and items is parts["queries"]:
            lines.append(Text("gallery: the same items; a query is ignored among its own answers"))
            continue
        classes = Counter(items.labels.tolist()) if items.labels is not None else None
        told = f", {len(classes)} classes of {min(classes.values())}–{max(classes.values())}" if classes else ""
        lines.append(Text(f"{part}: {len(items)} items{told}"))
        bad += _unreadable(items, part, progress)
    lines.append(Text(f"unreadable: {len(bad)}", style="red" if bad else "green"))
    lines += [Text(f"  {key}: {reason}") for key, reason in bad[:SHOWN]]
    return Group(*lines)


def _unreadable(items: Items, part: str, progress: Progress) -> Iterable[tuple[str, str]]:
    for row, key in enumerate(items.keys):
        progress(f"read {part}", row + 1, len(items))
        try:
            items.read(row)
        except CorruptInput as error:
            yield key, str(error)
