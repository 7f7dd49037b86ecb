import errno
import json
import os
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retrieval_bench.collapse import collapse_facts
from retrieval_bench.errors import BadConfig, OutOfSpace
from retrieval_bench.record import RunRecord, write_json
from retrieval_bench.report.common import common_tables
from retrieval_bench.report.page import LIMIT, Detail, page, report_runs, write_page
from retrieval_bench.runs import found_runs

Make = Callable[..., pd.DataFrame]
EVIL = "<script>alert(1)</script>"
LOADS = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Tags, texts and what they load; refuses tags that do not close in order, and ids that stand twice."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), "a script in an attribute"
            if name in LOADS:
                self.loads.append(str(value))
            if name == "id":
                self.ids.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} " if self.open and self.open[-1] not in {"style", "script", "title"} else ""


def record(points: pd.DataFrame, folder: Path = Path("runs/adhoc/3f2a90c1"), **stages: Any) -> RunRecord:
    rows = json.loads(points.to_json(orient="records"))
    environment = {"cpu": "a processor", "versions": {"numpy": "2.4", "torch": "2.6"}}
    return RunRecord(
        folder.name, "adhoc", {}, {"data": "glyphs", "split": "test"}, "f", environment, {"run": 0}, stages, rows,
        folder=folder,
    )  # fmt: skip


def words(read: Page) -> str:
    return " ".join(read.text.split())


@pytest.mark.slow
def test_one_run_is_told_whole(points: pd.DataFrame) -> None:
    read = Page(page([record(points)]))
    text = words(read)
    for told in (
        "glyphs efficientnet_lite0, 1280-d · cosine · 4,096 queries × 20,480 gallery · run 3f2a90c1 of “adhoc”",
        "lsh failed (random, pretrained): hnsw is not installed; type: pip install 'retrieval-bench[hnsw]'",
        "The encoder’s part", "The index’s part pretrained weights, k = 10", "0.979 ±.004",
        "an index is 14 × as fast as exact search", "0.0009 ms of it is the floor",
        "retrieval-bench run from=runs/adhoc/3f2a90c1 'search=[exact,ivf,hnsw,lsh]'", "numpy 2.4 · torch 2.6",
    ):  # fmt: skip
        assert told in text, told
    assert read.tags.count("svg") == 2 * (1 + 3 + 1), "a panel: the front, three others, where quality is lost"
    assert read.tags.count("nav") == 0


@pytest.mark.slow
def test_it_needs_no_script_and_loads_nothing(points: pd.DataFrame) -> None:
    html = page([record(points), record(points)])
    read = Page(html)
    assert not {"link", "img", "iframe", "object"} & set(read.tags)
    assert read.tags.count("script") == 1, "our own; the page forbids every other by its digest"
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in html
    assert "default-src 'none'" in html
    assert read.loads and all(value.startswith("#") for value in read.loads)
    assert "@import" not in html
    assert html.count("url(") == html.count("url(#") + html.count("url(&#34;#")


def test_names_and_errors_are_shown_and_not_run(make_points: Make) -> None:
    points = make_points(failed=f"{EVIL} failed")
    points["index"] = points["index"].replace({"hnsw": EVIL, "lsh": f"lsh{EVIL}"})
    for column in ("data", "encoder", "similarity"):
        points[column] = f"{column}{EVIL}"
    lost = {"nothing_relevant": {"count": 1, "labels": [1], "classes": [EVIL]}}
    evil = record(points, random=lost | {"engine": {"engine": EVIL, "precision": "x"}, "preprocessing": {"size": 1}})
    evil.protocol["relevance"] = EVIL
    html = page([evil])
    read = Page(html)
    assert read.tags.count("script") == html.lower().count("<script") == 1, "our own"
    for told in (f"data{EVIL}", f"encoder{EVIL}", f"lsh{EVIL} failed", f"{EVIL} ef 16", f"Encoder (random): {EVIL}"):
        assert told in words(read), told


def test_several_runs_are_sections_with_a_list_of_them(points: pd.DataFrame) -> None:
    other = record(points.assign(data="digits"), Path("runs/adhoc/0ther"))
    read = Page(page([record(points), other], Detail.BARE))
    assert read.tags.count("section") == 2
    links = [value for value in read.loads if value.startswith("#run") and "-" not in value]
    assert list(dict.fromkeys(links)) == ["#run1", "#run2"]
    assert {"run1", "run2"} <= set(read.ids)
    assert "2 runs" in words(read)


