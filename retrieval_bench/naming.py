"""How indexes are told apart where one name stands for several sets of build parameters; and how trainings are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Built = tuple[str, str]  # index and its build parameters as JSON
OWNER = "moment_query"  # column of `queries.parquet`: what a window belongs to
TRAINED_STAGE = "trained"
ADAPTERS = "retrieval_bench.loss.pml"  # its classes only make a library's losses fit


def index_labels(built: Iterable[Built], backends: Mapping[str, str] | None = None) -> dict[Built, str]:
    """(index, build parameters) → its name, with the build parameters that differ among indexes of one backend.

    Args:
        built: each index with its build parameters as JSON, as in the columns `index` and `index_params`.
        backends: index → what it is an index of; an index that is not in it is a backend of its own.

    >>> list(index_labels([("hnsw", '{"m": 16, "n": 1}'), ("exact", "{}"), ("hnsw", '{"m": 32, "n": 1}')]).values())
    ['hnsw (m=16)', 'hnsw (m=32)', 'exact']
    """
    groups: dict[str, dict[Built, dict[str, Any]]] = {}
    for index, params in built:
        backend = (backends or {}).get(index, index)
        groups.setdefault(backend, {})[index, params] = flat(json.loads(params))
    labels: dict[Built, str] = {}
    for group in groups.values():
        keys = differing(list(group.values()))
        labels |= {(index, text): _label(index, params, keys) for (index, text), params in group.items()}
    return labels


def encoder_name(node: Mapping[str, Any]) -> str:
    """What an encoder is called: the model of images; of clips, what is above it, too.

    >>> encoder_name({"_target_": "a.Sequence", "over": {"_target_": "a.Recurrent", "cell": "lstm"},
    ...     "frame": {"_target_": "a.ImageEncoder", "model": "resnet18", "weights": "timm"}})
    'lstm(resnet18)'
    """
    target = str(node.get("_target_", "")).rpartition(".")[2]
    over = node.get("over") or {}
    above = str(over.get("cell") or over.get("_target_", target).rpartition(".")[2].lower())
    inside = [encoder_name(value) for key, value in node.items() if key != "over" and _is_encoder(value)]
    return f"{above}({', '.join(inside)})" if inside else str(node.get("model", target))


def _is_encoder(value: Any) -> bool:
    return isinstance(value, Mapping) and "weights" in value


def flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """Build parameters in one level, as they are typed; an index inside another is named as its yaml is.

    >>> flat({"factor": 8, "index": {"_target_": "retrieval_bench.search.ivf.IVF", "nlist": 7}})
    {'factor': 8, 'index': 'ivf', 'index.nlist': 7}
    """
    typed: dict[str, Any] = {}
    for key, value in params.items():
        if not (isinstance(value, Mapping) and "_target_" in value):
            typed[key] = value
            continue
        inside = flat({name: each for name, each in value.items() if name != "_target_"})
        typed[key] = str(value["_target_"]).rpartition(".")[0].rpartition(".")[2]
        typed |= {f"{key}.{name}": each for name, each in inside.items()}
    return typed


def differing(params: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the parameters that are not equal in all, or that not all have.

    Those of an index inside another are compared where that is the same backend; elsewhere its name tells them apart.

    >>> differing([{"m": 16, "ef": 200}, {"m": 32, "ef": 200}])
    ['m']
    >>> differing([{"index": "hnsw", "index.m": 16}, {"index": "ivf", "index.nlist": 7}])
    ['index']
    """
    keys = dict.fromkeys(key for one in params for key in one)
    return [key for key in keys if any(_differs(key, group) for group in _alike(params, key.rpartition(".")[0]))]


def _alike(params: Sequence[Mapping[str, Any]], outer: str) -> list[list[Mapping[str, Any]]]:
    """Groups of equal values of a parameter; all are one group where it is no parameter."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in params:
        groups.setdefault(str(one.get(outer)), []).append(one)
    return list(groups.values())


def _differs(key: str, params: Sequence[Mapping[str, Any]]) -> bool:
    here = any(key in one for one in params)
    return here and any(key not in one or one[key] != params[0].get(key) for one in params)


def change(index: str, a: str, b: str) -> str:
    """One index with other build parameters on each side of a comparison.

    >>> change("hnsw", '{"m": 16}', '{"m": 32}')
    'hnsw (m=16 → 32)'
    """
    left, right = flat(json.loads(a)), flat(json.loads(b))
    told = [f"{key}={_value(left.get(key))} → {_value(right.get(key))}" for key in differing([left, right])]
    return f"{index} ({', '.join(told)})" if told else index


def _label(index: str, params: Mapping[str, Any], keys: Sequence[str]) -> str:
    told = [f"{key}={_value(params[key])}" for key in keys if key in params]
    return f"{index} ({', '.join(told)})" if told else index


def _value(value: Any) -> str:
    """As it is typed in an override."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def training_parts(config: Mapping[str, Any], stage: str) -> dict[str, str | None]:
    """Short names of the loss and the head that a stage was trained with; none where it was not trained.

    Args:
        config: of a run, as in its record. stage: random, pretrained, trained, or given.

    >>> head = {"_target_": "retrieval_bench.head.mlp.MLP", "_partial_": True, "out": 128}
    >>> inner = {"_target_": "pytorch_metric_learning.losses.ProxyAnchorLoss", "_partial_": True}
    >>> config = {"head": head, "loss": {"_target_": "retrieval_bench.loss.pml.ProxyLoss", "loss": inner}}
    >>> training_parts(config, "trained")
    {'loss': 'ProxyAnchorLoss', 'head': 'MLP'}
    >>> training_parts(config, "random")
    {'loss': None, 'head': None}
    """
    if stage != TRAINED_STAGE:
        return {"loss": None, "head": None}
    return {"loss": loss_name(config.get("loss")), "head": _class(config.get("head"))}


def with_parts(config: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of points with loss and head; an older version wrote them without, and the configuration tells.

    >>> with_parts({}, [{"stage": "random"}, {"stage": "trained", "loss": "TripletMarginLoss", "head": "MLP"}])[1]
    {'stage': 'trained', 'loss': 'TripletMarginLoss', 'head': 'MLP'}
    """
    return [{**row, **(training_parts(config, str(row["stage"])) if "loss" not in row else {})} for row in rows]


def loss_name(node: Any) -> str | None:
    """The class of a loss, without the adapter around a library's; one that changes another names both.

    >>> inner = {"_target_": "pytorch_metric_learning.losses.ContrastiveLoss"}
    >>> pairs = {"_target_": "retrieval_bench.loss.pml.PairLoss", "loss": inner}
    >>> memory = "retrieval_bench.loss.cross_batch_memory.CrossBatchMemory"
    >>> loss_name(pairs), loss_name({"_target_": memory, "loss": pairs})
    ('ContrastiveLoss', 'CrossBatchMemory(ContrastiveLoss)')
    """
    name = _class(node)
    inner = None if name is None else loss_name(node.get("loss"))
    if inner is None:
        return name
    return inner if str(node["_target_"]).rpartition(".")[0] == ADAPTERS else f"{name}({inner})"


def _class(node: Any) -> str | None:
    """The class that a node of a configuration constructs; none where there is no node."""
    target = node.get("_target_") if isinstance(node, Mapping) else None
    return None if target is None else str(target).rpartition(".")[2]


def is_moment(metric: str) -> bool:
    """Whether a metric judges moments, not windows.

    >>> is_moment("moment_iou@5"), is_moment("video_hit_rate@1"), is_moment("hit_rate@1")
    (True, True, False)
    """
    return metric.startswith(("moment_", "video_"))
