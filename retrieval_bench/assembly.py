"""From a checked, plain configuration to the live objects of an experiment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from retrieval_bench.binding import TRAINING, choice, encoder_nodes, positive
from retrieval_bench.types import Similarity

if TYPE_CHECKING:
    from retrieval_bench.experiment import Experiment
    from retrieval_bench.record import RunRecord

_NO_TARGET = {"_target_": "retrieval_bench.choose.Target"}  # a record of before there were targets
Build = Callable[[Any], Any]


def check_values(config: dict[str, Any]) -> None:
    """What can be told of the plain values before anything is constructed. Raises BadConfig."""
    choice("similarity", config["similarity"], list(Similarity))
    positive("k", config["k"])
    positive("cuts", config["cuts"])
    encoder_nodes(config)


def assembled(config: dict[str, Any], build: Build, origin: RunRecord | None) -> Experiment:
    """The parts of one run.

    Args:
        config: plain and checked. build: makes an object of a node. origin: the run whose embeddings are taken over.

    Raises:
        RetrievalBenchError: anything that the user can mend.
    """
    similarity = Similarity(choice("similarity", config["similarity"], list(Similarity)))
    k, cuts = positive("k", config["k"]), positive("cuts", config["cuts"])
    encoders = {stage: partial(build, node) for stage, node in encoder_nodes(config).items()}
    data = build(config["data"])

    from retrieval_bench.experiment import Experiment, recipe_of  # pandas is not needed for a mistake above

    def each(group: str) -> dict[str, Any]:
        return {name: build(node) for name, node in (config.get(group) or {}).items()}

    training = {name: config.get(name) for name in TRAINING}
    return Experiment(
        config=config,
        data=data,
        encoders=encoders,
        embed=build(config["embed"]),
        transforms=each("transform"),
        search=each("search"),
        metrics=each("metric"),
        measure=build(config["measure"]),
        loggers={name: partial(build, node) for name, node in (config.get("logger") or {}).items()},
        similarity=similarity,
        k=k,
        cuts=cuts,
        target=build(config.get("target") or _NO_TARGET),
        origin=origin,
        recipe=partial(recipe_of, training, build) if config.get("trainer") else None,
        head=partial(build, config["head"]) if config.get("head") else None,
        moment=build(config["moment"]) if config.get("moment") else None,
    )