def test_a_machines_paths_stay_out(points: pd.DataFrame, tmp_path: Path) -> None:
    html = page([record(points, tmp_path / "adhoc" / "3f2a90c1")], Detail.BARE)
    assert str(tmp_path) not in html
    assert "from=runs/adhoc/3f2a90c1" in html


def nothing(points: pd.DataFrame) -> pd.DataFrame:
    return points.head(0)


def failed_only(points: pd.DataFrame) -> pd.DataFrame:
    return points[points["status"] == "failed"].dropna(axis="columns", how="all")


def blank(points: pd.DataFrame) -> pd.DataFrame:
    numbers = points.select_dtypes("number").columns.drop(["k", "effort", "build_seed"])
    return points.assign(**dict.fromkeys(numbers, np.nan))


def unlabelled(points: pd.DataFrame) -> pd.DataFrame:
    known = ("hit_rate", "recall@", "precision", "map_at")
    return points[[c for c in points.columns if not any(name in c for name in known)]]


def older(points: pd.DataFrame) -> pd.DataFrame:
    return points.drop(columns=["family", "functional", "exact", "latency_floor_ms", "qps_batch", "index_params"])


@pytest.mark.parametrize(
    ("made", "told", "drawn"),
    [
        (nothing, "nothing was measured", 0),
        (failed_only, "lsh failed (random, pretrained)", 0),
        (blank, "No break-even to tell", 0),
        (unlabelled, "ann_recall@10", 2),
        (older, "other", 2),
    ],
)
def test_what_is_missing_leaves_a_page(points: pd.DataFrame, made: Any, told: str, drawn: int) -> None:
    read = Page(page([record(made(points))], Detail.LEAN))
    assert told in words(read)
    assert "glyphs" in words(read)
    assert "nan" not in words(read).lower()
    assert read.tags.count("svg") == drawn
    assert ("The encoder’s part" in words(read)) == (made is older)


def test_smaller_galleries_and_the_theory_are_drawn_from_their_tables(points: pd.DataFrame, tmp_path: Path) -> None:
    sizes = [
        {
            "stage": "random", "target": "ann_recall ≥ 0.9", "half": "report", "n_gallery": n, "index": index,
            "exact": index == "exact", "latency_p50_ms": ms, "status": "ok",
        }
        for n in (1000, 4000) for index, ms in (("exact", n / 1000), ("hnsw", 2.0))
    ]  # fmt: skip
    pairs = {"similarity": [0.2, 0.4, 0.6, 0.8], "predicted": [0.1, 0.3, 0.5, 0.9], "candidate": [False, True] * 2}
    pd.DataFrame(sizes).to_parquet(tmp_path / "break_even.parquet")
    key = {"stage": "random", "index": "simhash", "index_params": "{}", "build_seed": 0, "knob": "probes", "effort": 4}
    pd.DataFrame(pairs).assign(**key).to_parquet(tmp_path / "collisions.parquet")
    read = Page(page([record(points, tmp_path)], Detail.LEAN))
    assert read.tags.count("svg") == 2 + 2
    assert "From which gallery size an index pays" in words(read)
    assert "LSH: theory beside practice" in words(read)
    assert "probes 4" in words(read)


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"PAR1 cut off", b"", None])
def test_tables_that_cannot_be_read_or_are_older_are_left_out(
    points: pd.DataFrame, tmp_path: Path, content: bytes | None
) -> None:
    for name in ("break_even", "collisions", "queries"):
        if content is None:
            pd.DataFrame({"stage": ["random"]}).to_parquet(tmp_path / f"{name}.parquet")
        else:
            (tmp_path / f"{name}.parquet").write_bytes(content)
    assert Page(page([record(points, tmp_path)])).tags.count("svg") == 10


