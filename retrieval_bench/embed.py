"""Items → embeddings: read in threads, encoded in batches, kept block by block on the disk."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._item_batches import Batch, Embed, Job, batches, check_unreadable
from retrieval_bench._kept import encode_one, kept_vectors, model_key, query_engine, store_of
from retrieval_bench._row_store import RowStore
from retrieval_bench._transformed import fit_all, transformed
from retrieval_bench.data.base import Items
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
from retrieval_bench.types import Embeddings

if TYPE_CHECKING:
    from retrieval_bench.encoder.base import Encoder

__all__ = ["Embed", "Embedded", "embed", "encode_one", "fit_all", "kept_vectors", "query_engine", "transformed"]

_log = logging.getLogger(__name__)

_BATCHES_A_BLOCK = 8  # at most this many batches are lost when the process is killed
_WARM_UP, _TIMED = 3, 21  # runs of one image alone
_CHECKED_IMAGES = 16  # encoded by torch too, before a compiled engine is trusted
_LARGEST_DISAGREEMENT = {Precision.FLOAT32: 1e-5, Precision.BFLOAT16: 1e-2}  # 1 − cosine, against float32 torch


@dataclass(frozen=True)
class Embedded:
    """Embeddings of a part of a data set.

    Attributes:
        embeddings: of all items that could be read, in the order of the items.
        unreadable: (key, reason) of the others.
        engine: engine, precision, device, version, disagreement with torch (largest 1 − cosine, or none), and the key
            under which the cache keeps its graph.
        encoded: items that were encoded now; 0 when all came from the cache.
        encode_ms: milliseconds for one decoded image alone (median of 21), preprocessing included; NaN without items.
    """

    embeddings: Embeddings
    unreadable: list[tuple[str, str]]
    engine: dict[str, Any]
    encoded: int
    encode_ms: float


def embed(  # noqa: PLR0917  (six: the ceiling)
    items: Items,
    encoder: Encoder,
    native_size: int | None,
    settings: Embed,
    cache: Path,
    progress: Callable[[int, int], None],
) -> Embedded:
    """Encode items, or take them from the cache.

    The cache key is made of weights, architecture, pooling, preprocessing, engine and the data's fingerprint. A killed
    call goes on behind its last finished block; two processes that want the same embeddings encode once.

    Args:
        items: what to encode.
        encoder: takes one input; is put into evaluation mode.
        native_size: the data set's `image_size`.
        settings: engine, batch size, limits.
        cache: folder of all caches.
        progress: called with (done, total) items after every batch.

    Raises:
        CorruptInput: the encoder gives NaN or infinite values.
        TooManyUnreadable: more items than `max_unreadable` allows; names the first few.
        OutOfSpace: the disk is full; finished blocks are kept.
        MissingExtra, BadConfig: the engine is not installed or does not fit the device.
    """
    if len(encoder.inputs) != 1:
        raise BadConfig(f"the encoder takes {', '.join(encoder.inputs)}; encoders of one input can be embedded")
    return _by_best(Job(items, encoder, encoder.preprocessing(native_size), settings, cache, progress))


def _by_best(job: Job) -> Embedded:
    settings, weights = job.settings, job.encoder.weights_fingerprint()
    *doubtful, trusted = engine_choices(settings.engine, settings.precision, settings.device)
    for choice in doubtful:
        embedded = _by(choice, job, weights, may_refuse=True)
        if isinstance(embedded, Embedded):
            return embedded
        _log.warning("%s is not used, %s is: %s", choice.engine, trusted.engine, embedded)
    embedded = _by(trusted, job, weights, may_refuse=False)
    if isinstance(embedded, Embedded):
        return embedded
    raise BadConfig(f"{embedded}; type embed.engine={EngineName.TORCH}")


def _by(choice: EngineChoice, job: Job, weights: str, may_refuse: bool) -> Embedded | str:
    """Embed with this engine, or say why it cannot be used (which is remembered)."""
    key = model_key(job.encoder, weights, job.preprocessing, choice)
    store = store_of(job.cache, key, job.items)
    with store.locked(_log.warning):
        before = store.state.setdefault("done", 0)
        if not store.state["finished"]:
            if "refused" not in store.state:
                _complete(store, choice, job, job.cache / "engines" / key, may_refuse)
            if "refused" in store.state:
                return str(store.state["refused"])
        return _embedded(store, job, key, len(job.items) - before)


def _complete(store: RowStore, choice: EngineChoice, job: Job, graph: Path, may_refuse: bool) -> None:
    try:
        engine = open_engine(job.encoder, job.preprocessing, choice, graph)
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
        store.state["encode_ms"] = _encode_ms(choice, job, graph)
    _encode(store, engine, job)


def _apart(engine: Engine, job: Job) -> float | None:
    """Largest 1 − cosine between the engine and float32 torch on the first images; none if none can be read."""
    first = [prepare(image, job.preprocessing) for image in _images(job)]
    if not first:
        return None
    images = np.stack(first)
    torch_choice = EngineChoice(EngineName.TORCH, Precision.FLOAT32, Device.CPU)
    reference = open_engine(job.encoder, job.preprocessing, torch_choice, None)
    return disagreement(next(engine.run([images])), next(reference.run([images])))


def _encode_ms(choice: EngineChoice, job: Job, graph: Path) -> float | None:
    """Median time of one image alone; measured first, while no other image is being decoded."""
    image = next(_images(job), None)
    if image is None:
        return None
    engine = open_engine(job.encoder, job.preprocessing, choice, graph, single=True)
    times = []
    for _ in range(_WARM_UP + _TIMED):
        begin = perf_counter_ns()
        engine.one(prepare(image, job.preprocessing))
        times.append(perf_counter_ns() - begin)
    return median(times[_WARM_UP:]) / 1e6


def _images(job: Job) -> Iterator[NDArray[np.uint8]]:
    for row in range(min(len(job.items), _CHECKED_IMAGES)):
        with suppress(CorruptInput):  # counted when its batch is read
            yield job.items.read(row)[job.encoder.inputs[0]]


def _encode(store: RowStore, engine: Engine, job: Job) -> None:
    start, n, sent = store.state["done"], len(job.items), deque[Batch]()
    job.progress(start, n)

    def feed() -> Iterator[NDArray[np.uint8]]:
        for batch in batches(job.reading, start):
            sent.append(batch)
            yield batch.images

    state, block, unreadable = store.state, list[NDArray[np.float32]](), store.state.setdefault("unreadable", [])
    with store.appending(n, (job.encoder.dim,)) as append:
        for vectors in engine.run(feed()):
            batch = sent.popleft()
            done = batch.start + len(batch.images)
            block.append(_readable(vectors, batch, job))
            unreadable += [(job.items.keys[batch.start + i], reason) for i, reason in batch.unreadable.items()]
            check_unreadable(unreadable, job.reading)
            if len(block) == _BATCHES_A_BLOCK or done == n:
                state["done"] = done
                append(np.concatenate(block))
                block = []
            job.progress(done, n)


def _readable(vectors: NDArray[np.float32], batch: Batch, job: Job) -> NDArray[np.float32]:
    if batch.unreadable:
        vectors = np.delete(vectors, list(batch.unreadable), axis=0)
    if not np.isfinite(vectors).all():
        raise CorruptInput(
            f"the encoder gives NaN or infinite values in the batch that starts with {job.items.keys[batch.start]};"
            " its weights are damaged, or embed.precision=float32 is needed"
        )
    return vectors


def _embedded(store: RowStore, job: Job, graph: str, encoded: int) -> Embedded:
    items = job.items
    unreadable = [(str(key), str(reason)) for key, reason in store.state.get("unreadable", [])]
    check_unreadable(unreadable, job.reading)
    lost = {key for key, _ in unreadable}
    kept = np.array([key not in lost for key in items.keys], bool)
    given = store.state.get("encode_ms")
    encode_ms = math.nan if given is None else float(given)
    embeddings = Embeddings(
        items.ids[kept],
        store.read(),
        None if items.labels is None else items.labels[kept],
        None if items.groups is None else items.groups[kept],
        fingerprint=store.folder.name,
    )
    return Embedded(embeddings, unreadable, {**store.state["engine"], "graph": graph}, encoded, encode_ms)
