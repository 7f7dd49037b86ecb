"""What video costs: seconds of decoding, flow and encoding for an hour of it, and milliseconds for one query."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._lists import places
from retrieval_bench.data.base import Anew, Items
from retrieval_bench.embed import OVER_TIME, Embedded, gallery_engine
from retrieval_bench.encoder.base import Engine, prepare
from retrieval_bench.errors import CorruptInput
from retrieval_bench.hashing import json_digest
from retrieval_bench.record import write_json
from retrieval_bench.turns import measuring

if TYPE_CHECKING:
    from retrieval_bench.encoder.base import Encoder

_log = logging.getLogger(__name__)
Ints = NDArray[np.int64]
_SCHEMA = 2  # part of the cache key
_SAMPLE, _QUERIES = 16, 8  # items of the gallery, and queries, that are read anew at most
_BUDGET = 20.0  # seconds of reading anew, a side, after which no further one is begun


@dataclass(frozen=True, eq=False)
class Side:
    """Queries or gallery. owner: [n] what each item is a window of; none where an item is a whole query."""

    items: Items
    embedded: Embedded
    owner: Ints | None = None

    @property
    def rows(self) -> Ints:
        """Of the items that could be read."""
        return places(self.embedded.embeddings.ids, self.items.ids)[0]

    def groups(self, seed: int = 0) -> Iterator[Ints]:
        """Rows of one query after another, in a seeded order."""
        rows = self.rows
        owner = rows if self.owner is None else self.owner[rows]
        for name in np.random.default_rng(seed).permutation(np.unique(owner)):
            yield rows[owner == name]


@dataclass(frozen=True)
class Encoding:
    """By what the frames are encoded, and where it is kept."""

    encoder: Encoder
    native_size: int | None
    batch_size: int
    cache: Path

    def engine(self, name: str, facts: Mapping[str, Any]) -> Engine:
        """Of an input's frames, as the gallery's were encoded."""
        frame = self.encoder.frames()[name]
        return gallery_engine(frame, facts, frame.preprocessing(self.native_size), self.cache)


def video_cost(gallery: Side, queries: Side, encoding: Encoding) -> dict[str, Any] | None:
    """What the clips of a stage cost, as JSON: measured past every cache on a sample, once, and then kept.

    `seconds_per_hour` of gallery video: `decode` (with resizing) and `flow` by one thread, `encode` of each input
    (preparing included) by the engine and in the batches of the run, `over time`. Of windows every one is read and
    encoded, so that overlapping ones count twice. `query_ms` are the same parts of one query with nothing ahead of it,
    medians; of a query of windows those of all its windows one by one. `sample` says of how much the first were taken
    and `asked` of how many queries the second; `hours` is the length of the gallery, `drawn` that nothing was decoded.

    Args:
        gallery, queries: both sides, embedded.
        encoding: what encoded them.

    Returns:
        None where items are no videos, or nothing of them can be read.
    """
    if gallery.items.video is None or queries.items.video is None or not encoding.encoder.frames():
        return None
    sides = [side.embedded.embeddings.fingerprint for side in (gallery, queries)]
    file = (
        encoding.cache / "costs" / f"{json_digest([_SCHEMA, *sides, queries.owner is None, encoding.batch_size])}.json"
    )
    try:
        kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        with measuring(_log.warning):
            found = _measured(gallery, queries, encoding)
        if found is None:
            return None
        write_json(file, found)
        kept = json.loads(file.read_text(encoding="utf-8"))
    return kept


def query_ms(cost: Mapping[str, Any]) -> float:
    """Milliseconds until one query is a vector, or all its windows are: decoding, flow and encoding together."""
    parts = cost["query_ms"]
    return float(parts["decode"] + parts["flow"] + sum(parts["encode"].values()))


def cut_short(sides: Sequence[Items]) -> list[tuple[str, str]]:
    """(key, reason) of the videos of both sides that are cut off, each once."""
    videos = {id(side): side.video for side in sides if side.video is not None}
    return list(dict(found for video in videos.values() for found in video.truncated()).items())


def _measured(gallery: Side, queries: Side, encoding: Encoding) -> dict[str, Any] | None:
    inputs, ms = encoding.encoder.inputs, queries.embedded.parts_ms
    sample, asked = _sampled(gallery, inputs, _SAMPLE), _asked(queries, inputs)
    video = gallery.items.video
    if not sample or not asked or video is None:
        return None
    lengths = video.seconds()
    seconds, whole = float(lengths[list(sample)].sum()), float(np.nansum(lengths[gallery.rows]))
    if not seconds > 0:
        return None
    windows = median(len(one) for one in asked)
    encode = {name: _encode_s(name, list(sample.values()), gallery, encoding) for name in encoding.encoder.frames()}
    spent = {
        "decode": sum(one.decode_s for one in sample.values()),
        "flow": sum(one.flow_s for one in sample.values()),
    }
    over_time = gallery.embedded.parts_ms[OVER_TIME] / 1e3 * len(sample)
    return {
        "sample": {"items": len(sample), "of": len(gallery.rows), "seconds": seconds},
        "asked": {"queries": len(asked), "windows": windows},
        "hours": whole / 3600,
        "drawn": video.drawn,
        "seconds_per_hour": {name: value / seconds * 3600 for name, value in spent.items()}
        | {"encode": {name: value / seconds * 3600 for name, value in (encode | {OVER_TIME: over_time}).items()}},
        "query_ms": {
            "decode": 1e3 * median(sum(part.decode_s for part in one) for one in asked),
            "flow": 1e3 * median(sum(part.flow_s for part in one) for one in asked),
            "encode": {name: windows * value for name, value in ms.items()},
        },
    }


def _sampled(side: Side, inputs: tuple[str, ...], most: int) -> dict[int, Anew]:
    """Row → what reading it anew gave, of single items."""
    alone = Side(side.items, side.embedded)
    return {int(rows[0]): found[0] for rows, found in _read(alone, inputs, most)}


def _asked(side: Side, inputs: tuple[str, ...]) -> list[list[Anew]]:
    """What reading anew gave, of all windows of each query."""
    return [found for _, found in _read(side, inputs, _QUERIES)]


def _read(side: Side, inputs: tuple[str, ...], most: int) -> Iterator[tuple[Ints, list[Anew]]]:
    """At most so many queries (or items), fewer where they take long; one that cannot be read any more is passed by.

    The very first item is read twice and counts once: the first time, libraries are loaded.
    """
    video, begin, given, warm = side.items.video, perf_counter(), 0, False
    if video is None:
        return
    for rows in side.groups():
        if given == most or (given and perf_counter() - begin > _BUDGET):
            return
        try:
            if not warm:
                video.anew(int(rows[0]), inputs)
            found = [video.anew(row, inputs) for row in rows.tolist()]
        except CorruptInput:
            continue
        given, warm = given + 1, True
        yield rows, found


def _encode_s(name: str, sample: list[Anew], side: Side, encoding: Encoding) -> float:
    """Seconds to prepare and encode all frames of an input, in batches; one batch goes ahead untimed."""
    engine = encoding.engine(name, side.embedded.engine[name])
    frames, size = [frame for one in sample for frame in one.arrays[name]], encoding.batch_size

    def batches(most: int) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, most, size):
            yield np.stack([prepare(frame, engine.preprocessing) for frame in frames[start : start + size]])

    for _ in engine.run(batches(1)):
        pass
    begin = perf_counter()
    for _ in engine.run(batches(len(frames))):
        pass
    return perf_counter() - begin