def test_what_a_target_chose_is_a_table(points: pd.DataFrame) -> None:
    same = {"target": "ann_recall ≥ 0.95", "index_params": "{}", "k": 10, "tried": {"64": 0.96}}
    choices = [same | {"index": "hnsw", "effort": 64, "reached": True}]
    choices += [same | {"index": "ivf", "effort": 4, "reached": False, "tried": {"4": 0.7}}]
    report = points.assign(half="report", latency_p50_ms=points["latency_p50_ms"] * 2)
    text = words(Page(page([record(pd.concat([points, report]), random={"choices": choices})], Detail.BARE)))
    assert "hnsw ef 64 met 0.979 ±.004 0.262 −.135/+.000 14 ×" in text, "of the half that it was not chosen on"
    text = words(Page(page([record(points, random={"choices": choices})], Detail.BARE)))
    assert "Chosen for ann_recall ≥ 0.95 random, k = 10" in text
    assert "hnsw ef 64 met 0.979 ±.004 0.131 ±.004 14 ×" in text
    assert "ivf does not reach ann_recall ≥ 0.95 at k = 10: 0.700 at effort 4" in text


def trained(points: pd.DataFrame, loss: str, seed: int, name: str, **changes: Any) -> RunRecord:
    """A run with a trained stage."""
    points = points.assign(stage=points["stage"].replace({"pretrained": "trained"}))
    points.loc[points["stage"] == "trained", "dim"] = 128
    history = [{"epoch": i, "loss": 9.0 - i, "val_map_at_r": 0.1 * i} for i in range(3)]
    told = {"history": history, "best": 2, "images": 10, "seconds": 1.0, "facts": {"n_train": 9, "n_classes": 3}}
    made = record(points, Path("runs/adhoc") / name, random={}, trained={"training": told})
    config = {"loss": {"_target_": f"losses.{loss}"}, "head": {"_target_": "heads.MLP"}, "trainer": {"epochs": 2}}
    return replace(made, config=config, seeds={"run": seed}, **changes)


def test_a_training_is_told_and_drawn_where_one_was(points: pd.DataFrame) -> None:
    read = Page(page([trained(points, "TripletMarginLoss", 0, "a")], Detail.LEAN))
    text = words(read)
    assert read.tags.count("svg") == 1 + 2
    assert text.index("The encoder’s part") < text.index("Epoch 0 is before training.") < text.index("The index’s part")
    head = "efficientnet_lite0, 1280-d random, 128-d trained · trained with TripletMarginLoss, MLP head · cosine"
    assert head in text
    assert "TripletMarginLoss, MLP head, 2 epochs; epoch 2 is kept, the best by validation: map_at_r 0.200" in text
    assert "Trained encoders" not in text, "one run is no sweep"
    assert "mean loss of an epoch (TripletMarginLoss)" in text
    assert "trained with" not in words(Page(page([record(points)], Detail.BARE)))


def test_a_sweep_over_losses_is_grouped_by_them_and_unlike_protocols_stay_apart(points: pd.DataFrame) -> None:
    triplet, anchor = "TripletMarginLoss", "ProxyAnchorLoss"
    runs = [trained(points, triplet, 0, "a"), trained(points, anchor, 0, "b"), trained(points, triplet, 1, "c")]
    other = trained(points, anchor, 0, "d", protocol={"data": "glyphs", "split": "another"})
    text = words(Page(page([*runs, other, record(points)], Detail.BARE)))
    assert text.count("Trained encoders glyphs: label metrics with exact search") == 1, "one run is no sweep"
    table = text[text.index("loss seed hit_rate@1") : text.index("glyphs", text.index("loss seed hit_rate@1"))]
    found = [(word, table.split()[at + 1]) for at, word in enumerate(table.split()) if word in {triplet, anchor}]
    assert found == [(triplet, "0"), (triplet, "1"), (anchor, "0")], "head, encoder and dim are the same: no columns"
    assert table.split().count("0.651") == 3 and [table.split().count(run) for run in "abcd"] == [1, 1, 1, 0]


