"""A finished run over videos is asked with videos."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from films import HEIGHT, WIDTH, panned, write_sound
from PIL import Image
from rich.console import Console, RenderableType
from video_files import write_video

from retrieval_bench import cli
from retrieval_bench._ask_clips import clip_of, looked_at
from retrieval_bench.data.base import Dataset
from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.media.clip import Clip, Decoded
from retrieval_bench.media.sampling import SegmentSampling
from retrieval_bench.query import Question, answer
from retrieval_bench.record import RunRecord

FRAMES, RATE = 24, 10
pytestmark = pytest.mark.xdist_group("query_clips")  # what they look at is made once
SMALL = ["model=test_resnet", "weights=none", "input_size=32"]
RUN = [
    "data=video_folder",
    "data.test_fraction=1",
    f"clip.width={WIDTH}",
    f"clip.height={HEIGHT}",
    "embed.engine=torch",
]
RUN += ["search=[exact,hnsw]", "search.hnsw.efforts=[16]", "metric=[]", "logger=[]", "k=[5]"]
RUN += ["measure.max_queries=6", "measure.passes=1"]
TWO = ["encoder=two_stream", "flow=dis", "flow.pairs=2", "encoder.flow.frame.channels=4", "stage=[random]"]
TWO += [f"encoder.{stream}.frame.{part}" for stream in ("rgb", "flow") for part in SMALL]
LSTM = ["encoder=lstm", "encoder.over.hidden=8", "trainer.frozen=[frame]", "trainer.epochs=1", "trainer.validate=false"]
LSTM += ["sampler.classes=2", "sampler.per_class=2", "augment=clip", "stage=[random,trained]", "transform=[centring]"]
LSTM += [f"encoder.frame.{part}" for part in SMALL]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def root(place: Path) -> Path:
    """Two classes of three videos, of two lengths."""
    for i in range(6):
        write_video(place / "root" / "ab"[i // 3] / f"{i}.mp4", panned(i, FRAMES + 6 * (i % 2)), "mpeg4", rate=RATE)
    return place / "root"


@pytest.fixture(scope="module")
def record(root: Path, place: Path) -> RunRecord:
    return cli.run([*RUN, *TWO, f"data.root={root}", f"paths.cache={place / 'cache'}", f"paths.runs={place / 'runs'}"])


@pytest.fixture(autouse=True)
def at_home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(place / "cache"))


def asked(
    record: RunRecord, sheet: Path, *files: Path, k: int = 6, index: str | None = None
) -> Iterator[RenderableType]:
    return answer(record, lambda: cli.reopen(record), Question(files, index, None, None, k, sheet))


def text(parts: list[RenderableType]) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(*parts, sep="\n")
    return captured.get()


def ranked(told: str) -> list[tuple[float, str, str]]:
    """(score, label, key) of each line."""
    rows = re.findall(r"^ +\d+ +(-?\d\.\d{4}) +(\S+) +(\S+) *$", told, re.MULTILINE)
    return [(float(score), label, key) for score, label, key in rows]


@pytest.mark.parametrize("index", [None, "hnsw"])
def test_a_video_of_the_gallery_is_nearest_to_itself(
    record: RunRecord, root: Path, tmp_path: Path, index: str | None
) -> None:
    told = text(list(asked(record, tmp_path, root / "b" / "4.mp4", index=index)))
    found = ranked(told)
    assert len(found) == 6
    assert found[0] == (1.0, "b", "b/4.mp4")
    assert found[1][0] < 0.9999, "other videos are other vectors"
    assert "4.mp4: 8 of its 24 frames (2.4 s) are looked at, from 0:00.1 to 0:02.2" in told
    through = "hnsw, ef 16" if index else "exact"
    assert f"4.mp4: nearest of 6 through {through} (random weights)" in told


def test_a_cut_at_another_size_and_rate_finds_its_video(record: RunRecord, tmp_path: Path) -> None:
    frames = panned(3, FRAMES + 6)[4:22]
    larger = np.stack(
        [np.asarray(Image.fromarray(frame).resize((4 * WIDTH // 2, 4 * HEIGHT // 2))) for frame in frames]
    )
    file = write_video(tmp_path / "cut.mkv", larger, "mpeg4", rate=25)
    found = ranked(text(list(asked(record, tmp_path, file))))
    assert found[0][1:] == ("b", "b/3.mp4")


def test_the_sheet_shows_a_strip_of_the_query_and_of_each_answer(record: RunRecord, root: Path, tmp_path: Path) -> None:
    told = text(list(asked(record, tmp_path / "sheets", root / "a" / "0.mp4", k=3)))
    file = tmp_path / "sheets" / "0_neighbours.png"
    assert f"contact sheet: {file}" in told
    sheet = np.asarray(Image.open(file)).astype(int)
    first, last = panned(0, FRAMES)[[1, 22]].astype(int)  # the middles of the first and the last of eight parts
    rows = np.flatnonzero((sheet == 34).all(axis=2).sum(axis=1) > sheet.shape[1] // 2)
    top = sheet[rows[0] + 4 :][:96]  # the query's strip, behind its border
    shown = [Image.fromarray(frame.astype(np.uint8)).resize((128, 96)) for frame in (first, last)]
    for picture, x in zip(shown, (18, 18 + 7 * 131), strict=True):
        assert np.abs(top[:, x : x + 128] - np.asarray(picture).astype(int)).mean() < 12


def test_a_short_video_stands_for_as_many_frames_as_the_run_takes(record: RunRecord, tmp_path: Path) -> None:
    file = write_video(tmp_path / "short.mp4", panned(1, 30)[:3], "mpeg4", rate=RATE)
    told = text(list(asked(record, tmp_path, file, k=1)))
    said = (
        "3 of its 3 frames (0.3 s) are looked at, from 0:00.0 to 0:00.2; it is so short that some of them stand for 8"
    )
    assert said in told


def test_wrong_files_are_told_in_a_line_each_and_the_others_answered(
    record: RunRecord, root: Path, tmp_path: Path
) -> None:
    names = ("empty.mp4", "text.mp4", "sound.mp4", "missing.mp4", "picture.png", "two.mp4")
    bad = [tmp_path / name for name in names]
    bad[0].touch()
    bad[1].write_text("hello")
    write_sound(bad[2])
    Image.new("RGB", (40, 30)).save(bad[4])
    write_video(bad[5], panned(1, 2), "mpeg4", rate=RATE)
    given: list[RenderableType] = []
    with pytest.raises(CorruptInput) as wrong:
        given.extend(asked(record, tmp_path, bad[0], root / "a" / "1.mp4", *bad[1:], root / "b" / "5.mp4", k=1))
    lines = str(wrong.value).splitlines()
    assert [Path(line.partition(": ")[0]) for line in lines] == bad
    reasons = (
        "the file is empty (0 bytes)",
        "not a video in a known format",
        "no video in it (audio only)",
        "cannot be opened: No such file",
        "a picture, and this run searches videos: give a video",
        "2 frames",
    )
    assert all(reason in line for reason, line in zip(reasons, lines, strict=True)), lines
    assert [key for _, _, key in ranked(text(given))] == ["a/1.mp4", "b/5.mp4"]


def test_a_file_that_is_cut_off_is_asked_by_what_there_is_of_it(record: RunRecord, root: Path, tmp_path: Path) -> None:
    file = write_video(tmp_path / "whole.avi", panned(2, FRAMES), "mpeg4", rate=RATE)
    half = tmp_path / "half.avi"
    half.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    told = text(list(asked(record, tmp_path, half, k=1)))
    assert "; it is cut off: " in told
    assert ranked(told)[0][2] == "a/2.mp4"


def test_without_the_cache_the_answer_is_the_same(record: RunRecord, root: Path, place: Path, tmp_path: Path) -> None:
    kept = text(list(asked(record, tmp_path, root / "a" / "2.mp4")))
    shutil.rmtree(place / "cache")
    assert text(list(asked(record, tmp_path, root / "a" / "2.mp4"))) == kept


def test_a_video_that_is_gone_is_told_in_its_place(record: RunRecord, root: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "root"
    shutil.copytree(root, fewer)
    (fewer / "b" / "4.mp4").unlink()
    (fewer / "b" / "5.mp4").write_bytes(b"no video any more")
    question = Question([root / "b" / "4.mp4"], None, None, None, 6, tmp_path)
    told = text(list(answer(record, lambda: cli.reopen(record, root=fewer), question)))
    assert re.search(r"1 +1\.0000 +\(no longer among the data\)", told)
    assert "is not what the run was made of any more" in told
    assert np.asarray(Image.open(tmp_path / "4_neighbours.png")).std() > 0


def test_drawn_frames_of_one_size_are_compared_with_frames_of_that_size(record: RunRecord) -> None:
    data = cli.reopen(record).data
    assert isinstance(data, Dataset)
    assert (clip_of(data).width, clip_of(data).height) == (WIDTH, HEIGHT)
    data.clip, data.image_size = Clip(SegmentSampling(4), None, 20, None, "kept"), 36
    assert (clip_of(data).width, clip_of(data).height, clip_of(data).cache) == (36, 20, None)
    data.clip = None
    with pytest.raises(BadConfig, match=r"does not say how its videos are read.*attribute `clip`"):
        clip_of(data)


def test_one_frame_has_no_span() -> None:
    pixels = np.zeros((1, 4, 4, 3), np.uint8)
    one = Decoded({"rgb": pixels}, np.zeros(1), 1, 25.0, None)
    assert looked_at(one) == "1 of its 1 frames (0.0 s) are looked at"
    assert looked_at(one._replace(truncated="the file ends within a frame")).endswith(
        "; it is cut off: the file ends within a frame"
    )


@pytest.mark.slow
def test_a_trained_stage_is_asked_with_its_own_weights(root: Path, place: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    for part, first in (("train", 0), ("test", 6)):
        for i in range(first, first + 6):
            write_video(parts / part / "ab"[i % 2] / f"{i}.mp4", panned(i, FRAMES), "mpeg4", rate=RATE)
    where = [f"data.root={parts}", f"paths.cache={place / 'cache'}", f"paths.runs={tmp_path / 'runs'}"]
    engine = "embed.engine=openvino"  # whose graphs are kept, one an input
    made = cli.run([*RUN, *LSTM, engine, "data.validation_fraction=0", *where])
    scores = {}
    for stage in ("random", "trained"):
        question = Question([parts / "test" / "a" / "8.mp4"], None, stage, None, 6, tmp_path)
        told = text(list(answer(made, lambda: cli.reopen(made), question)))
        found = ranked(told)
        assert found[0] == (1.0, "a", "test/a/8.mp4")
        assert f"({stage} weights)" in told
        scores[stage] = [score for score, _, _ in found]
    assert scores["random"] != scores["trained"]
    shutil.rmtree(place / "cache")
    question = replace(question, stage="trained")
    again = ranked(text(list(answer(made, lambda: cli.reopen(made), question))))
    assert [score for score, _, _ in again] == pytest.approx(scores["trained"], abs=2e-4)
