"""Moment queries to look at: where in which video they were found, and where they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval_bench._thumbnails import FRAMES, Thumbnails
from retrieval_bench.data.base import Items, MomentDataset
from retrieval_bench.errors import CorruptInput
from retrieval_bench.points import Stage
from retrieval_bench.types import Segments

SHOWN, EACH = 3, 2  # answers of a query; queries of a kind
RIGHT = 0.5  # IoU from which an answer is right

Told = dict[str, Any]
Place = tuple[int, float, float]  # video, start and end in seconds


def moment_examples(data: MomentDataset, stage: Stage, tables: Mapping[str, pd.DataFrame]) -> Told:
    """Some queries, each with its true moment and the first answers; empty where there is no index to show.

    Args:
        tables: `exact`, `index` → lines of the table `moments` of one operating point.
    """
    lists = {name: _answers(table) for name, table in tables.items()}
    if not lists or stage.moments is None:
        return {}
    known = data.moments()
    truth = {
        int(query): (name, (int(video), float(start), float(end)))
        for query, name, video, start, end in zip(
            known.queries, known.names, known.videos, known.starts, known.ends, strict=True
        )
    }
    pictures, videos, queries = Thumbnails(data), data.videos(), []
    for kind, query in _chosen(truth, lists):
        name, place = truth[query]
        told: Told = {"kind": kind, "name": name, "true": _place(place, videos)}
        told["picture"] = pictures.keep_frames(f"q{query}", _frames(data.queries(), data.query_segments(), query, None))
        told["lists"] = {which: [_answer(one, place, videos) for one in found.get(query, [])[:SHOWN]]
                         for which, found in lists.items()}  # fmt: skip
        for which, found in lists.items():
            for told_one, one in zip(told["lists"][which], found.get(query, [])[:1], strict=False):
                frames = _frames(data.gallery(), data.gallery_segments(), one[0], (one[1], one[2]))
                told_one["picture"] = pictures.keep_frames(f"{one[0]}_{one[1]:g}_{one[2]:g}", frames)
        queries.append(told)
    return {"metric": "IoU of the first answer", "moments": queries, "pictures": pictures.kept}


def _answers(table: pd.DataFrame) -> dict[int, list[tuple[int, float, float, float]]]:
    """Query → (video, start, end, score), best first, of one operating point."""
    found = {}
    for line in table.to_dict("records"):
        parts = (line[name] for name in ("videos", "starts", "ends", "scores"))
        found[int(line["query_id"])] = [
            (int(video), float(start), float(end), float(score))
            for video, start, end, score in zip(*parts, strict=True)
        ]
    return found


def overlap(a: Place, b: Place) -> float:
    """Intersection over union of two parts of videos; 0 in different ones.

    >>> overlap((1, 0.0, 4.0), (1, 2.0, 6.0)), overlap((1, 0.0, 4.0), (2, 0.0, 4.0))
    (0.3333333333333333, 0.0)
    """
    if a[0] != b[0]:
        return 0.0
    shared = max(0.0, min(a[2], b[2]) - max(a[1], b[1]))
    return shared / (a[2] - a[1] + b[2] - b[1] - shared)


def _chosen(
    truth: Mapping[int, tuple[str, Place]], lists: Mapping[str, Mapping[int, list[Any]]]
) -> list[tuple[str, int]]:
    first = next(iter(lists.values()))
    asked = sorted(query for query in first if query in truth)

    def hit(which: str, query: int) -> float:
        answers = lists[which].get(query, [])
        return overlap(answers[0][:3], truth[query][1]) if answers else 0.0

    which = next(iter(lists))
    ordered = sorted(asked, key=lambda query: -hit(which, query))
    chosen = [("best", query) for query in ordered[:EACH]]
    chosen += [("worst", query) for query in ordered[EACH:][::-1][:EACH]]
    if len(lists) > 1:
        taken = {query for _, query in chosen}
        lost = {query: hit("exact", query) - hit("index", query) for query in asked if query not in taken}
        chosen += [("lost", query) for query in sorted(lost, key=lambda query: -lost[query])[:EACH] if lost[query] > 0]
    return chosen


def _place(place: Place, videos: Mapping[int, Any]) -> Told:
    video = videos.get(place[0])
    name, seconds = ("?", place[2]) if video is None else (video.name, video.seconds)
    return {"video": name, "start": place[1], "end": place[2], "seconds": float(seconds)}


def _answer(found: tuple[int, float, float, float], true: Place, videos: Mapping[int, Any]) -> Told:
    iou = overlap(found[:3], true)
    told = {"score": found[3], "iou": iou, "right": iou >= RIGHT, "same": found[0] == true[0]}
    return _place(found[:3], videos) | told


def _frames(items: Items, segments: Segments, item: int, part: tuple[float, float] | None) -> NDArray[np.uint8] | None:
    """The middle frames of windows that are spread evenly over an item, or over a part of it."""
    rows = np.flatnonzero(segments.items == item)
    if not len(rows):
        return None
    start, end = part or (float(segments.starts[rows[0]]), float(segments.ends[rows[-1]]))
    middles = (segments.starts[rows] + segments.ends[rows]) / 2
    wanted = start + (np.arange(FRAMES) + 0.5) * (end - start) / FRAMES
    found = []
    for row in rows[np.abs(middles[:, None] - wanted).argmin(axis=0)]:
        try:
            frames = items.read(int(row)).get("rgb")
        except CorruptInput:
            continue
        if frames is not None:
            found.append(frames[len(frames) // 2])
    return np.stack(found) if found else None