@pytest.mark.slow
def test_half_written_and_older_records_are_named_and_the_others_told(points: pd.DataFrame, tmp_path: Path) -> None:
    good = record(points, tmp_path / "a")
    write_json(tmp_path / "a" / "record.json", good.to_json())
    write_json(tmp_path / "b" / "record.json", good.to_json() | {"schema": 0})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "record.json").write_text((tmp_path / "a" / "record.json").read_text()[:500])
    records, skipped = found_runs([tmp_path])
    assert len(skipped) == 2
    assert str(tmp_path / "b") in skipped[0] and "schema 0" in skipped[0]
    assert str(tmp_path / "c") in skipped[1] and "damaged" in skipped[1]
    file = write_page(records, tmp_path / "report.html")
    assert "0.979 ±.004" in words(Page(file.read_text(encoding="utf-8")))
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.slow
def test_a_full_disk_leaves_the_page_that_was_there(
    points: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report.html"
    file.write_text("before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutOfSpace, match="free some space"):
        write_page([record(points)], file)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


@pytest.mark.slow
def test_points_of_tables_and_figures_share_their_keys(make_points: Make) -> None:
    html = page([record(make_points(stages=("random",)))])
    rows = set(re.findall(r'<tr class="[^"]*" data-point="(\w+)"', html))
    tips = set(re.findall(r'<g class="tip" data-point="(\w+)"', html))
    assert len(tips) == 9 and len(rows - tips) == 1, "what failed is drawn nowhere"
    assert "<title>hnsw ef 64&#10;ann_recall 0.979 ±.004&#10;p50 0.131 ±.004 ms" in html.replace("\n", "&#10;")


@pytest.mark.slow
def test_latencies_are_drawn_from_the_times_of_queries(points: pd.DataFrame, tmp_path: Path) -> None:
    key = {"stage": "random", "index": "hnsw", "index_params": "{}", "effort": 16.0, "k": 10}
    times = pd.DataFrame({"pass": [-1, 0, 0, 1], "ns": [np.nan, 1e5, 2e5, 3e5]}).assign(**key)
    times.to_parquet(tmp_path / "queries.parquet")
    text = words(Page(page([record(points, tmp_path)])))
    assert text.count("Latency of single queries") == 1, "of the stage that has times"


def test_collapse_is_told_where_the_record_knows_it(points: pd.DataFrame) -> None:
    vectors = np.eye(4)
    found = collapse_facts(vectors, np.arange(4), np.array([[1, 2], [0, 2], [0, 1], [0, 1]]), 0)
    text = words(Page(page([record(points, random={"dim": 4, "collapse": found}, pretrained={})], Detail.BARE)))
    assert "random 4 3 33.3 0.000" in text


def test_runs_of_one_protocol_share_a_table_and_seeds_are_averaged(points: pd.DataFrame) -> None:
    better = points.assign(exact_map_at_r=0.5)
    runs = [replace(record(p, Path("runs/adhoc") / f"r{i}"), seeds={"run": i}) for i, p in enumerate((points, better))]
    text = words(Page(page(runs, Detail.BARE)))
    assert "All operating points glyphs" in text and "seed stage index effort k" in text
    assert "Over seeds glyphs, seeds 0, 1" in text and "Mean of 2 runs" in text
    alone = words(Page(page([runs[0], replace(runs[1], protocol={"data": "other"})], Detail.BARE)))
    assert "Over seeds" not in alone and alone.count("All operating points") == 2, "unlike protocols share no table"


@pytest.mark.slow
def test_of_many_runs_less_is_shown(make_points: Make) -> None:
    points = make_points(stages=("random",))
    runs = [record(points, Path("runs/adhoc") / f"r{i}") for i in range(7)]
    read = Page(page(runs))
    assert read.tags.count("svg") == 7
    assert "of each, less is shown" in words(read)


@pytest.mark.slow
def test_five_hundred_points_stay_small(make_points: Make) -> None:
    html = page([record(many(make_points))])
    Page(html)
    assert len(html.encode()) < 8e6


def many(make_points: Make) -> pd.DataFrame:
    points = make_points(failed=None)
    found = pd.concat([points.assign(index=points["index"] + f"_{i}") for i in range(28)])
    assert len(found) > 500
    return found


@pytest.mark.slow
def test_of_very_many_runs_the_common_tables_are_left(make_points: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    points = make_points(stages=("random",))
    runs = [record(points, Path("runs/adhoc") / f"r{i}") for i in range(4)]
    bare = page(runs, Detail.BARE)
    monkeypatch.setattr("retrieval_bench.report.page.LIMIT", len(bare.encode()) - 1)
    html = page(runs, Detail.BARE)
    read, text = Page(html), words(Page(html))
    assert read.tags.count("section") == 0 and "All operating points glyphs" in text
    assert "what is told of each run alone, 4 sections, is left out" in text
    assert [f"retrieval-bench report runs/adhoc/r{i}" in text for i in range(4)] == [True] * 4
    assert {value[1:] for value in read.loads} == {"run1", "run2", "run3", "run4"} <= set(read.ids)
    lines = read.tags.count("tr") - html.count("<thead><tr>")
    assert lines == 4 * 10 and "operating points 3" not in text, "9 that were measured and one that failed"
    monkeypatch.setattr("retrieval_bench.report.page.LIMIT", len(html.encode()) - 1)
    html = page(runs, Detail.BARE)
    assert "Of 40 operating points 32 are shown" in words(Page(html))
    assert Page(html).tags.count("tr") - html.count("<thead><tr>") == 32, "hnsw beats ivf at nprobe 4 and 16"
    monkeypatch.setattr("retrieval_bench.report.page.LIMIT", len(html.encode()) - 1)
    with pytest.raises(BadConfig, match=r"a page of these 4 runs has .* bytes.*; name fewer folders"):
        page(runs, Detail.BARE)


def odd_stages(good: RunRecord) -> RunRecord:
    return replace(good, stages={"random": None})


def odd_knob(good: RunRecord) -> RunRecord:
    return replace(good, rows=[{k: v for k, v in row.items() if k != "knob"} for row in good.rows])


def odd_params(good: RunRecord) -> RunRecord:
    return replace(good, rows=[{**row, "index_params": "{m: 16"} for row in good.rows])


def odd_preprocessing(good: RunRecord) -> RunRecord:
    return replace(good, stages={"random": {"engine": {"engine": "x", "precision": "y"}}})


@pytest.mark.parametrize("odd", [odd_stages, odd_knob, odd_params, odd_preprocessing])
def test_one_odd_record_is_named_and_the_others_are_told(
    points: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: Callable[[RunRecord], RunRecord]
) -> None:
    for name in ("FEW", "SOME"):  # without figures, which take seconds
        monkeypatch.setattr(f"retrieval_bench.report.page.{name}", 0)
    for name, change in (("a", None), ("b", odd), ("c", None)):
        good = record(points, tmp_path / name)
        write_json(tmp_path / name / "record.json", (good if change is None else change(good)).to_json())
    file, skipped = report_runs([tmp_path], tmp_path / "report.html")
    text = words(Page(file.read_text(encoding="utf-8")))
    assert "All operating points" in text and text.count("The encoder’s part") == 2
    assert len(skipped) == 1 and skipped[0].startswith(f"{tmp_path / 'b'} cannot be told (")


def test_an_odd_record_alone_is_an_error_with_a_remedy(points: pd.DataFrame, tmp_path: Path) -> None:
    write_json(tmp_path / "record.json", odd_knob(record(points, tmp_path)).to_json())
    with pytest.raises(BadConfig, match=r"nothing to tell: .* \(KeyError: 'knob'\).*force=true"):
        report_runs([tmp_path])


def test_a_table_that_cannot_be_made_of_a_run_is_made_of_the_others(points: pd.DataFrame) -> None:
    runs = [(record(points, Path(f"runs/adhoc/{name}")), name) for name in "abc"]
    runs[1] = (odd_params(runs[1][0]), "b")
    skipped: list[str] = []
    assert {line.anchor for table in common_tables(runs, skipped).points for line in table.lines} == {"a", "c"}
    assert len(skipped) == 1 and skipped[0].startswith("runs/adhoc/b cannot be told")
    with pytest.raises(ValueError, match="Expecting property name"):
        common_tables(runs)


@pytest.mark.slow
def test_two_hundred_runs_of_ninety_points_stay_small(make_points: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the runs, below a tenth of the limit: all of them take minutes."""
    monkeypatch.setattr("retrieval_bench.report.page.LIMIT", LIMIT // 10)
    monkeypatch.setattr("retrieval_bench.report.page.MANY", 800)
    points = make_points(failed=None)
    points = pd.concat([points.assign(index=points["index"] + f"_{i}") for i in range(5)]).head(90)
    runs = [
        replace(record(points, Path("runs/adhoc") / f"r{i}"), seeds={"run": i % 5}, config={"k": [i // 5]})
        for i in range(20)
    ]
    html = page(runs)
    Page(html)
    assert len(html.encode()) <= LIMIT // 10
    assert "sections, is left out" in html
