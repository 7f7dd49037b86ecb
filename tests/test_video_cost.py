"""What video costs, in the record, the table and the page; and videos that are cut off."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from films import HEIGHT, WIDTH, panned
from rich.console import Console
from video_files import write_video

from retrieval_bench import cli, video_cost
from retrieval_bench.data.base import Anew, Items, VideoItems
from retrieval_bench.embed import OVER_TIME, Embedded
from retrieval_bench.media.clip import Clip
from retrieval_bench.media.flow import Flow
from retrieval_bench.media.sampling import SegmentSampling
from retrieval_bench.record import RunRecord
from retrieval_bench.report.page import page
from retrieval_bench.report.remarks import run_facts
from retrieval_bench.report.table import render_table
from retrieval_bench.report.video import video_remarks
from retrieval_bench.types import Embeddings
from retrieval_bench.video_cost import Side

FRAMES, RATE = 24, 10
pytestmark = pytest.mark.xdist_group("video_cost")  # what they look at is made once
RUN = ["data=video_folder", "data.test_fraction=1", f"clip.width={WIDTH}", f"clip.height={HEIGHT}", "flow=dis"]
RUN += ["flow.pairs=2", "clip.sampling.frames=3", "embed.engine=torch", "search=[exact]", "metric=[]", "logger=[]"]
RUN += ["k=[3]", "measure.max_queries=4", "measure.passes=1", "encoder=two_stream", "encoder.flow.frame.channels=4"]
RUN += [f"encoder.{name}.frame.{part}" for name in ("rgb", "flow") for part in ("model=test_resnet", "input_size=32")]
RUN += ["encoder.rgb.frame.weights=none", "encoder.flow.frame.weights=none", "stage=[random]"]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """Of six videos, of which two are cut off."""
    place = tmp_path_factory.mktemp("place")
    for i in range(6):
        file = write_video(place / "root" / "ab"[i // 3] / f"{i}.avi", panned(i, FRAMES), "mpeg4", rate=RATE)
        if i in (1, 4):
            file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    where = [f"data.root={place / 'root'}", f"paths.cache={place / 'cache'}", f"paths.runs={place / 'runs'}"]
    return cli.run([*RUN, *where])


def test_the_record_tells_what_an_hour_and_a_query_cost(record: RunRecord) -> None:
    facts = record.stages["random"]
    cost = facts["video"]
    assert cost["sample"]["items"] == cost["sample"]["of"] == 6 and not cost["drawn"]
    assert 4 * FRAMES / RATE < cost["sample"]["seconds"] < 6 * FRAMES / RATE, "of two a part is missing"
    assert cost["hours"] == pytest.approx(cost["sample"]["seconds"] / 3600)
    spent, query = cost["seconds_per_hour"], cost["query_ms"]
    assert min(spent["decode"], spent["flow"], query["decode"], query["flow"]) > 0
    for parts in (spent["encode"], query["encode"]):
        assert list(parts) == ["rgb", "flow", OVER_TIME] and min(parts.values()) > 0
    whole = query["decode"] + query["flow"] + sum(query["encode"].values())
    points = record.points
    assert facts["encode_ms"] == pytest.approx(whole) and points["encode_ms"].to_numpy() == pytest.approx(whole)
    exact = points[points["index"] == "exact"]
    assert (exact["bytes_per_hour"] * cost["hours"]).to_numpy() == pytest.approx(exact["index_bytes"].to_numpy())


def test_what_is_cut_off_is_named(record: RunRecord) -> None:
    assert record.stages["random"]["truncated"] == 2 and record.stages["random"]["unreadable"] == 0
    named = pd.read_csv(record.folder / "truncated.csv")
    assert named["item"].tolist() == ["a/1.avi", "b/4.avi"] and named["reason"].str.len().min() > 10


def test_terminal_and_page_tell_both(record: RunRecord) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render_table(record.points, run_facts(record), 200))
    told, html = console.export_text(), page([record])
    lines = list(video_remarks(record))
    assert lines[0].startswith("An hour of video (random) takes ") and " s to decode, " in lines[0]
    assert "measured on 6 of 6 items" in lines[0] and "A query (random) takes " in lines[1]
    assert lines[2] == "2 videos are cut off: their good beginning counts as the whole; truncated.csv names them."
    for line in lines:
        assert line in " ".join(told.split()) or line in told
        assert line in html
    assert "size for an hour of video" in told and "size an hour" in html
    assert "reading and encoding one query takes" in told


@pytest.mark.slow
def test_it_is_measured_once(record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(video_cost, "_measured", refuse)
    folder = record.folder.parents[2]
    where = [f"data.root={folder / 'root'}", f"paths.cache={folder / 'cache'}", f"paths.runs={folder / 'other'}"]
    again = cli.run([*RUN, *where])
    assert again.stages["random"]["video"] == record.stages["random"]["video"]
    assert len(list((folder / "cache" / "costs").glob("*.json"))) == 1


class Slow(VideoItems):
    """Reading takes what is said."""

    def __init__(self, n: int) -> None:
        self.n, self.reads = n, list[int]()

    def seconds(self) -> np.ndarray:
        return np.full(self.n, 2.0)

    def anew(self, row: int, inputs: object) -> Anew:
        self.reads.append(row)
        return Anew({"rgb": np.full((3, 8, 8, 3), row, np.uint8)}, 0.25 * (row + 1), 0.5)


def test_all_windows_of_a_query_are_its_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    n, owner = 12, np.repeat([5, 3, 9], [2, 3, 7])
    items = Items([f"w{i}" for i in range(n)], lambda row: {}, "f", video=Slow(n))
    kept = np.delete(np.arange(n), [4])  # one cannot be read
    vectors = Embeddings(items.ids[kept], np.ones((n - 1, 2), np.float32), fingerprint="e")
    embedded = Embedded(vectors, [], {"rgb": {}}, 0, 1.5, {"rgb": 1.0, OVER_TIME: 0.5})
    monkeypatch.setattr(video_cost, "_encode_s", lambda name, sample, side, encoding: 0.1 * len(sample))

    class One:
        inputs = ("rgb",)

        def frames(self) -> dict[str, None]:
            return {"rgb": None}

    encoding = video_cost.Encoding(One(), None, 4, Path())
    found = video_cost._measured(Side(items, embedded), Side(items, embedded, owner), encoding)
    assert found is not None
    assert found["asked"] == {"queries": 3, "windows": 2}
    of_query = [0.25 * (1 + 2), 0.25 * (3 + 4), 0.25 * sum(range(6, 13))]  # of three windows one is lost
    assert found["query_ms"]["decode"] == pytest.approx(1e3 * np.median(of_query))
    assert found["query_ms"] == {
        "decode": found["query_ms"]["decode"],
        "flow": 1e3,
        "encode": {"rgb": 2.0, OVER_TIME: 1.0},
    }
    hour = found["seconds_per_hour"]
    assert found["sample"] == {"items": 11, "of": 11, "seconds": 22.0} and found["hours"] == 22 / 3600
    assert hour["decode"] == pytest.approx(0.25 * (sum(range(1, 13)) - 5) / 22 * 3600)
    assert hour["flow"] == pytest.approx(0.5 * 11 / 22 * 3600)
    assert hour["encode"] == {
        "rgb": pytest.approx(0.1 * 11 / 22 * 3600),
        OVER_TIME: pytest.approx(0.0005 * 11 / 22 * 3600),
    }
    assert json.dumps(found)
    monkeypatch.setattr(video_cost, "_BUDGET", -1.0)
    few = video_cost._measured(Side(items, embedded), Side(items, embedded), encoding)
    assert few is not None and few["sample"]["items"] == 1, "what takes long is read once"
    assert video_cost.video_cost(Side(replace(items, video=None), embedded), Side(items, embedded), encoding) is None


def test_flow_is_left_out_where_no_input_is_flow(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", panned(0, FRAMES), "mpeg4", rate=RATE)
    clip = Clip(SegmentSampling(3), 32, 32, Flow(pairs=2), str(tmp_path / "cache"))
    both, one = clip.only(("rgb", "flow")).decode(file), clip.only(("rgb",)).decode(file)
    assert set(both.arrays) == {"rgb", "flow"} and both.flow_s > 0
    assert set(one.arrays) == {"rgb"} and one.flow_s == 0
    assert (both.arrays["rgb"] == clip.read(file)["rgb"]).all() and (one.arrays["rgb"] == both.arrays["rgb"]).all()
    assert clip.seconds(file) == pytest.approx(FRAMES / RATE)
    frames = panned(0, FRAMES)
    drawn = clip.take(frames, RATE)
    assert drawn.flow_s > 0 and (drawn.arrays["flow"] == clip.of_frames(frames, RATE)["flow"]).all()
    assert (drawn.arrays["rgb"] == clip.of_frames(frames, RATE)["rgb"]).all()
