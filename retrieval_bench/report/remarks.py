"""What a record tells beside its points: counts, checks and findings that belong next to the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from retrieval_bench.record import RunRecord
from retrieval_bench.report import text
from retrieval_bench.report.break_even import round_size
from retrieval_bench.report.classes import class_table
from retrieval_bench.report.moments import moment_remarks
from retrieval_bench.report.rows import FLOOR_INDEX, failed, interval, operating_points
from retrieval_bench.report.table import RunFacts
from retrieval_bench.report.training import training_remarks
from retrieval_bench.report.video import video_remarks

SHOWN = 3  # metrics in a remark
OPEN = 0.001  # a bound this far from its value is worth a remark, however wide the interval


def run_facts(record: RunRecord, files: Sequence[str] = ()) -> RunFacts:
    """What the table says beside the points of a record.

    Args:
        record: of a finished run.
        files: what the run wrote, relative to where the user stands.
    """
    lost = [facts.get("nothing_relevant", {}) for facts in record.stages.values()]
    most: dict[str, Any] = max(lost, key=lambda one: int(one.get("count", 0)), default={})
    return RunFacts(
        protocol={key: value for key, value in record.protocol.items() if not isinstance(value, dict | None)},
        nothing_relevant=int(most.get("count", 0)),
        queries=("window", "windows") if any("moments" in f for f in record.stages.values()) else ("query", "queries"),
        lost_classes=[str(name) for name in most.get("classes", most.get("labels", []))],
        unreadable=max((facts.get("unreadable", 0) for facts in record.stages.values()), default=0),
        remarks=list(_remarks(record)),
        files=list(files),
        classes=class_table(record),
    )


def _remarks(record: RunRecord) -> Iterator[str]:
    for stage, facts in record.stages.items():
        yield from training_remarks(record, stage)
        if stored := facts.get("stored_neighbours"):
            yield f"Exact search against the stored neighbours: ann_recall@{stored['k']} = {stored['ann_recall']:.4f}"
        judged = (r for r in record.rows if r["stage"] == stage and r.get("half") == "all" and not failed(r))
        exact = next((row for row in judged if row["index"] != FLOOR_INDEX), {})
        wide = open_metrics(exact, facts.get("tie_bounds", {}))
        if wide:
            yield f"Equal scores leave open ({stage}): {_first(wide)}; ties stand in random order."
        yield from _targets(facts)
        yield from _lost_moments(stage, facts.get("moments") or {})
        yield from _encoders(stage, facts)
    yield from video_remarks(record)
    yield from _clients(record)
    if len(record.points):
        yield from moment_remarks(operating_points(record.points))


def _encoders(stage: str, facts: Mapping[str, Any]) -> Iterator[str]:
    """What computed the vectors; of clips for each input, which all go through one kind of engine."""
    engine, how = facts.get("engine") or {}, facts.get("preprocessing") or {}
    of = (
        {stage: (engine, how)}
        if "engine" in engine
        else {f"{stage}, {name}": (engine[name], how[name]) for name in engine}
    )
    for name, (made, prepared) in of.items():
        if made.get("engine"):
            yield f"Encoder ({name}): {made['engine']}, {made['precision']}, {prepared['size']} px"


def _lost_moments(stage: str, facts: Mapping[str, Any]) -> Iterator[str]:
    """Moment queries that are left out, by name."""
    if gone := facts.get("unreadable"):
        yield f"No window of {len(gone)} queries could be read ({stage}), so they are left out: {_first(gone)}."
    if lost := facts.get("nothing_relevant"):
        many = "query has its true moment" if len(lost) == 1 else "queries have their true moments"
        yield f"{len(lost)} {many} where no window of a video could be read ({stage}): left out of the means."


def _clients(record: RunRecord) -> Iterator[str]:
    """How many asked at once, and for how long; whose, where not all indexes were asked alike."""
    asked: dict[tuple[int, float], list[str]] = {}
    for row in record.rows:
        count, seconds = row.get("clients"), row.get("client_seconds")
        if count and seconds and row["index"] != FLOOR_INDEX:
            names = asked.setdefault((int(count), float(seconds)), [])
            names += [] if row["index"] in names else [str(row["index"])]
    told = [f"{count} at once for {seconds:g} s a point" for count, seconds in asked]
    if len(asked) > 1:
        told = [f"{one} ({', '.join(names)})" for one, names in zip(told, asked.values(), strict=True)]
    if asked:
        yield f"Clients: {'; '.join(told)}."


def _targets(facts: Mapping[str, Any]) -> Iterator[str]:
    """What was asked of indexes and not reached, and the gallery sizes from which each beats exact search."""
    for choice in facts.get("choices", []):
        if not choice["reached"]:
            best = max(choice["tried"].values())
            yield (
                f"{choice['index']} does not reach {choice['target']} at k = {choice['k']}:"
                f" {abs(best):.3f} at effort {choice['effort']}"
            )
    sizes: dict[str, list[str]] = {}
    for even in facts.get("break_even", []):
        size = even["size"]
        told = "never" if size is None else "at every size" if size == 0 else f"from {round_size(size)} vectors"
        sizes.setdefault(even["target"], []).append(f"{even['index']} {told}")
    for target, lines in sizes.items():
        yield f"Faster than exact search, measured at {target}: {', '.join(lines)}."


def _first(told: Sequence[str]) -> str:
    """The first few of them, and how many more."""
    more = f" and {len(told) - SHOWN} more (record.json)" if len(told) > SHOWN else ""
    return ", ".join(told[:SHOWN]) + more


def open_metrics(row: Mapping[str, Any], bounds: Mapping[str, Sequence[float]]) -> list[str]:
    """Label metrics that the order among equal scores moves by more than OPEN, or than half of their interval.

    Args:
        row: a row with the `exact_` metrics.
        bounds: metric → [pessimistic, optimistic] mean of the exact search.
    """
    found = []
    for name, (worst, best) in bounds.items():
        value, low, high = interval(row, f"exact_{name}")
        if not isfinite(value):
            continue
        half = (high - low) / 2 if isfinite(high - low) else OPEN
        if max(best - value, value - worst) > min(OPEN, half):
            found.append(f"{name} {text.quality(worst)} to {text.quality(best)}")
    return found
