"""Video in tables: what an hour of it costs, what a query costs, and what was cut off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from retrieval_bench.record import RunRecord
from retrieval_bench.report import text
from retrieval_bench.report.rows import Row, number


def video_remarks(record: RunRecord) -> Iterator[str]:
    """A line for an hour of the gallery and one for a query, of each stage; and how many videos were cut off."""
    for stage, facts in record.stages.items():
        if cost := facts.get("video"):
            yield _hour(stage, cost)
            yield _query(stage, cost)
    cut = max((facts.get("truncated", 0) for facts in record.stages.values()), default=0)
    if cut:
        are = "video is cut off: its" if cut == 1 else "videos are cut off: their"
        yield f"{cut:,} {are} good beginning counts as the whole; truncated.csv names {'it' if cut == 1 else 'them'}."


def per_hour(rows: Sequence[Row]) -> bool:
    """Whether sizes of indexes are known for an hour of video."""
    return any(isfinite(number(row, "bytes_per_hour")) for row in rows)


def _hour(stage: str, cost: Mapping[str, Any]) -> str:
    spent, sample = cost["seconds_per_hour"], cost["sample"]
    return (
        f"An hour of video ({stage}) takes {text.count(spent['decode'])} s to {_reading(cost)},"
        f" {_flow(spent['flow'], 's')}{_encoding(spent['encode'], 's')};"
        f" measured on {sample['items']} of {sample['of']:,} items, {text.count(sample['seconds'])} s of"
        f" {text.count(cost['hours'])} h, without any cache."
    )


def _query(stage: str, cost: Mapping[str, Any]) -> str:
    spent, asked = cost["query_ms"], cost["asked"]
    windows = f" of {asked['windows']:g} windows" if asked["windows"] != 1 else ""
    return (
        f"A query{windows} ({stage}) takes {text.milliseconds(spent['decode'])} ms to {_reading(cost)},"
        f" {_flow(spent['flow'], 'ms')}{_encoding(spent['encode'], 'ms')}; medians of {asked['queries']}."
    )


def _reading(cost: Mapping[str, Any]) -> str:
    return "resize (frames are drawn, not decoded)" if cost["drawn"] else "decode"


def _flow(value: float, unit: str) -> str:
    return f"{_number(value, unit)} for flow, " if value else ""


def _encoding(parts: Mapping[str, float], unit: str) -> str:
    named = ", ".join(f"{name} {_number(value, unit)}" for name, value in parts.items())
    return f"{_number(sum(parts.values()), unit)} to encode ({named})"


def _number(value: float, unit: str) -> str:
    return f"{text.count(value)} s" if unit == "s" else f"{text.milliseconds(value)} ms"
