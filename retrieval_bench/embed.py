"""Items → embeddings: images, or clips by their frames; kept in the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_bench._clips import OVER_TIME, clip_vectors, encode_clip
from retrieval_bench._encode import Encoded, Job, encode
from retrieval_bench._item_batches import Embed, Reading
from retrieval_bench._kept import encode_one, gallery_engine, kept_vectors, query_engine
from retrieval_bench._transformed import fit_all, transformed
from retrieval_bench.data.base import Items
from retrieval_bench.types import Embeddings

if TYPE_CHECKING:
    from retrieval_bench.encoder.base import Encoder

__all__ = [
    "OVER_TIME",
    "Embed",
    "Embedded",
    "embed",
    "encode_clip",
    "encode_one",
    "fit_all",
    "gallery_engine",
    "kept_vectors",
    "query_engine",
    "transformed",
]


@dataclass(frozen=True)
class Embedded:
    """Embeddings of a part of a data set.

    Attributes:
        embeddings: of all items that could be read, in the order of the items.
        unreadable: (key, reason) of the others.
        engine: engine, precision, device, version, disagreement with torch (largest 1 − cosine, or none), and the key
            under which the cache keeps its graph; of clips, those of each input by its name.
        encoded: items that were encoded now; 0 when all came from the cache.
        encode_ms: milliseconds for one decoded item alone (median of 21), preprocessing included; NaN without items.
        parts_ms: of clips what `encode_ms` is the sum of: input → milliseconds, and `over time`.
    """

    embeddings: Embeddings
    unreadable: list[tuple[str, str]]
    engine: dict[str, Any]
    encoded: int
    encode_ms: float
    parts_ms: Mapping[str, float]


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
        encoder: is put into evaluation mode. Of clips, the vectors of frames are kept by themselves, so that another
            way to put them together encodes no frame again.
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
    if encoder.frames():
        found = clip_vectors(items, encoder, native_size, settings, cache, progress)
    else:
        reading = Reading(items, encoder.inputs[0], encoder.preprocessing(native_size), settings)
        found = encode(Job(reading, encoder, cache, progress))
    return _embedded(items, encoder, found)


def _embedded(items: Items, encoder: Encoder, found: Encoded) -> Embedded:
    kept = found.frames > 0
    embeddings = Embeddings(
        items.ids[kept],
        found.vectors,
        None if items.labels is None else items.labels[kept],
        None if items.groups is None else items.groups[kept],
        encoder.blocks,
        fingerprint=found.key,
    )
    return Embedded(embeddings, found.unreadable, found.engine, found.encoded, found.encode_ms, found.parts_ms)
