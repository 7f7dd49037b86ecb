"""The paired comparison of two runs, for a terminal."""

from __future__ import annotations

from math import isfinite
from typing import Any

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def render_comparison(table: pd.DataFrame) -> RenderableType:
    """One line a comparison: b − a with its 95 % interval, the corrected p, and what could have been seen at all.

    Args:
        table: what `compare` returned.
    """
    facts = table.attrs
    lines = [
        Text(f"b = {facts['run_b']} against a = {facts['run_a']}: {facts['comparisons']} comparisons, paired by query")
    ]
    for key, (left, right) in facts["differs"].items():
        lines.append(Text(f"  {key}: {left} → {right}", "dim"))
    for key, (left, right) in facts["machine_differs"].items():
        lines.append(Text(f"  measured on unlike machines: {key}: {left} → {right}", "yellow"))
    parts: list[RenderableType] = [*lines]
    for _, group in table.groupby(["stage", "k"], sort=False, dropna=False):
        first: dict[Any, Any] = group.iloc[0].to_dict()
        depth = "" if pd.isna(first["k"]) else f", k = {first['k']}"
        parts += [Text(), Text(f"{first['stage']}{depth}", "bold"), _lines(group)]
    note = "from, to: 95 % interval of b − a. p: Holm-corrected. least: smallest true difference seen with 80 % power."
    return Group(*parts, Text(note, "dim"))


def _lines(group: pd.DataFrame) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    words = {"index", "metric", "verdict"}
    for name in ("index", "metric", "a", "b", "b − a", "from", "to", "p", "least", "verdict"):
        table.add_column(name, justify="left" if name in words else "right", no_wrap=True)
    for row in group.to_dict("records"):
        effort = "" if pd.isna(row["effort"]) else f" {row['effort']:g}"
        table.add_row(
            f"{row['index']}{effort}",
            str(row["metric"]),
            *(_figure(row[name]) for name in ("a", "b")),
            _figure(row["difference"], sign=True),
            *(_figure(row[name], sign=True) for name in ("lo", "hi")),
            "–" if pd.isna(row["p_holm"]) else "<.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}",
            _figure(row["detectable"]),
            str(row["verdict"]).replace("no difference found", "none found"),
        )
    return table


def _figure(value: Any, sign: bool = False) -> str:
    """Three places, four for small numbers; with a sign where it matters."""
    number = float(value)
    if not isfinite(number):
        return "–"
    return f"{number:{'+' if sign else ''}.{3 if abs(number) >= 0.0095 or number == 0 else 4}f}"
