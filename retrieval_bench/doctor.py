"""`retrieval-bench doctor` and `data`: what works here, what does not, and what to type."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from retrieval_bench._data_check import Checked, check_data
from retrieval_bench.environment import environment
from retrieval_bench.errors import MissingExtra

__all__ = [
    "EXTRAS",
    "Checked",
    "backend_state",
    "check_data",
    "examine",
    "extra_state",
    "list_data",
    "needed",
    "shipped_backend",
]

# Extra → the modules that it brings.
EXTRAS = {
    "openvino": ("openvino",),
    "faiss": ("faiss",),
    "datasketch": ("datasketch",),
    "hnswlib": ("hnswlib",),
    "annoy": ("annoy",),
    "usearch": ("usearch",),
    "milvus": ("pymilvus", "milvus_lite"),
    "milvus_server": ("milvus",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "tensorboard": ("tensorboard",),
    "download": ("gdown",),
    "notebook": ("ipykernel", "nbclient", "nbformat"),
    "train": ("pytorch_metric_learning",),
    "video": ("av", "cv2"),
    "peers": ("pytorch_metric_learning",),
}


def examine(conf: Path) -> RenderableType:
    """Versions, search backends and devices of this installation."""
    facts = environment()
    versions = Table("library", "version", box=None, title="installed", title_justify="left")
    for name, version in facts["versions"].items():
        versions.add_row(name, version or Text("not installed", style="yellow"))
    backends = Table("backend", "state", box=None, title="search backends", title_justify="left")
    for file in sorted((conf / "search").glob("*.yaml")):
        backends.add_row(file.stem, backend_state(file))
    extras = Table("part", "state", box=None, title="optional parts", title_justify="left")
    for extra, modules in EXTRAS.items():
        extras.add_row(extra, extra_state(extra, modules))
    machine = f"{facts['cpu']}, {facts['cores']} cores, {facts['system']}; {_device()}"
    return Group(Text(machine), Text(), versions, Text(), backends, Text(), extras)


def backend_state(file: Path) -> Text:
    """Whether a backend can be constructed here, and what to type if not."""
    try:
        shipped_backend(file)().close()
    except MissingExtra as error:
        return Text(str(error), style="yellow")
    except Exception as error:  # noqa: BLE001  # whatever a foreign library raises, the other backends are told, too
        return Text(f"broken: {type(error).__name__}: {error}", style="red")
    return Text("works", style="green")


def shipped_backend(file: Path) -> partial[Any]:
    """A backend as its yaml has it; one that it wraps, from the yaml beside it that its defaults name."""
    node: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    for line in node.pop("defaults", ()):
        if isinstance(line, dict):
            [(group, name)] = line.items()
            node[group.partition("@")[2]] = shipped_backend(file.with_name(f"{name}.yaml"))
    for key, value in node.items():
        if told := re.fullmatch(r"\$\{\.(\w+)\.(\w+)\}", str(value)):
            node[key] = node[told[1]].keywords[told[2]]
    module, _, name = str(node.pop("_target_")).rpartition(".")
    node.pop("_partial_", None)
    return partial(getattr(importlib.import_module(module), name), **node)


def extra_state(extra: str, modules: Iterable[str]) -> Text:
    """Whether an optional part is installed, and what to type if not."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        return Text(f"{', '.join(missing)} missing; type: pip install 'retrieval-bench[{extra}]'", style="yellow")
    return Text("installed", style="green")


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
        fetched = "; `data prepare` fetches it" if "download" in node else ""
        table.add_row(file.stem, about, (needed(file) or "nothing") + fetched)
    return table


def needed(file: Path) -> str:
    """What to type for a data set beside its name: parameters that are null but, as its yaml tells, not optional."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if told := re.match(r"(\w+): null\s+#(.*)", line):
            key, comment = told.groups()
            if re.search(r"\bneeded\b", comment):
                found.append(f"data.{key}=…")
            elif "RETRIEVAL_BENCH_DATA" in comment:
                found.append(f"data.{key}=… or RETRIEVAL_BENCH_DATA")
    return " ".join(found)
