"""An experiment: live objects, composed and checked, that nothing has been asked of yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_bench.binding import TRAINING, nearest
from retrieval_bench.data.base import Dataset, MomentDataset, VectorDataset
from retrieval_bench.errors import BadConfig
from retrieval_bench.record import PART, digest
from retrieval_bench.secrecy import refuse_secrets
from retrieval_bench.types import Similarity

if TYPE_CHECKING:
    from retrieval_bench.choose import Target
    from retrieval_bench.embed import Embed
    from retrieval_bench.encoder.base import Encoder
    from retrieval_bench.head.base import Head
    from retrieval_bench.measure import Measure
    from retrieval_bench.moment.base import Finder
    from retrieval_bench.record import RunRecord
    from retrieval_bench.train import Recipe
    from retrieval_bench.transform.base import Transform


_KEYS = frozenset(
    {
        "pool",
        "encoder",
        "embed",
        "clip",
        "flow",
        "data",
        "moment",
        "transform",
        "search",
        "metric",
        "measure",
        "logger",
        "name",
        "seed",
        "stage",
    }
    | {"similarity", "k", "cuts", "target", "force", "strict", "allow", "paths", *TRAINING}
)


@dataclass(frozen=True, eq=False)
class Experiment:
    """The parts of one run.

    Attributes:
        config: plain and resolved, for the record.
        encoders: stage (random, pretrained) → constructor of its encoder; empty where the data brings vectors.
        search: name → partial of an `Index` class, constructed only inside a worker.
        metrics: name → partial of a metric.
        loggers: name → constructor of a Lightning logger.
        k: search depths. cuts: cut-offs of the label metrics.
        target: what efforts are chosen by; empty = all listed efforts are measured.
        origin: the run whose embeddings are taken over, if one is.
        recipe: constructor of the parts of training; none where the configuration has none. head: of its head alone.
        moment: how moments are found; none where the data are no windows of videos, whatever the configuration says.
    """

    config: dict[str, Any]
    data: Dataset | VectorDataset
    encoders: Mapping[str, Callable[[], Encoder]]
    embed: Embed
    transforms: Mapping[str, Transform]
    search: Mapping[str, partial[Any]]
    metrics: Mapping[str, partial[Any]]
    measure: Measure
    loggers: Mapping[str, Callable[[], Any]]
    similarity: Similarity
    k: Sequence[int]
    cuts: Sequence[int]
    target: Target
    origin: RunRecord | None = None
    recipe: Callable[[], Recipe] | None = None
    head: Callable[[], Callable[..., Head]] | None = None
    moment: Finder | None = None

    def __post_init__(self) -> None:
        if isinstance(self.data, MomentDataset):
            _check_windows(self.data, self.moment, self.target)
        else:  # it decides nothing: neither record nor run id tell of it
            object.__setattr__(self, "moment", None)
            object.__setattr__(self, "config", {key: node for key, node in self.config.items() if key != "moment"})
        if isinstance(self.data, VectorDataset) and self.encoders:
            raise BadConfig(f"data={self.data.name} brings its own vectors, so nothing is encoded; type encoder=none")
        if isinstance(self.data, Dataset) and not self.encoders:
            raise BadConfig(f"data={self.data.name} needs an encoder; type encoder=efficientnet_lite0, for instance")
        for key in sorted(set(self.config) - _KEYS):
            raise BadConfig(f"there is no {key!r} in a configuration; {nearest(key, _KEYS)}")
        name = str(self.config["name"])
        if not PART.fullmatch(name):
            raise BadConfig(f"name={name!r} becomes a folder under paths.runs: letters, digits, _, - and . are allowed")
        refuse_secrets(self.config)
        for index in self.search:
            if not PART.fullmatch(index):
                raise BadConfig(f"search.{index}: its name becomes a file's: letters, digits, _, - and . are allowed")
            _refuse_secrets(index, self.search[index].keywords)
        if not self.config["paths"]["runs"]:
            raise BadConfig("paths.runs is empty; type paths.runs=FOLDER")
        if self.metrics and min(self.cuts) > max(self.k):
            raise BadConfig(f"no cut-off of cuts={list(self.cuts)} is ≤ k={max(self.k)}; type cuts=[1,{max(self.k)}]")
        if not self.search:
            raise BadConfig("no index to measure; type search=[exact,hnsw], for instance")
        if self.target.break_even and not any(getattr(each.func, "exact", False) for each in self.search.values()):
            names = ",".join(["exact", *self.search])
            raise BadConfig(f"target.break_even=true compares with exact search; type 'search=[{names}]'")

    @property
    def seed(self) -> int:
        """Decides everything random of the run but the data."""
        return int(self.config["seed"])

    @property
    def cache(self) -> Path:
        """Where rendered data and embeddings are kept."""
        return Path(self.config["paths"]["cache"])

    @property
    def folder(self) -> Path:
        """Where the runs of this experiment's name lie."""
        return Path(self.config["paths"]["runs"]) / str(self.config["name"])

    def efforts(self, name: str) -> Sequence[int | None]:
        """Values of an index's knob to measure; one none where it has no knob."""
        factory = self.search[name]
        default = signature(factory.func).parameters["efforts"].default
        given = factory.keywords.get("efforts", default)
        return list(given) or [None]


