"""A finished run over long videos is asked where in them a clip is."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from rich.console import Console, RenderableType
from video_files import write_video

from retrieval_bench import cli
from retrieval_bench.data.moments import Moments
from retrieval_bench.errors import CorruptInput
from retrieval_bench.intervals import temporal_iou
from retrieval_bench.moment import search
from retrieval_bench.query import Question, answer
from retrieval_bench.record import RunRecord

pytestmark = pytest.mark.xdist_group("query_moments")  # what they look at is made once
RATE = 4
RUN = ["data=moments", "data.image_size=32", f"data.rate={RATE}", "data.n_videos=2", "data.train_videos=1"]
RUN += ["data.validation_videos=1", "clip.width=null", "clip.height=null", "clip.sampling.frames=4", "flow=dis"]
RUN += ["flow.pairs=1", "encoder=frames", "encoder.frame.model=test_resnet", "encoder.frame.weights=none"]
RUN += ["stage=[random]", "embed.engine=torch", "search=[exact,hnsw]", "search.hnsw.efforts=[32]", "metric=[]"]
RUN += ["logger=[]", "k=[20]", "measure.max_queries=6", "measure.passes=1", "transform=[centring]", "pool=grid"]


class Found(NamedTuple):
    score: float
    start: float
    end: float
    video: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def record(place: Path) -> RunRecord:
    return cli.run([*RUN, f"paths.cache={place / 'cache'}", f"paths.runs={place / 'runs'}"])


@pytest.fixture(autouse=True)
def at_home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(place / "cache"))


@pytest.fixture
def video(record: RunRecord) -> np.ndarray:
    """The frames of the second video, as they were drawn."""
    data = cli.reopen(record).data
    assert isinstance(data, Moments)
    return np.asarray(data._parts["test"]._videos.shot(1))


def cut(file: Path, video: np.ndarray, start: float, end: float) -> Path:
    return write_video(file, video[round(start * RATE) : round(end * RATE)], "ffv1", pix_fmt="bgr0", rate=RATE)


def asked(
    record: RunRecord, sheet: Path, *files: Path, index: str | None = None, k: int = 5
) -> Iterator[RenderableType]:
    return answer(record, lambda: cli.reopen(record), Question(files, index, None, None, k, sheet))


def text(parts: list[RenderableType]) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(*parts, sep="\n")
    return captured.get()


def ranked(told: str) -> list[Found]:
    rows = re.findall(r"^ +\d+ +(-?\d\.\d{4}) +(\d+):([\d.]+) +(\d+):([\d.]+) +(.*?) *$", told, re.MULTILINE)
    return [Found(float(s), 60 * int(a) + float(b), 60 * int(c) + float(d), name) for s, a, b, c, d, name in rows]


def test_a_cut_of_a_video_is_found_where_it_was_cut(record: RunRecord, video: np.ndarray, tmp_path: Path) -> None:
    told = text(list(asked(record, tmp_path, cut(tmp_path / "cut.mkv", video, 5, 12))))
    assert ranked(told)[0] == Found(1.0, 5.0, 12.0, "test video 001")
    assert "cut.mkv: 7.0 s, 6 windows of 2 s, one every 1 s" in told
    assert "moments of 2 videos (158 windows) through exact, 20 answers a window (random weights)" in told


def test_other_indexes_are_asked_with_the_measured_effort(record: RunRecord, video: np.ndarray, tmp_path: Path) -> None:
    told = text(list(asked(record, tmp_path, cut(tmp_path / "cut.mkv", video, 20, 36), index="hnsw", k=1)))
    assert "through hnsw, ef 32, 20 answers a window" in told
    assert [found.video for found in ranked(told)] == ["test video 001"]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (20.25, 36.25),
        (30.5, 41.5),
        pytest.param(20, 36, marks=pytest.mark.slow),
        pytest.param(60, 70, marks=pytest.mark.slow),
    ],
)
def test_a_cut_between_windows_at_another_rate_is_found(
    record: RunRecord, video: np.ndarray, tmp_path: Path, start: float, end: float
) -> None:
    frames = np.repeat(video[round(start * RATE) : round(end * RATE)], 6, axis=0)
    file = write_video(tmp_path / "cut.mkv", frames, "ffv1", pix_fmt="bgr0", rate=6 * RATE)
    first = ranked(text(list(asked(record, tmp_path, file))))[0]
    assert first.video == "test video 001"
    assert temporal_iou(first.start, first.end, start, end) >= 0.9


def test_a_cut_that_lost_detail_is_found(record: RunRecord, video: np.ndarray, tmp_path: Path) -> None:
    """As phones and sites write it: MPEG-4 with fewer colours, not the frames bit for bit."""
    frames = video[20 * RATE : 36 * RATE]
    file = write_video(tmp_path / "lossy.mp4", frames, "mpeg4", rate=RATE)
    first = ranked(text(list(asked(record, tmp_path, file))))[0]
    assert first.score < 1 and first.video == "test video 001"
    # Random weights on 32 pixels: the end is found 3 s late (IoU 0.81); 0.7 is the stricter of the usual bounds.
    assert temporal_iou(first.start, first.end, 20, 36) >= 0.7


def test_the_sheet_shows_the_found_interval(record: RunRecord, video: np.ndarray, tmp_path: Path) -> None:
    list(asked(record, tmp_path, cut(tmp_path / "cut.mkv", video, 10, 26), k=1))
    sheet = np.asarray(Image.open(tmp_path / "cut_moments.png")).astype(int)
    edges = [np.flatnonzero((sheet == grey).all(axis=2).sum(axis=1) > 700) for grey in (34, 170)]
    query, found = (sheet[rows[0] + 4 : rows[0] + 100, 18:809] for rows in edges)
    assert np.abs(query - found).mean() < 25, "the same frames, or those beside them"
    assert query.std() > 20


def test_a_clip_shorter_than_a_window_is_one_window(record: RunRecord, video: np.ndarray, tmp_path: Path) -> None:
    told = text(list(asked(record, tmp_path, cut(tmp_path / "short.mkv", video, 10.25, 11.5))))
    assert "1.2 s, shorter than a window of 2 s: it is one window, and what is found is made of whole windows" in told
    first = ranked(told)[0]
    assert first.video == "test video 001" and first.start <= 10.25 and first.end >= 11.5


def test_a_clip_longer_than_every_video_says_so(record: RunRecord, video: np.ndarray, tmp_path: Path) -> None:
    twice = np.concatenate([video, video])
    told = text(
        list(asked(record, tmp_path, write_video(tmp_path / "long.mkv", twice, "ffv1", pix_fmt="bgr0", rate=RATE)))
    )
    assert re.search(r"it is longer than every video \(the longest has \d+\.\d s\)", told)
    first = ranked(told)[0]
    assert first.video == "test video 001" and temporal_iou(first.start, first.end, 0, len(video) / RATE) > 0.9


def test_wrong_files_are_told_and_the_others_answered(record: RunRecord, video: np.ndarray, tmp_path: Path) -> None:
    good = cut(tmp_path / "good.mkv", video, 5, 12)
    one = write_video(tmp_path / "one.mkv", video[:1], "ffv1", pix_fmt="bgr0", rate=RATE)
    (tmp_path / "text.mp4").write_text("hello")
    Image.new("RGB", (40, 30)).save(tmp_path / "picture.mp4", "PNG")
    given: list[RenderableType] = []
    with pytest.raises(CorruptInput) as wrong:
        given.extend(asked(record, tmp_path, one, tmp_path / "text.mp4", good, tmp_path / "picture.mp4"))
    lines = str(wrong.value).splitlines()
    assert [Path(line.partition(": ")[0]).name for line in lines] == ["one.mkv", "text.mp4", "picture.mp4"]
    assert "1 frame" in lines[0] and "not a video" in lines[1] and "a picture, and this run searches videos" in lines[2]
    assert ranked(text(given))[0][1:] == (5.0, 12.0, "test video 001")


def test_the_run_decides_how_moments_are_found(record: RunRecord, video: np.ndarray, tmp_path: Path) -> None:
    """By its configuration; the nearest window of the gallery is the very one that was cut."""
    file = cut(tmp_path / "cut.mkv", video, 10, 22)
    made: list[search.Moments] = []

    class Noted(search.Moments):
        def __call__(self, rows, scores, query, gallery):  # type: ignore[no-untyped-def]
            made.append(self)
            assert rows.shape == (11, 20) and len(gallery.segments.items) == 158
            first = rows[:, 0]  # the nearest window is the same window of the video, of each of the eleven
            assert gallery.segments.starts[first].tolist() == list(range(10, 21))
            assert gallery.segments.ends[first].tolist() == list(range(12, 23))
            assert len({*gallery.segments.items[first].tolist()}) == 1
            np.testing.assert_allclose(scores[:, 0], 1, atol=1e-4)
            return super().__call__(rows, scores, query, gallery)

    experiment = replace(cli.reopen(record), moment=Noted(moments=3, rerank=False))
    told = text(list(answer(record, lambda: experiment, Question([file], None, None, None, 30, tmp_path))))
    assert len(made) == 1 and 1 <= len(ranked(told)) <= 3
    assert "the run is answered with 3 moments at most (moment.moments)" in told
    configured = {**record.config, "moment": {"_target_": "retrieval_bench.moment.search.Moments", "fastest": 1.0}}
    assert cli.reopen(replace(record, config=configured)).moment == search.Moments(fastest=1.0)
