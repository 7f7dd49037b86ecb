"""One encoder over the images, or the frames, of items: by the best engine, kept block by block on the disk."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._item_batches import Batch, Reading, batches, check_unreadable, raw
from retrieval_bench._kept import features_of, model_key, store_of
from retrieval_bench._kept_blocks import keep
from retrieval_bench._row_store import RowStore
from retrieval_bench.encoder.base import (
    Device,
    Engine,
    EngineChoice,
    EngineError,
    EngineName,
    Precision,
    disagreement,
    engine_choices,
    open_engine,
    prepare,
)
from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.turns import measuring, working

if TYPE_CHECKING:
    from retrieval_bench.encoder.base import Encoder

_log = logging.getLogger(__name__)

_WARM_UP, _TIMED = 3, 21  # runs of one item alone
_CHECKED_ITEMS = 16  # encoded by torch too, before a compiled engine is trusted
_LARGEST_DISAGREEMENT = {Precision.FLOAT32: 1e-5, Precision.BFLOAT16: 1e-2}  # 1 − cosine, against float32 torch


@dataclass(frozen=True)
class Job:
    """What is read, by which encoder of single images, and where it is kept. progress: (done, total) items."""

    reading: Reading
    encoder: Encoder
    cache: Path
    progress: Callable[[int, int], None]


@dataclass(frozen=True)
class Encoded:
    """Vectors of images, or of the frames of clips.

    Attributes:
        vectors: float32 [rows, dim], those of one item after the other.
        frames: int64 [n] rows of each item: 0 where it could not be read.
        unreadable: (key, reason). encoded: items that were encoded now.
        engine: engine, precision, device, version, disagreement with torch (largest 1 − cosine, or none), and the key
            under which the cache keeps its graph.
        encode_ms: milliseconds of one decoded item alone (median of 21), preprocessing included; NaN without items.
        key: names the vectors.
        parts_ms: of clips what `encode_ms` is the sum of: input → milliseconds, and `over time`.
    """

    vectors: NDArray[np.float32]
    frames: NDArray[np.int64]
    unreadable: list[tuple[str, str]]
    encoded: int
    engine: dict[str, Any]
    encode_ms: float
    key: str
    parts_ms: Mapping[str, float] = field(default_factory=dict)


def encode(job: Job) -> Encoded:
    """Encode, or take from the cache; raises as `embed`."""
    settings, weights = job.reading.settings, job.encoder.weights_fingerprint()
    *doubtful, trusted = engine_choices(settings.engine, settings.precision, settings.device)
    for choice in doubtful:
        found = _by(choice, job, weights, may_refuse=True)
        if isinstance(found, Encoded):
            return found
        _log.warning("%s is not used, %s is: %s", choice.engine, trusted.engine, found)
    found = _by(trusted, job, weights, may_refuse=False)
    if isinstance(found, Encoded):
        return found
    raise BadConfig(f"{found}; type embed.engine={EngineName.TORCH}")


def _by(choice: EngineChoice, job: Job, weights: str, may_refuse: bool) -> Encoded | str:
    """Encode with this engine, or say why it cannot be used (which is remembered)."""
    reading = job.reading
    key = model_key(job.encoder, weights, reading.preprocessing, choice)
    clips = features_of(job.cache, key, reading.items, reading.name) if reading.clips else None
    store = clips or store_of(job.cache, key, reading.items)
    with store.locked(_log.warning):
        before = store.state.setdefault("done", 0)
        if not store.state["finished"]:
            if "refused" not in store.state:
                _complete(store, choice, job, job.cache / "engines" / key, may_refuse)
            if "refused" in store.state:
                return str(store.state["refused"])
        return _encoded(store, job, key, len(reading.items) - before)


def _complete(store: RowStore, choice: EngineChoice, job: Job, graph: Path, may_refuse: bool) -> None:
    try:
        engine = open_engine(job.encoder, job.reading.preprocessing, choice, graph)
    except EngineError as error:
        store.state["refused"] = str(error)
        store.save_state()
        return
    if "engine" not in store.state:
        apart = None if choice.engine is EngineName.TORCH else _apart(engine, job)
        largest = _LARGEST_DISAGREEMENT[choice.precision]
        if may_refuse and apart is not None and apart > largest:
            store.state["refused"] = f"it disagrees with torch, 1 - cosine = {apart:.2g} where {largest:g} is allowed"
            store.save_state()
            return
        store.state["engine"] = {**choice.describe(), "disagreement": apart}
    if "encode_ms" not in store.state:
        with measuring(_log.warning):
            store.state["encode_ms"] = _encode_ms(choice, job, graph)
    with working(_log.warning):
        _encode(store, engine, job)


def _apart(engine: Engine, job: Job) -> float | None:
    """Largest 1 − cosine between the engine and float32 torch on the first images; none if none can be read."""
    how = job.reading.preprocessing
    first = [prepare(image, how) for array in _arrays(job) for image in array[:_CHECKED_ITEMS]][:_CHECKED_ITEMS]
    if not first:
        return None
    images = np.stack(first)
    torch_choice = EngineChoice(EngineName.TORCH, Precision.FLOAT32, Device.CPU)
    reference = open_engine(job.encoder, job.reading.preprocessing, torch_choice, None)
    return disagreement(next(engine.run([images])), next(reference.run([images])))


def _encode_ms(choice: EngineChoice, job: Job, graph: Path) -> float | None:
    """Median time of one decoded item alone; measured first, while no other one is being decoded."""
    how = job.reading.preprocessing
    array = next(_arrays(job), None)
    if array is None:
        return None
    engine = open_engine(job.encoder, how, choice, graph, single=True)
    times = []
    for _ in range(_WARM_UP + _TIMED):
        begin = perf_counter_ns()
        prepared = np.stack([prepare(image, how) for image in array])
        for _ in engine.run(_pieces(prepared, job.reading)):
            pass
        times.append(perf_counter_ns() - begin)
    return median(times[_WARM_UP:]) / 1e6


def _pieces(images: NDArray[np.uint8], reading: Reading) -> list[NDArray[np.uint8]]:
    """As many images as go into one forward pass: a clip may have more."""
    size = reading.settings.batch_size
    return [images[first : first + size] for first in range(0, len(images), size)]


def _arrays(job: Job) -> Iterator[NDArray[np.uint8]]:
    """Of the first items that can be read, [t, height, width, c]; those that cannot are counted in their batch."""
    for row in range(min(len(job.reading.items), _CHECKED_ITEMS)):
        with suppress(CorruptInput):
            yield raw(job.reading, row)


def _encode(store: RowStore, engine: Engine, job: Job) -> None:
    reading, sent, how = job.reading, deque[tuple[Batch, int]](), job.reading.preprocessing
    blank = np.zeros((1, how.size, how.size, how.channels), np.uint8)  # where nothing in a batch can be read

    def feed() -> Iterator[NDArray[np.uint8]]:
        for batch in batches(reading, store.state["done"]):
            pieces = _pieces(batch.images, reading) or [blank]
            sent.append((batch, len(pieces)))
            yield from pieces

    def encoded() -> Iterator[tuple[Batch, NDArray[np.float32]]]:
        given = list[NDArray[np.float32]]()
        for vectors in engine.run(feed()):
            given.append(vectors)
            batch, pieces = sent[0]
            if len(given) == pieces:
                sent.popleft()
                yield batch, _finite(np.concatenate(given)[: len(batch.images)], batch, job)
                given = []

    keep(store, reading, encoded(), (job.encoder.dim,), job.progress)


def _finite(vectors: NDArray[np.float32], batch: Batch, job: Job) -> NDArray[np.float32]:
    if not np.isfinite(vectors).all():
        raise CorruptInput(
            "the encoder gives NaN or infinite values in the batch that starts with"
            f" {job.reading.items.keys[batch.start]}; its weights are damaged, or embed.precision=float32 is needed"
        )
    return vectors


def _encoded(store: RowStore, job: Job, graph: str, encoded: int) -> Encoded:
    n, state = len(job.reading.items), store.state
    unreadable = [(str(key), str(reason)) for key, reason in state.get("unreadable", [])]
    check_unreadable(unreadable, job.reading)
    lost = {key for key, _ in unreadable}
    of_images = [int(key not in lost) for key in job.reading.items.keys]  # older stores of images have no `frames`
    frames = np.array(state["frames"] if job.reading.clips and n else of_images, np.int64)
    given = state.get("encode_ms")
    return Encoded(
        vectors=store.read(),
        frames=frames,
        unreadable=unreadable,
        encoded=encoded,
        engine={**state["engine"], "graph": graph},
        encode_ms=math.nan if given is None else float(given),
        key=store.folder.name,
    )
