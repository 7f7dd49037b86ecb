"""A few queries with their neighbours, right or wrong, in one picture: what a tracker shows of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from retrieval_bench.data.base import Dataset, Items
from retrieval_bench.errors import RetrievalBenchError
from retrieval_bench.naming import index_labels
from retrieval_bench.record import RunRecord
from retrieval_bench.report.contact_sheet import INK, PAPER, Neighbour, Verdict, contact_sheet
from retrieval_bench.report.lettering import font
from retrieval_bench.report.rows import FLOOR_INDEX, effort_label
from retrieval_bench.report.strips import Strip, strip_sheet
from retrieval_bench.truth import judge_ids, restrict
from retrieval_bench.types import GroundTruth

QUERIES, NEIGHBOURS, HEADING = 5, 5, 30
_POINT = ["stage", "index", "index_params", "effort", "build_seed", "k"]
Side = tuple[Items, dict[int, int]]  # items, and id → row


@dataclass(frozen=True, eq=False)
class _List:
    """The neighbours of one query, nearest first, and what each is."""

    query: int
    ids: list[int]
    scores: list[float]
    verdicts: list[Verdict]


def sample_sheet(record: RunRecord, data: Dataset) -> Image.Image | None:
    """Evenly chosen queries of the run's last stage, through exact search where it was measured, else its first index.

    Evenly by the share of their neighbours that are right: the worst, the best, and those between; so neither luck nor
    taste chooses. None where the run kept no lists.

    Raises:
        OSError, ValueError: neighbours.parquet cannot be read.
    """
    file = record.folder / "neighbours.parquet"
    points = pd.read_parquet(file, columns=_POINT) if file.exists() else pd.DataFrame()
    point = _point(points, str(list(record.stages)[-1])) if len(points) else None
    if point is None:
        return None
    lists = pd.read_parquet(file, filters=[(key, "==", point[key]) for key in ("stage", "index", "index_params")])
    for key in _POINT:
        lists = lists[lists[key].isna() if pd.isna(point[key]) else lists[key] == point[key]]
    sides = _side(data.queries()), _side(data.gallery())
    chosen = _chosen(_lists(lists, data.truth(), sides))
    label = index_labels([(point["index"], point["index_params"])])[point["index"], point["index_params"]]
    knobs = {row["index"]: row.get("knob") for row in record.rows}
    effort = effort_label({**point, "knob": knobs.get(point["index"])})
    title = " ".join(f"{point['stage']} weights, through {label} {effort}".split())
    return _stacked(title, [_drawn(each, sides) for each in chosen])


def _point(table: pd.DataFrame, stage: str) -> dict[str, Any] | None:
    """One operating point: exact search if it is there, the highest effort, the deepest lists."""
    table = table[(table["stage"] == stage) & (table["index"] != FLOOR_INDEX)]
    if not len(table):
        return None
    exact = table[table["index"] == "exact"]
    table = exact if len(exact) else table[table["index"] == table["index"].iloc[0]]
    last = table.sort_values(["effort", "k"], na_position="first", kind="stable").iloc[-1]
    return {key: last[key] for key in _POINT}


def _side(items: Items) -> Side:
    return items, {int(item): row for row, item in enumerate(items.ids)}


def _lists(table: pd.DataFrame, truth: GroundTruth | None, sides: tuple[Side, Side]) -> list[_List]:
    """Judged, those whose query is still among the data."""
    queries = np.array([q for q in table["query_id"] if int(q) in sides[0][1]], np.int64)
    table = table.set_index("query_id").loc[queries]
    ids = np.stack([np.asarray(row, np.int64)[:NEIGHBOURS] for row in table["ids"]]) if len(table) else None
    if ids is None:
        return []
    hits = None
    if truth is not None:
        hits = judge_ids(ids, restrict(truth, queries, sides[1][0].ids)).hits
    found = []
    for i, query in enumerate(queries):
        kept = [j for j in range(ids.shape[1]) if ids[i, j] >= 0]
        verdicts = [Verdict.UNKNOWN if hits is None else Verdict.RIGHT if hits[i, j] else Verdict.WRONG for j in kept]
        scores = np.asarray(table["scores"].iloc[i], np.float64)
        found.append(_List(int(query), [int(ids[i, j]) for j in kept], [float(scores[j]) for j in kept], verdicts))
    return found


def _chosen(lists: Sequence[_List]) -> list[_List]:
    ranked = sorted(lists, key=lambda each: sum(verdict is Verdict.RIGHT for verdict in each.verdicts))
    places = np.unique(np.linspace(0, len(ranked) - 1, min(QUERIES, len(ranked))).round().astype(int))
    return [ranked[place] for place in places]


def _drawn(one: _List, sides: tuple[Side, Side]) -> Image.Image:
    """A contact sheet, or strips where the items are videos."""
    query = sides[0][1][one.query]
    pixels, name = _read(sides[0][0], query), _name(sides[0][0], query)
    found = []
    for item, score, verdict in zip(one.ids, one.scores, one.verdicts, strict=True):
        row = sides[1][1].get(item)
        read = None if row is None else _read(sides[1][0], row)
        found.append((score, verdict, "" if row is None else _name(sides[1][0], row), read))
    if pixels is not None and pixels.ndim == 4:
        strips = [
            Strip(f"{rank}   {score:.3f}", label, read, None, verdict)
            for rank, (score, verdict, label, read) in enumerate(found, start=1)
        ]
        return strip_sheet(Strip("query", name, pixels), strips)
    query_pixels = np.full((8, 8, 3), 245, np.uint8) if pixels is None else pixels
    return contact_sheet(query_pixels, name, [Neighbour(label, s, label, v, read) for s, v, label, read in found])


def _read(items: Items, row: int) -> NDArray[np.uint8] | None:
    """Its picture or frames, or none where they cannot be read any more."""
    try:
        arrays = items.read(row)
    except (RetrievalBenchError, OSError):
        return None
    return arrays.get("image", arrays.get("rgb"))


def _name(items: Items, row: int) -> str:
    """Its label, else its key."""
    if items.labels is None:
        return str(items.keys[row])
    return str(items.label_names.get(int(items.labels[row]), items.labels[row]))


def _stacked(title: str, sheets: Sequence[Image.Image]) -> Image.Image | None:
    if not sheets:
        return None
    size = max(sheet.width for sheet in sheets), HEADING + sum(sheet.height for sheet in sheets)
    whole = Image.new("RGB", size, PAPER)
    ImageDraw.Draw(whole).text((12, 8), title, fill=INK, font=font(13))
    y = HEADING
    for sheet in sheets:
        whole.paste(sheet, (0, y))
        y += sheet.height
    return whole
