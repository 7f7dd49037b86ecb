"""The paired comparison of two runs, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from retrieval_bench.comparison import COSTS, ENCODER
from retrieval_bench.report import text
from retrieval_bench.report.columns import simple
from retrieval_bench.report.rows import Row, by_kind, number

LATENCY = "latency_"
NEIGHBOURS = ("ann_recall", "distance_ratio")
TIMES = {"latency_p50_ms": "p50 ms", "latency_p95_ms": "p95 ms"}
ALWAYS = ("ann_recall", *TIMES)  # and the first label metric
BETTER = {
    "a better": "a",
    "b better": "b",
    "no difference found": "–",
    "too few queries": "too few",
    "not comparable: other machine": "machine",
}
NOTES = (
    "b − a: over the same queries, with its 95 % interval. p: Holm-corrected, the encoder and indexes apart.",
    "least: smallest true difference that would be found in 80 % of cases.",
    "better –: no difference was found, which is not to say that there is none.",
)
FEW = "too few: a quantile of the times of fewer queries than an interval takes."
MACHINE = "machine: times of unlike machines are not judged."


def render_comparison(table: pd.DataFrame) -> RenderableType:
    """One line a comparison: a, b, b − a with its interval, the corrected p, and what could have been seen at all.

    Of the encoder, every label metric is shown; of an index the first, ann_recall and two latencies, and what it takes
    to build and keep.

    Args:
        table: what `compare` returned.
    """
    facts = table.attrs
    lines = [Text(f"b = {facts['run_b']} against a = {facts['run_a']}: {facts['comparisons']} comparisons")]
    lines += [Text(f"  {line}", "dim") for line in _differs(facts["differs"])]
    for key, (left, right) in facts["machine_differs"].items():
        lines.append(Text(f"  measured on unlike machines: {key}: {left} → {right}", "yellow"))
    if alone := facts.get("not_compared"):
        lines.append(Text(f"  not in both, or with no clear counterpart: {', '.join(alone)}", "yellow"))
    parts: list[RenderableType] = [*lines]
    left_out = others = 0
    for _, group in table.groupby(["stage", table["index"] == ENCODER, "k"], sort=False, dropna=False):
        rows: list[Row] = group.to_dict("records")  # type: ignore[assignment]
        shown = _shown(rows)
        left_out += len(rows) - len(shown)
        others += sum(_found(row) for row in rows) - sum(_found(row) for row in shown)
        parts += [Text(), Text(_title(rows[0]), "bold"), _lines(shown)]
    parts += _cost_parts(facts.get("costs", []))
    verdicts = set(table["verdict"])
    notes = [*NOTES, *([FEW] * ("too few queries" in verdicts)), *([MACHINE] * bool(facts["machine_differs"]))]
    if left_out:
        found = f", {others} with a difference" if others else ""
        notes.append(f"{left_out} more comparisons of other metrics{found}: retrieval_bench.compare(a, b) has all.")
    return Group(*parts, Text(), *(Text(note, "dim") for note in notes))


def _differs(differs: Mapping[str, Sequence[Any]]) -> list[str]:
    """Settings that differ, one line each; of a component that only one side has, one line for all."""
    components: dict[str, list[Sequence[Any]]] = {}
    for key, sides in differs.items():
        components.setdefault(key.rpartition(".")[0], []).append(sides)
    lines = []
    for key, (left, right) in differs.items():
        name = key.rpartition(".")[0]
        alone = [side for side in (0, 1) if all(sides[side] is None for sides in components[name])]
        if f"{name}._target_" in differs and alone:
            lines.append(f"{name}: only in {'ba'[alone[0]]}")
        else:
            lines.append(f"{key}: {_told(left)} → {_told(right)}")
    return list(dict.fromkeys(lines))


def _told(value: Any) -> str:
    return "none" if value is None else str(value)


def _found(row: Row) -> bool:
    return row["verdict"] in {"a better", "b better"}


def _title(row: Row) -> str:
    if row["index"] == ENCODER:
        depth = number(row, "k")  # of moments
        return f"{row['stage']}: the encoder alone, with exact search" + (
            f", k = {depth:.0f}" if isfinite(depth) else ""
        )
    return f"{row['stage']}, k = {row['k']}"


def _shown(rows: Sequence[Row]) -> list[Row]:
    """What a reader needs; of the encoder everything. By metric, then in the order of the points."""
    metrics = list(dict.fromkeys(str(row["metric"]) for row in rows))
    if rows[0]["index"] == ENCODER:
        return [row for name in by_kind(metrics) for row in rows if row["metric"] == name]
    judged = [name for name in metrics if name not in NEIGHBOURS and not name.startswith(LATENCY)]
    return [row for name in (*judged[:1], *ALWAYS) for row in rows if row["metric"] == name]


def _lines(rows: Sequence[Row]) -> Table:
    table = simple()
    table.add_column("", overflow="fold")
    names = _short_names(rows)
    for name in ("a", "b", "b − a", "p", "least"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("better", no_wrap=True)
    previous = None
    for row in rows:
        metric = str(row["metric"])
        alone = row["index"] == ENCODER
        if not alone and metric != previous:
            table.add_row(Text(_metric(row), "bold"), *[""] * 6)
        previous = metric
        effort = f" {value:g}" if isfinite(value := number(row, "effort")) else ""
        table.add_row(Text(metric if alone else f"  {names[row['index']]}{effort}"), *map(Text, _figures(row)))
    return table


def _short_names(rows: Sequence[Row]) -> dict[str, str]:
    """Each index without its build parameters, where that is clear; the settings that differ stand above."""
    names = {str(row["index"]): str(row["index"]).partition(" (")[0] for row in rows}
    short = list(names.values())
    return {name: name if short.count(less) > 1 else less for name, less in names.items()}


def _metric(row: Row) -> str:
    metric = str(row["metric"])
    return f"{metric}@{row['k']}" if metric in NEIGHBOURS else TIMES.get(metric, metric)


def _figures(row: Row) -> list[str]:
    names = ("a", "b", "difference", "lo", "hi", "p_holm", "detectable")
    a, b, difference, low, high, p, least = (number(row, name) for name in names)
    size = max(abs(a), abs(b))
    time = str(row["metric"]).startswith(LATENCY)
    places = text.time_places(size) if time else 4 if size < 0.1 else 3
    gap = text.with_interval(0.0 if abs(difference) < 0.5 * 10.0**-places else difference, low, high, places)
    chance = text.BLANK if not isfinite(p) else "<.001" if p < 0.001 else f"{p:.3f}"
    return [
        *(text.with_interval(value, nan, nan, places) for value in (a, b)),
        f"+{gap}" if round(difference, places) > 0 else gap,
        chance,
        text.with_interval(least, nan, nan, places),
        BETTER.get(str(row["verdict"]), str(row["verdict"])),
    ]


def _cost_parts(costs: Sequence[Row]) -> list[RenderableType]:
    """What each index takes, a beside b: one line an index and stage."""
    if not costs:
        return []
    table = simple()
    table.add_column("", overflow="fold")
    for name in ("size a", "b", "build s a", "b", "peak memory a", "b"):
        table.add_column(name, justify="right", no_wrap=True)
    stages = {row["stage"] for row in costs}
    for row in costs:
        name = f"{row['index']}, {row['stage']}" if len(stages) > 1 else str(row["index"])
        numbers = {key: [nan if value is None else float(value) for value in row[key]] for key in COSTS}
        seconds = [f"{s:.2f}" if isfinite(s) else text.BLANK for s in numbers["build_s"]]
        sizes, memory = (list(map(text.size, numbers[key])) for key in ("index_bytes", "peak_rss_bytes"))
        table.add_row(Text(name), *map(Text, (*sizes, *seconds, *memory)))
    return [Text(), Text("What an index costs to build and keep", "bold"), table]