def _check_windows(data: MomentDataset, moment: Finder | None, target: Target) -> None:
    """The windows of the data are those that moments are found by, and what is asked makes sense of them."""
    if moment is None:
        raise BadConfig(f"data={data.name} holds moments: how are they found? Type moment=default")
    for name in ("window", "stride"):
        has, wants = getattr(data, name), getattr(moment, name)
        if has != wants:
            raise BadConfig(
                f"data.{name}={has:g} but moment.{name}={wants:g}: moments are found by the windows of the data; leave"
                f" data.{name} out and type moment.{name}={has:g}, for instance, which decides both"
            )
    if target.break_even:
        raise BadConfig(
            f"target.break_even=true searches samples of the gallery, but windows of a video (data={data.name}) belong"
            " together; leave it out"
        )


def _refuse_secrets(index: str, given: Mapping[str, Any]) -> None:
    """Refuse what must not be in a configuration, which records and pages show; the message does not repeat it."""
    remedy = f"type export MILVUS_TOKEN=user:password and search.{index}.token_env=MILVUS_TOKEN, for instance"
    for key, value in given.items():
        if isinstance(value, partial):  # an index inside another
            _refuse_secrets(f"{index}.{key}", value.keywords)
        if isinstance(value, str) and "@" in value.partition("://")[2].partition("/")[0]:
            raise BadConfig(f"search.{index}.{key} holds a user or password, which every record would show; {remedy}")
        if key.endswith("_env") and value is not None and not str(value).isidentifier():
            raise BadConfig(f"search.{index}.{key} is the name of an environment variable, not what it holds; {remedy}")


def recipe_of(nodes: Mapping[str, Any], build: Callable[[Any], Any]) -> Recipe:
    """The parts of training; imports Lightning.

    Args:
        nodes: of all groups that training needs. build: makes an object of a node.

    Raises:
        BadConfig: one is missing.
    """
    from retrieval_bench.train import Recipe

    for name, node in nodes.items():
        if node is None and name != "miner":
            raise BadConfig(f"{name}=null: training needs one; leave {name}=null out for the shipped choice")
    parts: dict[str, Any] = {name: None if node is None else build(node) for name, node in nodes.items()}
    return Recipe(**parts, nodes=nodes)


def data_fingerprint(data: Dataset | VectorDataset) -> str:
    """Digest of both sides."""
    return digest(data.queries().fingerprint, data.gallery().fingerprint)


def silent(task: str, done: int, total: int) -> None:
    """Progress for nobody."""
