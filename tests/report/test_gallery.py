import json
from pathlib import Path
from typing import Any

import pytest

from retrieval_bench.record import RunRecord
from retrieval_bench.report.gallery import galleries
from retrieval_bench.report.page import page

PICTURES = {"1": "AAAA", "2": "BBBB", "3": "not base64 <script>"}


def item(name: str, **told: Any) -> dict[str, Any]:
    return {"key": f"{name}.jpg", "label": "", "picture": name} | told


def written(folder: Path, **changes: Any) -> Path:
    lists = {"exact": [item("2", score=0.9, right=True), item("3", score=0.8, right=False)], "index": []}
    query = {"kind": "worst", "value": 0.25, "item": item("1"), "lists": lists}
    told = {"schema": 1, "stage": "random", "index": "hnsw ef 16", "metric": "map_at_r", "strips": False}
    told |= {"queries": [query], "pictures": PICTURES}
    (folder / "examples").mkdir()
    (folder / "examples" / "random.json").write_text(json.dumps(told | changes))
    return folder


def test_queries_stand_with_right_and_wrong_neighbours(tmp_path: Path) -> None:
    (gallery,) = galleries(written(tmp_path), {"random": {}}, 1000)
    ((group,), (query,)) = gallery["groups"], gallery["groups"][0]["queries"]
    assert group["title"].startswith("Worst") and query["value"] == "0.250"
    assert query["item"] == {"key": "1.jpg", "label": "1.jpg", "source": "data:image/jpeg;base64,AAAA", "strip": False}
    exact, index = query["lists"]
    assert (exact["name"], index["name"]) == ("exact search: 1 of 2 right", "hnsw ef 16: 0 of 0 right")
    assert [(one["verdict"], one["score"]) for one in exact["items"]] == [("right", "0.900"), ("wrong", "0.800")]
    assert exact["items"][1]["source"] is None, "what is no base64 never comes into the page"


def test_where_there_is_no_room_names_stand_alone(tmp_path: Path) -> None:
    (gallery,) = galleries(written(tmp_path), {"random": {}}, 5)
    query = gallery["groups"][0]["queries"][0]
    assert query["item"]["source"] and query["lists"][0]["items"][0]["source"] is None


@pytest.mark.parametrize("changes", [{"schema": 0}, {"pictures": None}, {"queries": [{"kind": "worst"}]}])
def test_files_of_another_version_are_left_out(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert galleries(written(tmp_path, **changes), {"random": {}}, 1000) == []


def test_files_that_are_cut_off_or_missing_are_left_out(tmp_path: Path) -> None:
    file = written(tmp_path) / "examples" / "random.json"
    file.write_text(file.read_text()[:100])
    assert galleries(tmp_path, {"random": {}, "trained": {}}, 1000) == []


def test_moments_stand_on_the_time_line_of_their_video(tmp_path: Path) -> None:
    true = {"video": "a.mp4", "start": 10.0, "end": 20.0, "seconds": 40.0}
    answers = [true | {"start": 12.0, "score": 0.9, "iou": 0.8, "right": True, "same": True, "picture": "1"}]
    answers += [true | {"video": "b.mp4", "score": 0.5, "iou": 0.0, "right": False, "same": False}]
    query = {"kind": "best", "name": "clip", "true": true, "picture": "2", "lists": {"exact": answers}}
    (gallery,) = galleries(written(tmp_path, moments=[query]), {"random": {}}, 1000)
    told, first, second = gallery["groups"][0]["queries"][0]["lines"]
    assert (told["name"], told["bar"]) == ("true", "left: 25.00%; width: 25.00%")
    assert (first["bar"], first["truth"], first["told"]) == (
        "left: 30.00%; width: 20.00%", "left: 25.00%; width: 25.00%", "right, IoU 0.80",
    )  # fmt: skip
    assert first["place"] == "a.mp4 0:12.0 – 0:20.0" and first["source"]
    assert (second["truth"], second["told"]) == (None, "wrong, IoU 0.00"), "the truth lies in another video"
    html = shown(tmp_path)
    assert '<i class="found right" style="left: 30.00%; width: 20.00%"></i>' in html
    assert html.count("<img") == 2


def shown(folder: Path) -> str:
    return page([RunRecord("a", "adhoc", {}, {"data": "x"}, "f", {}, {}, {"random": {}}, [], folder=folder)])


def test_names_are_shown_and_not_run(tmp_path: Path) -> None:
    evil = {"key": "<script>", "label": "<script>alert(1)</script>", "picture": "1"}
    query = {"kind": "best", "value": 1.0, "item": evil, "lists": {"exact": [evil | {"score": 1.0, "right": True}]}}
    html = shown(written(tmp_path, queries=[query], index="<script>"))
    assert html.count("<script") == 1, "our own"
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 4, "the names and what stands for the pictures"
    assert html.count('src="data:image/jpeg;base64,AAAA"') == 2
