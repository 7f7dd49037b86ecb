"""The page in a browser: nothing is fetched, nothing fails; it sorts, filters and tells points."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from retrieval_bench.record import RunRecord
from retrieval_bench.report.page import write_page

EVIL = "<script>alert(1)</script>"
Make = Callable[..., pd.DataFrame]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no browser: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


def written(points: pd.DataFrame, folder: Path, copies: int = 1) -> Path:
    rows = json.loads(points.to_json(orient="records"))
    classes = {"metric": "hit_rate@1", "classes": [EVIL, "b"], "n_queries": [3, 4]}
    classes |= {"value": [0.5, 0.6], "lo": [0.4, 0.5], "hi": [0.6, 0.7]}
    stages = {"random": {"by_class": classes}, "pretrained": {}}
    records = [
        RunRecord(f"run{i}", "adhoc", {}, {"data": "glyphs"}, "f", {}, {"run": i}, stages, rows, folder=folder)
        for i in range(copies)
    ]
    return write_page(records, folder / "report.html")


class Shown:
    """A page, and what went wrong with it."""

    def __init__(self, browser: Any, file: Path, width: int = 1280, scheme: str = "light") -> None:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append(dialog.message), dialog.dismiss()))
        self.page.on(
            "request", lambda request: self.wrong.append(request.url) if request.url != file.as_uri() else None
        )
        self.page.goto(file.as_uri())

    def column(self, at: int) -> list[str]:
        rows = self.page.locator("table.index").first.locator("tbody tr:not(.family):visible")
        return [text.strip() for text in rows.locator(f"> :nth-child({at})").all_inner_texts()]


def test_it_sorts_filters_and_tells_points(browser: Any, points: pd.DataFrame, tmp_path: Path) -> None:
    shown = Shown(browser, written(points, tmp_path))
    page, table = shown.page, shown.page.locator("table.index").first
    before = shown.column(3)
    head = table.locator("thead th").nth(2)
    head.click()
    recalls = [float(cell.split()[0]) for cell in shown.column(3) if cell != "–"]
    assert recalls == sorted(recalls, reverse=True) and shown.column(3)[-1] == "–", "what failed stands last"
    head.click()
    assert [float(cell.split()[0]) for cell in shown.column(3) if cell != "–"] == recalls[::-1]
    head.press("Enter")
    assert shown.column(3) == before, "the third time gives the order of the page back"
    page.locator(".tools input").first.fill("graph 64")
    assert [effort.split("●")[0].strip() for effort in shown.column(2)] == ["ef 64"]
    assert page.locator(".tools output").first.inner_text() == "1 of 10 lines"
    dim = page.locator("section svg .tip.dim").count()
    assert dim > 0, "points that are filtered out are pale"
    page.locator(".tools input").first.fill("")
    assert page.locator("section svg .tip.dim").count() == 0
    mark = page.locator("section figure").first.locator(".tip", has=page.locator("use")).nth(3)
    mark.scroll_into_view_if_needed()
    box = mark.locator("use").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    told = page.locator("#told").inner_text()
    assert told.split("\n")[0] in {"exact", *(f"hnsw ef {n}" for n in (16, 32, 64, 128)),
                                   *(f"ivf nprobe {n}" for n in (1, 4, 16, 64))}  # fmt: skip
    assert "ann_recall" in told and "p50" in told
    assert page.locator("tr.lit").count() == 1
    assert shown.wrong == []


def test_a_class_named_like_a_script_is_shown_and_not_run(browser: Any, points: pd.DataFrame, tmp_path: Path) -> None:
    points["index"] = points["index"].replace({"hnsw": EVIL})
    shown = Shown(browser, written(points, tmp_path))
    assert shown.page.get_by_text(EVIL, exact=True).count() >= 2
    assert shown.page.locator("script").count() == 1
    assert shown.wrong == []


def test_without_its_script_all_is_there(browser: Any, points: pd.DataFrame, tmp_path: Path) -> None:
    file = written(points, tmp_path)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert "0.979 ±.004" in page.content()
    assert page.locator(".tools").count() == 0, "no control that does nothing"
    assert page.locator(".tip title").count() > 0, "the browser tells points by itself"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(
    browser: Any, points: pd.DataFrame, tmp_path: Path, width: int, scheme: str
) -> None:
    shown = Shown(browser, written(points, tmp_path, copies=2), width, scheme)
    assert shown.page.evaluate("document.documentElement.scrollWidth") == width
    assert shown.wrong == []


def test_five_hundred_points_answer_at_once(browser: Any, make_points: Make, tmp_path: Path) -> None:
    points = make_points(failed=None)
    points = pd.concat([points.assign(index=points["index"] + f"_{i}") for i in range(28)])
    assert len(points) > 500
    file = written(points, tmp_path)
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    session = page.context.new_cdp_session(page)
    # Processor time of the page's own thread: on a busy machine the clock on the wall says nothing of the page.
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))

    page.goto(file.as_uri())
    page.locator("table.index th.sorts").first.wait_for()
    ready = busy()
    page.locator("table.index").first.locator("thead th").nth(2).click()
    page.locator("table.index.sorted").wait_for()
    sorted_after = busy() - ready
    page.locator(".tools input").first.fill("hnsw_3")
    page.locator("table.index.sifted").wait_for()
    sifted_after = busy() - ready - sorted_after
    print(f"{file.stat().st_size:,} bytes; ready {ready:.2f} s, sorted {sorted_after:.2f}, filtered {sifted_after:.2f}")
