"""Clips → vectors: every input's frames encoded once and kept, then put together over time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._encode import Encoded, Job, encode
from retrieval_bench._item_batches import Embed, Reading, check_unreadable
from retrieval_bench._row_store import RowStore
from retrieval_bench.data.base import Arrays, Items
from retrieval_bench.encoder.base import Engine, prepare
from retrieval_bench.errors import CorruptInput
from retrieval_bench.hashing import json_digest
from retrieval_bench.turns import measuring, working

if TYPE_CHECKING:
    from torch import Tensor

    from retrieval_bench.encoder.base import Encoder

_log = logging.getLogger(__name__)

OVER_TIME = "over time"  # beside the inputs: the step that makes a clip's vector of its frames'
_AT_ONCE, _FRAMES_AT_ONCE = 256, 8192  # clips put together in one step; with the longest, to which all are padded
_TIMED = 21
_FRAMES = 64  # of one clip, encoded in one step


@dataclass(frozen=True, eq=False)
class Features:
    """Vectors of the frames of clips that could be read in every input. A row here is not a row of the items.

    Attributes:
        values: input → float32 [frames, c], those of one clip after the other. offsets: input → int64 [n + 1].
        kept: int64 [n], the row of the items that each clip is of.
        unreadable: (key, reason) of the other items.
        encoded: items whose frames were encoded now.
        parts: what encoding said of each input.
    """

    values: dict[str, NDArray[np.float32]]
    offsets: dict[str, NDArray[np.int64]]
    kept: NDArray[np.int64]
    unreadable: list[tuple[str, str]]
    encoded: int
    parts: dict[str, Encoded]

    def __len__(self) -> int:
        return len(self.kept)

    def batch(self, rows: NDArray[np.int64]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Features float32 [b, t, c], 0 behind the end of a clip, and lengths int64 [b], of each input."""
        import torch

        features, lengths = {}, {}
        for name, values in self.values.items():
            starts, stops = self.offsets[name][rows], self.offsets[name][np.asarray(rows) + 1]
            padded = np.zeros((len(rows), int((stops - starts).max()), values.shape[1]), np.float32)
            for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
                padded[i, : stop - start] = values[start:stop]
            features[name], lengths[name] = torch.from_numpy(padded), torch.from_numpy(stops - starts)
        return features, lengths


def clip_features(  # noqa: PLR0917  (six: the ceiling)
    items: Items,
    encoder: Encoder,
    native_size: int | None,
    settings: Embed,
    cache: Path,
    progress: Callable[[int, int], None],
) -> Features:
    """The vectors of all frames, encoded or taken from the cache; raises as `embed`."""
    parts = {}
    for name, frame in encoder.frames().items():
        reading = Reading(items, name, frame.preprocessing(native_size), settings, clips=True)
        parts[name] = encode(Job(reading, frame, cache, progress))
    readable = np.all([part.frames > 0 for part in parts.values()], axis=0) if len(items) else np.zeros(0, bool)
    kept = np.flatnonzero(readable).astype(np.int64)
    unreadable = list({key: (key, why) for part in parts.values() for key, why in part.unreadable}.values())
    check_unreadable(unreadable, Reading(items, "", encoder.preprocessing(native_size), settings))
    values, offsets = {}, {}
    for name, part in parts.items():
        begin = np.concatenate([[0], np.cumsum(part.frames)]).astype(np.int64)
        if len(kept) == np.count_nonzero(part.frames):
            values[name] = part.vectors
        else:  # another input of some clips cannot be read
            rows = np.repeat(readable, part.frames)
            values[name] = np.asarray(part.vectors)[rows]
        offsets[name] = np.concatenate([[0], np.cumsum(np.diff(begin)[kept])]).astype(np.int64)
    encoded = max((part.encoded for part in parts.values()), default=0)
    return Features(values, offsets, kept, unreadable, encoded, parts)


def clip_vectors(  # noqa: PLR0917
    items: Items,
    encoder: Encoder,
    native_size: int | None,
    settings: Embed,
    cache: Path,
    progress: Callable[[int, int], None],
) -> Encoded:
    """One vector of each clip, encoded or taken from the cache; raises as `embed`."""
    features = clip_features(items, encoder, native_size, settings, cache, progress)
    key = [encoder.weights_fingerprint(), encoder.describe(), {name: part.key for name, part in features.parts.items()}]
    store = RowStore(cache / "embeddings" / json_digest(key), "vectors", np.float32)
    with store.locked(_log.warning):
        if not store.state["finished"]:
            with measuring(_log.warning):
                store.state["join_ms"] = _join_ms(encoder, features)
            with working(_log.warning), store.appending(len(features), (encoder.dim,)) as append:
                each = _together(features)
                for start in range(store.state["rows"], len(features), each):
                    append(joined(encoder, features, np.arange(start, min(start + each, len(features)))))
        vectors, join_ms = store.read(), store.state["join_ms"]
    if not np.isfinite(vectors).all():
        raise CorruptInput("the encoder gives NaN or infinite vectors of clips; its weights are damaged")
    frames = np.zeros(len(items), np.int64)
    frames[features.kept] = 1
    parts_ms = {name: part.encode_ms for name, part in features.parts.items()} | {OVER_TIME: join_ms}
    return Encoded(
        vectors=vectors,
        frames=frames,
        unreadable=features.unreadable,
        encoded=features.encoded,
        engine={name: part.engine for name, part in features.parts.items()},
        encode_ms=sum(parts_ms.values()),
        key=store.folder.name,
        parts_ms=parts_ms,
    )


def _together(features: Features) -> int:
    """Clips that are put together in one step, so that hour-long ones do not fill the memory."""
    longest = max(int(np.diff(offsets).max(initial=1)) for offsets in features.offsets.values())
    return max(1, min(_AT_ONCE, _FRAMES_AT_ONCE // longest))


def joined(encoder: Encoder, features: Features, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The vectors [b, dim] of some clips."""
    import torch

    encoder.eval()
    with torch.inference_mode():
        vectors: NDArray[np.float32] = encoder.over_time(*features.batch(rows)).float().numpy()
    return vectors


def _join_ms(encoder: Encoder, features: Features) -> float:
    """Median time of putting the frames of one clip together."""
    times = []
    with suppress(IndexError):  # without a clip there is nothing to time
        for _ in range(_TIMED):
            begin = perf_counter_ns()
            joined(encoder, features, np.zeros(1, np.int64))
            times.append(perf_counter_ns() - begin)
    return median(times) / 1e6 if times else float("nan")


def encode_clip(encoder: Encoder, engines: Mapping[str, Engine], arrays: Arrays) -> NDArray[np.float32]:
    """The vector [dim] of one decoded clip, preprocessing included.

    Args:
        engines: of the encoder's frames, by input. arrays: uint8 [t, height, width, c] of each input.
    """
    import torch

    features, lengths = {}, {}
    for name, engine in engines.items():
        frames = [prepare(frame, engine.preprocessing) for frame in arrays[name]]
        parts = (np.stack(frames[start : start + _FRAMES]) for start in range(0, len(frames), _FRAMES))
        features[name] = torch.from_numpy(np.concatenate(list(engine.run(parts))))[None]
        lengths[name] = torch.tensor([len(frames)])
    encoder.eval()
    with torch.inference_mode():
        vector: NDArray[np.float32] = encoder.over_time(features, lengths)[0].float().numpy()
    return vector
