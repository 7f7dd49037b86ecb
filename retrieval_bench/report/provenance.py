"""Where a run's numbers come from: build parameters, protocol, machine, and the command that measures again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval_bench.naming import flat
from retrieval_bench.record import RunRecord
from retrieval_bench.report import text
from retrieval_bench.report.rows import FLOOR_INDEX, Row, distinct


def build_params(row: Row) -> str:
    """Build parameters as one types them."""
    try:
        params = json.loads(str(row.get("index_params", "{}")))
    except ValueError:
        return str(row.get("index_params"))
    return ", ".join(f"{key}={_plain(value)}" for key, value in flat(params).items()) or text.BLANK


def told_facts(record: RunRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    """Protocol, machine and versions as tables."""
    told = {"Protocol": record.protocol, "Environment": record.environment, "Seeds": record.seeds}
    return [(name, [(str(key), _plain(value)) for key, value in values.items()]) for name, values in told.items()]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " · ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def command(record: RunRecord) -> str:
    """What measures again, from the same embeddings."""
    searched = distinct((row for row in record.rows if row.get("index") != FLOOR_INDEX), "index")
    which = f" 'search=[{','.join(map(str, searched))}]'" if searched else ""
    return f"retrieval-bench run from={place(record)}{which} force=true"


def place(record: RunRecord) -> str:
    """The run's folder. Paths of a machine stay out of the page."""
    folder = record.folder
    return (Path("runs", folder.parent.name, folder.name) if folder.is_absolute() else folder).as_posix()
