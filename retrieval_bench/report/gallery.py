"""The retrieval gallery of the page: queries with their neighbours, as plain values for the template."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval_bench.examples import FOLDER, SCHEMA
from retrieval_bench.report import text
from retrieval_bench.report.contact_sheet import Verdict
from retrieval_bench.report.lettering import clock

KINDS = {
    "best": "Best: exact search answers these best",
    "worst": "Worst: exact search answers these worst",
    "lost": "Lost by the index: right in the exact list, missing in the index’s",
}
BASE64 = re.compile(r"[A-Za-z0-9+/]+=*")
SOURCE = "data:image/jpeg;base64,"
Told = dict[str, Any]


def galleries(run: Path, stages: Mapping[str, Any], room: int) -> list[Told]:
    """What is shown of each stage; a file that is missing, cut off or of another version is left out.

    Args:
        run: its folder. room: characters of pictures; where they are used up, names stand alone.
    """
    found = []
    for stage in stages:
        try:
            told = json.loads((run / FOLDER / f"{stage}.json").read_text(encoding="utf-8"))
            pictures = _pictures(told["pictures"], room // max(1, len(stages)))
            gallery = _gallery(told, pictures) if told["schema"] == SCHEMA else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if gallery is not None:
            found.append(gallery)
    return found


def _pictures(kept: Mapping[str, str], room: int) -> dict[str, str]:
    found, used = {}, 0
    for name, written in kept.items():
        used += len(written)
        if used <= room and BASE64.fullmatch(written):
            found[name] = SOURCE + written
    return found


def _gallery(told: Told, pictures: Mapping[str, str]) -> Told:
    names = {"exact": "exact search", "index": str(told["index"])}
    moments = "moments" in told
    groups = []
    for kind, title in KINDS.items():
        queries = [one for one in told["moments" if moments else "queries"] if one["kind"] == kind]
        shown = [
            _moments(one, names, pictures) if moments else _query(one, names, pictures, bool(told["strips"]))
            for one in queries
        ]
        if shown:
            groups.append({"title": title, "queries": shown})
    return {"stage": told["stage"], "metric": told["metric"], "groups": groups, "moments": moments}


def _query(query: Told, names: Mapping[str, str], pictures: Mapping[str, str], strips: bool) -> Told:
    lists = []
    for which, items in query["lists"].items():
        right = sum(bool(item["right"]) for item in items)
        lists.append(
            {
                "name": f"{names[which]}: {right} of {len(items)} right",
                "items": [
                    _item(item, pictures, strips)
                    | {
                        "verdict": str(Verdict.RIGHT if item["right"] else Verdict.WRONG),
                        "score": f"{item['score']:.3f}",
                    }
                    for item in items
                ],
            }
        )
    return {"item": _item(query["item"], pictures, strips), "value": text.quality(query["value"]), "lists": lists}


def _item(item: Told, pictures: Mapping[str, str], strips: bool) -> Told:
    source = pictures.get(str(item["picture"]))
    return {"key": str(item["key"]), "label": str(item["label"] or item["key"]), "source": source, "strip": strips}


def _moments(query: Told, names: Mapping[str, str], pictures: Mapping[str, str]) -> Told:
    true = query["true"]
    lines = [
        {
            "name": "true",
            "place": _span(true),
            "bar": _bar(true),
            "truth": None,
            "verdict": "",
            "told": "",
            "source": None,
        }
    ]
    for which, answers in query["lists"].items():
        for rank, answer in enumerate(answers, start=1):
            verdict = Verdict.RIGHT if answer["right"] else Verdict.WRONG
            lines.append(
                {
                    "name": f"{names[which]} #{rank}",
                    "place": _span(answer),
                    "bar": _bar(answer),
                    "truth": _bar(true) if answer["same"] else None,
                    "verdict": str(verdict),
                    "told": f"{verdict}, IoU {answer['iou']:.2f}",
                    "source": pictures.get(str(answer.get("picture"))),
                }
            )
    return {"name": str(query["name"]), "source": pictures.get(str(query["picture"])), "lines": lines}


def _span(part: Told) -> str:
    return f"{part['video']} {clock(float(part['start']))} – {clock(float(part['end']))}"


def _bar(part: Told) -> str:
    """Where on the time line of its video, in CSS."""
    seconds = max(float(part["seconds"]), 1e-9)
    left, right = (min(100.0, max(0.0, 100 * float(part[end]) / seconds)) for end in ("start", "end"))
    return f"left: {left:.2f}%; width: {right - left:.2f}%"
