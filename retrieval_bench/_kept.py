"""What embedding keeps in the cache: graphs of engines and vectors, found by key. A finished run is asked by them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._row_store import RowStore
from retrieval_bench.data.base import Items
from retrieval_bench.encoder.base import (
    Device,
    Engine,
    EngineChoice,
    EngineName,
    Precision,
    Preprocessing,
    kept_engine,
    open_engine,
    prepare_alone,
)
from retrieval_bench.hashing import json_digest

if TYPE_CHECKING:
    from retrieval_bench.encoder.base import Encoder

_log = logging.getLogger(__name__)

_SCHEMA = 1  # part of every cache key
_KEY = re.compile(r"[0-9a-f]{32}")  # what `json_digest` gives; a record may be foreign and name any path


def model_key(encoder: Encoder, weights: str, preprocessing: Preprocessing, choice: EngineChoice) -> str:
    """Names an engine's graph: made of weights, architecture, pooling, preprocessing and engine."""
    return json_digest([_SCHEMA, weights, encoder.describe(), preprocessing.describe(), choice.describe()])


def store_of(cache: Path, key: str, items: Items) -> RowStore:
    """Where the vectors of these items by the engine of this key lie."""
    return RowStore(cache / "embeddings" / json_digest([key, items.fingerprint, len(items)]), "vectors", np.float32)


def features_of(cache: Path, key: str, items: Items, name: str) -> RowStore:
    """Where the vectors of the frames of these items' input `name`, by the engine of this key, lie."""
    return RowStore(
        cache / "features" / json_digest([key, name, items.fingerprint, len(items)]), "features", np.float32
    )


def query_engine(
    make: Callable[[], Encoder], facts: Mapping[str, Any], preprocessing: Mapping[str, Any], cache: Path
) -> Engine:
    """The engine that made the gallery's vectors, tuned for one image at a time.

    Where the cache keeps its graph, neither torch nor the encoder is needed, which saves seconds.

    Args:
        make: the encoder that was given to `embed`; called where no graph is kept.
        facts: `Embedded.engine`.
        preprocessing: what `Preprocessing.describe` said of the gallery's images.
        cache: folder of all caches.

    Raises:
        MissingExtra: the engine is not installed.
    """
    choice = _choice(facts)
    how = Preprocessing.of(preprocessing)
    key = _graph(facts)
    engine = None if key is None else kept_engine(how, choice, cache / "engines" / key)
    if engine is None:
        encoder = make()
        folder = cache / "engines" / model_key(encoder, encoder.weights_fingerprint(), how, choice)
        engine = open_engine(encoder, how, choice, folder, single=True)
    return engine


def gallery_engine(encoder: Encoder, facts: Mapping[str, Any], preprocessing: Preprocessing, cache: Path) -> Engine:
    """The engine that made the gallery's vectors, as it made them; see `query_engine`."""
    choice = _choice(facts)
    key = _graph(facts) or model_key(encoder, encoder.weights_fingerprint(), preprocessing, choice)
    return open_engine(encoder, preprocessing, choice, cache / "engines" / key)


def _choice(facts: Mapping[str, Any]) -> EngineChoice:
    return EngineChoice(EngineName(facts["engine"]), Precision(facts["precision"]), Device(facts["device"]))


def kept_vectors(items: Items, facts: Mapping[str, Any], cache: Path) -> NDArray[np.float32] | None:
    """The vectors [n, dim] that `embed` keeps of these items by the engine of `facts`; none if it is not done.

    Neither torch nor the encoder is needed. Items that cannot be read have no row.
    """
    key = _graph(facts)
    store = None if key is None else store_of(cache, key, items)
    if store is None or not store.folder.is_dir():
        return None
    with store.locked(_log.warning):
        return store.read() if store.state["finished"] else None


def _graph(facts: Mapping[str, Any]) -> str | None:
    """The key of the engine's graph; none in older records, and where a foreign one names something else."""
    key = str(facts.get("graph"))
    return key if _KEY.fullmatch(key) else None


def encode_one(engine: Engine, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The vector [dim] of one decoded image [height, width, 3], preprocessing included, without torch."""
    return engine.one(prepare_alone(image, engine.preprocessing))
