"""After the numbers: figure, page and trackers, none of which may end a run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from retrieval_bench._trained_files import CARD, finish_card
from retrieval_bench.data.base import Dataset
from retrieval_bench.experiment import Experiment
from retrieval_bench.record import TRAINED, Progress, RunRecord, digest, write_json
from retrieval_bench.report.figure import pareto_figure, save_figure
from retrieval_bench.report.page import write_page
from retrieval_bench.report.samples import sample_sheet

_log = logging.getLogger(__name__)


def tell(experiment: Experiment, record: RunRecord, progress: Progress) -> None:
    """Draw, and tell the trackers. Whoever was told the same rows is not told again."""
    figure, page, told = (record.folder / name for name in ("pareto.png", "report.html", "told.json"))
    rows, drawn = digest(record.rows), True
    before = _told(told)
    if before.get("figure") != rows or not (figure.exists() and page.exists()):
        drawn = _drawn(record, figure, page)
    _finish_card(record)
    wanted = {name: make for name, make in experiment.loggers.items() if before.get(name) != rows}
    done = ["figure"] if drawn else []
    if wanted and (factories := _made(wanted)):
        from retrieval_bench.track import Story, track

        progress("tell the trackers", 0, 1)
        pictures = ({"pareto": figure} if figure.exists() else {}) | _gallery(
            experiment, record, fresh=before.get("figure") == rows
        )
        found = track(factories, Story(record, pictures), record.folder)
        for warning in found.warnings:
            _log.warning(warning)
        done += found.done
        progress("tell the trackers", 1, 1)
    now = before | dict.fromkeys(done, rows)
    if now != before:
        write_json(told, now)


def _made(wanted: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """The loggers' classes with their parameters; of one that cannot be had, a warning."""
    from retrieval_bench.track import attempted

    made: dict[str, Any] = {}
    for name, make in wanted.items():
        trouble = list[str]()
        attempted("it did not start", lambda n=name, m=make: made.update({n: m()}), trouble)  # type: ignore[misc]
        for each in trouble:
            _log.warning("%s: %s", name, each)
    return made


def _drawn(record: RunRecord, figure: Path, page: Path) -> bool:
    """Whether figure and page could be drawn. What the file system refuses is the user's to mend, and is raised."""
    try:
        save_figure(pareto_figure(record.points), figure)
        write_page([record], page)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  # a mistake in a picture must not take the numbers with it
        said = f"{type(error).__name__}: {error}"
        _log.warning(
            "the page could not be drawn (%s); the numbers are kept: retrieval-bench report %s", said, record.folder
        )
        return False
    return True


def _finish_card(record: RunRecord) -> None:
    """What the test items say of weights that were trained here belongs to their card."""
    file = record.folder / TRAINED / CARD
    mine = (row for row in record.rows if row["stage"] == TRAINED and row["half"] == "all")
    row = next((row for row in mine if any(name.startswith("exact_") for name in row)), None)
    if row is None or not file.is_file():
        return
    names = [name for name in row if name.startswith("exact_") and f"{name}_lo" in row and row[name] is not None]
    finish_card(file, {name.removeprefix("exact_"): [row[name + end] for end in ("", "_lo", "_hi")] for name in names})


def _gallery(experiment: Experiment, record: RunRecord, fresh: bool) -> dict[str, Path]:
    """Some queries with their neighbours, where the data have pictures; drawn again where the rows are new."""
    file = record.folder / "gallery.png"
    if not isinstance(experiment.data, Dataset):
        return {}
    if not (fresh and file.exists()):
        try:
            sheet = sample_sheet(record, experiment.data)
        except (OSError, ValueError) as error:  # neighbours.parquet is damaged: the numbers stand without a picture
            _log.warning("no retrieval gallery: %s", error)
            return {}
        if sheet is None:
            return {}
        part = file.with_name("gallery.part.png")
        sheet.save(part)
        part.replace(file)
    return {"gallery": file}


def _told(file: Path) -> dict[str, Any]:
    """Who was told which rows; nobody, where the file is missing or damaged."""
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return before if isinstance(before, dict) else {}
