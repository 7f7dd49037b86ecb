"""Lossless files, so that what is read of a file equals what is computed of its frames in memory."""

from __future__ import annotations

import csv
import errno
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from video_files import number_of, numbered, write_video

from retrieval_bench.errors import BadConfig, CorruptInput, ReadFailed
from retrieval_bench.media import clip as module
from retrieval_bench.media._kept import KeptClips
from retrieval_bench.media._stream import Probe
from retrieval_bench.media.clip import Clip
from retrieval_bench.media.flow import Flow, FlowMethod
from retrieval_bench.media.sampling import DenseSampling, Sampling, SegmentSampling, UniformSampling, ViewSampling

SAMPLINGS = [SegmentSampling(8), DenseSampling(5, 3), UniformSampling(4.0, None), ViewSampling(3, 4, 2)]


def moving(n: int) -> np.ndarray:
    """A ramp of colours with squares that move: [n, 48, 64, 3]."""
    frames = np.repeat(np.stack([numbered(i) for i in range(n)])[:, :, :, :1], 3, axis=3)
    for i in range(n):
        frames[i, 4:20, 2 + i % 40 : 18 + i % 40] = (250, 40, 90)
    return frames


def lossless(path: Path, n: int = 30) -> Path:
    return write_video(path, moving(n), "ffv1", pix_fmt="bgr0")


def kept_files(cache: Path) -> dict[str, bytes]:
    return {str(file.relative_to(cache)): file.read_bytes() for file in cache.rglob("*") if file.suffix != ".lock"
            and file.is_file()}  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 7, 30])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda s: s.describe()["name"])
def test_frames_are_those_of_the_sampling(sampling: Sampling, n: int, tmp_path: Path) -> None:
    clip = Clip(sampling, None, None, None, None)
    rows = sampling.indices(n, 25.0)
    frames = moving(n)
    for found in (clip.read(lossless(tmp_path / "a.mkv", n)), clip.of_frames(frames, 25.0)):
        assert list(found) == ["rgb"]
        assert found["rgb"].flags.c_contiguous and found["rgb"].dtype == np.uint8
        np.testing.assert_array_equal(found["rgb"], frames[rows])
    assert clip.inputs == ("rgb",)


@pytest.mark.parametrize("method", list(FlowMethod))
@pytest.mark.parametrize("n", [6, 9, 30])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda s: s.describe()["name"])
def test_stacks_are_the_flow_of_the_whole_video(sampling: Sampling, n: int, method: FlowMethod, tmp_path: Path) -> None:
    flow = Flow(method, pairs=5)
    clip = Clip(sampling, None, None, flow, None)
    frames = moving(n)
    whole = flow.flow_of(frames)
    expected = []
    for row in sampling.indices(n, 25.0).tolist():
        start = min(row, n - 6)
        expected.append(np.stack([whole[start + pair, :, :, axis] for pair in range(5) for axis in (0, 1)], axis=2))
    for found in (clip.read(lossless(tmp_path / "a.mkv", n)), clip.of_frames(frames, 25.0)):
        assert list(found) == ["rgb", "flow"] == list(clip.inputs)
        np.testing.assert_array_equal(found["flow"], expected)
        np.testing.assert_array_equal(found["rgb"], frames[sampling.indices(n, 25.0)])


@pytest.mark.parametrize("n", [1, 5])
def test_too_few_frames_for_a_stack_are_told(n: int, tmp_path: Path) -> None:
    clip = Clip(SegmentSampling(8), None, None, Flow(pairs=5), None)
    for read in (lambda: clip.read(lossless(tmp_path / "a.mkv", n)), lambda: clip.of_frames(moving(n), 25.0)):
        with pytest.raises(CorruptInput, match=f"^too short for optical flow: it has {n} frames?, and a stack of 5"):
            read()


@pytest.mark.parametrize("guess", [0, 1, 3, 29, 31, 500])
@pytest.mark.parametrize("flow", [None, Flow(pairs=3)], ids=["rgb", "flow"])
def test_a_wrong_number_of_packets_does_no_harm(
    guess: int, flow: Flow | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = Clip(SegmentSampling(8), 40, 30, flow, None)
    path = lossless(tmp_path / "a.mkv")
    right = clip.read(path)
    monkeypatch.setattr(module, "probe", lambda path: Probe(guess, 25.0))
    wrong = clip.read(path)
    assert all(np.array_equal(right[name], wrong[name]) for name in clip.inputs)


def test_sizes(tmp_path: Path) -> None:
    path = lossless(tmp_path / "a.mkv")
    for width, height in ((None, None), (40, 30), (40, None), (None, 31)):
        clip = Clip(SegmentSampling(4), width, height, Flow(pairs=2), None)
        for found in (clip.read(path), clip.of_frames(moving(30), 25.0)):
            assert found["rgb"].shape == (4, height or 48, width or 64, 3)
            assert found["flow"].shape == (4, height or 48, width or 64, 4)
    large = Clip(SegmentSampling(1), 128, 96, None, None).of_frames(moving(1), 25.0)["rgb"][0]
    expected = cv2.resize(moving(1)[0], (128, 96), interpolation=cv2.INTER_LINEAR).astype(int)
    assert np.abs(large.astype(int) - expected).max() <= 3
    for size in (0, -1, 2.5, True):
        with pytest.raises(BadConfig, match=r"^clip\.height=.*or null for the stored size$"):
            Clip(SegmentSampling(1), 8, size, None, None)  # type: ignore[arg-type]


def test_a_second_reading_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lossless(tmp_path / "a.mkv")
    cache = str(tmp_path / "cache")
    first = Clip(SegmentSampling(4), 32, 24, Flow(pairs=2), cache).read(path)
    moved = path.rename(tmp_path / "other.mkv")  # found by content
    monkeypatch.setattr(module, "Video", None)
    second = Clip(SegmentSampling(4), 32, 24, Flow(pairs=2), cache).read(moved)
    assert list(second) == ["rgb", "flow"]
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_every_setting_has_clips_of_its_own(tmp_path: Path) -> None:
    path = lossless(tmp_path / "a.mkv")
    cache = str(tmp_path / "cache")
    clips = [
        Clip(SegmentSampling(4), 32, 24, None, cache),
        Clip(SegmentSampling(5), 32, 24, None, cache),
        Clip(SegmentSampling(4), 24, 32, None, cache),
        Clip(SegmentSampling(4), 32, 24, Flow(pairs=2), cache),
        Clip(SegmentSampling(4), 32, 24, Flow(pairs=3), cache),
        Clip(SegmentSampling(4), 32, 24, Flow(FlowMethod.FARNEBACK, 2), cache),
        Clip(SegmentSampling(4), 32, 24, Flow(pairs=2, bound=10), cache),
    ]
    for _ in range(2):
        for clip in clips:
            alone = Clip(clip.sampling, clip.width, clip.height, clip.flow, None).read(path)
            found = clip.read(path)
            assert list(found) == list(alone)
            assert all(np.array_equal(found[name], alone[name]) for name in found)
    assert len(list(tmp_path.glob("cache/clips/*/about.json"))) == len(clips)
    described = clips[0].describe()
    assert described["decoder"].startswith(f"av {av.__version__}, libavcodec ")
    assert described["sampling"] == {"name": "segments", "frames": 4}


def test_a_kept_clip_that_lost_bytes_is_made_again(tmp_path: Path) -> None:
    clip = Clip(SegmentSampling(4), 32, 24, None, str(tmp_path / "cache"))
    path = lossless(tmp_path / "a.mkv")
    clip.read(path)
    (file,) = tmp_path.glob("cache/clips/*/*/*.npz")
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:500] + b"\xff\x00" * 50 + whole[600:]):
        file.write_bytes(damaged)
        np.testing.assert_array_equal(clip.read(path)["rgb"], moving_small(path))
        assert file.read_bytes() == whole


def moving_small(path: Path) -> np.ndarray:
    return Clip(SegmentSampling(4), 32, 24, None, None).read(path)["rgb"]


def test_a_bad_file_is_decoded_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    path = tmp_path / "class" / "bad.mp4"
    path.parent.mkdir()
    path.write_bytes(b"no video, but with a comma\n" * 20)

    def clip() -> Clip:
        return Clip(SegmentSampling(4), None, None, None, str(cache))

    with pytest.raises(CorruptInput) as first:
        clip().read(path)
    (ledger,) = cache.glob("clips/*/failures.csv")
    with ledger.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["video"], row["outcome"], row["reason"]) == ("class/bad.mp4", "failed", str(first.value))
    assert str(tmp_path) not in ledger.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(module, "probe", None)  # decoding is not tried
        with pytest.raises(CorruptInput) as second:
            clip().read(path)
        assert str(second.value) == str(first.value)
    lossless(tmp_path / "good.mkv").replace(path)
    assert clip().read(path)["rgb"].shape == (4, 48, 64, 3)
    with pytest.raises(CorruptInput, match="cannot be opened: No such file"):
        clip().read(tmp_path / "none.mp4")
    assert ledger.read_text().count("\n") == 2  # a file that is not there has no line


def test_a_cut_video_is_marked_and_used(tmp_path: Path) -> None:
    path = write_video(tmp_path / "cut.avi", map(numbered, range(40)), "mpeg4")
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    path.write_bytes(path.read_bytes()[: packets[24].pos + 20])
    clip = Clip(SegmentSampling(4), None, None, None, str(tmp_path / "cache"))
    for _ in range(2):
        assert [number_of(frame) for frame in clip.read(path)["rgb"]] == [3, 9, 15, 21]
    (ledger,) = tmp_path.glob("cache/clips/*/failures.csv")
    assert ledger.read_text().splitlines()[1].endswith("/cut.avi,truncated,the file ends within a frame")


def test_a_cut_video_is_told_under_every_name(tmp_path: Path) -> None:
    """Also of a folder that was moved, and of a copy that was never read."""
    path = tmp_path / "films" / "cut.avi"
    write_video(path, map(numbered, range(40)), "mpeg4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 4 // 5])
    whole = write_video(tmp_path / "films" / "whole.avi", map(numbered, range(40)), "mpeg4")
    clip = Clip(SegmentSampling(4), None, None, None, str(tmp_path / "cache"))
    assert clip.truncated([path, whole]) == {}
    clip.read(path)
    clip.read(whole)
    copy = tmp_path / "b.avi"
    copy.write_bytes(path.read_bytes())
    (reason,) = clip.truncated([path]).values()
    assert clip.truncated([copy, whole, tmp_path / "none.avi"]) == {copy: reason}
    moved = (tmp_path / "films").rename(tmp_path / "other") / "cut.avi"
    assert clip.truncated([moved, copy]) == {moved: reason, copy: reason}


CHILD = """
import sys, time
from pathlib import Path
from retrieval_bench.media import clip as module
from retrieval_bench.media.flow import Flow
from retrieval_bench.media.sampling import SegmentSampling
folder, cache, log, pause = sys.argv[1:]
decode = module.Clip.decode
def slowly(self, path):
    with open(log, "a") as file:
        file.write(path.name + "\\n")
    time.sleep(float(pause))
    return decode(self, path)
module.Clip.decode = slowly
clip = module.Clip(SegmentSampling(4), 32, 24, Flow(pairs=2), cache)
for path in sorted(Path(folder).iterdir()):
    try:
        clip.read(path)
    except module.CorruptInput:
        pass
"""


def child(folder: Path, cache: Path, log: Path, pause: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(folder), str(cache), str(log), str(pause)])


def some_videos(folder: Path) -> Path:
    for n in range(6, 12):
        lossless(folder / f"{n:02}.mkv", n)
    (folder / "07.bad").write_bytes(b"bad" * 50)
    return folder


@pytest.mark.slow
def test_a_kill_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    folder, log = some_videos(tmp_path / "videos"), tmp_path / "log"
    process = child(folder, tmp_path / "cache", log, 0.1)
    while not log.exists() or log.read_text().count("\n") < 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(list(tmp_path.glob("cache/clips/*/*/*.npz")))
    assert 1 <= done < 6
    assert child(folder, tmp_path / "cache", tmp_path / "log2", 0).wait() == 0
    assert (tmp_path / "log2").read_text().count("\n") == 6 - done  # nor the bad file
    assert child(folder, tmp_path / "clean", tmp_path / "log3", 0).wait() == 0
    resumed, clean = ({k: v for k, v in kept_files(tmp_path / c).items() if not k.endswith(".tmp")}
                      for c in ("cache", "clean"))  # fmt: skip
    assert resumed == clean and len(clean) == 6 + 2


@pytest.mark.slow
def test_two_processes_do_not_disturb_each_other(tmp_path: Path) -> None:
    folder = some_videos(tmp_path / "videos")
    both = [child(folder, tmp_path / "cache", tmp_path / f"log{i}", 0.01) for i in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert child(folder, tmp_path / "clean", tmp_path / "log3", 0).wait() == 0
    assert kept_files(tmp_path / "cache") == kept_files(tmp_path / "clean")


@pytest.mark.parametrize("kept", [False, True])
def test_many_threads_read_the_same_bytes(kept: bool, tmp_path: Path) -> None:
    paths = [lossless(tmp_path / f"{n}.mkv", n) for n in (6, 9, 14)] * 4
    clip = Clip(SegmentSampling(4), 40, 30, Flow(pairs=3), str(tmp_path / "cache") if kept else None)
    alone = [Clip(SegmentSampling(4), 40, 30, Flow(pairs=3), None).read(path) for path in paths]
    with ThreadPoolExecutor(6) as pool:
        for one, expected in zip(pool.map(clip.read, paths), alone, strict=True):
            assert all(np.array_equal(one[name], expected[name]) for name in clip.inputs)


def test_a_ledger_that_is_damaged_is_begun_anew(tmp_path: Path) -> None:
    kept = KeptClips(tmp_path, {"a": 1})
    kept.folder.mkdir(parents=True)
    (kept.folder / "failures.csv").write_bytes(b"\xff\xfe\x00nothing")
    assert kept.load("00") is None
    kept.note("00", tmp_path / "a" / "b.mp4", module.Outcome.FAILED, 'a, "reason"\nof two lines')
    with pytest.raises(CorruptInput) as caught:
        KeptClips(tmp_path, {"a": 1}).load("00")
    assert str(caught.value) == 'a, "reason"\nof two lines'


def test_a_cache_that_cannot_be_written_says_where_to_go(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    clip = Clip(SegmentSampling(4), None, None, None, str(tmp_path / "file"))
    with pytest.raises(BadConfig, match=r"paths\.cache=FOLDER"):
        clip.read(lossless(tmp_path / "a.mkv"))


def test_decoding_tells_what_was_read(tmp_path: Path) -> None:
    clip = Clip(SegmentSampling(4), None, None, None, str(tmp_path / "cache"))
    whole = clip.decode(lossless(tmp_path / "a.mkv", 20))
    np.testing.assert_array_equal(whole.arrays["rgb"], moving(20)[[2, 7, 12, 17]])
    assert whole.times.tolist() == [2 / 25, 7 / 25, 12 / 25, 17 / 25]
    assert (whole.frames, whole.rate, whole.truncated) == (20, 25.0, None)
    half = tmp_path / "half.mkv"
    half.write_bytes((tmp_path / "a.mkv").read_bytes()[: (tmp_path / "a.mkv").stat().st_size // 2])
    cut = clip.decode(half)
    assert cut.truncated and 0 < cut.frames < 20
    np.testing.assert_array_equal(cut.times, SegmentSampling(4).indices(cut.frames, 25.0) / cut.rate)
    assert not (tmp_path / "cache").exists(), "what is decoded for once is not kept"


def test_a_size_is_set_where_none_is() -> None:
    clip = Clip(SegmentSampling(4), None, 30, Flow(), "cache")
    sized, same = clip.sized(40), clip.sized(None)
    assert (sized.width, sized.height, sized.cache, sized.flow) == (40, 30, None, clip.flow)
    assert (same.width, same.height) == (None, 30)


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.ENOMEM])
def test_a_fault_of_the_machine_is_not_remembered_as_the_files(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "film.avi"
    write_video(file, map(numbered, range(12)))
    clip = Clip(SegmentSampling(4), None, None, None, str(tmp_path / "cache"))
    with monkeypatch.context() as patch:

        def refuses(*given: object, **named: object) -> None:
            raise OSError(code, "no luck")

        patch.setattr(av, "open", refuses)
        with pytest.raises(ReadFailed, match="type the same command again"):
            clip.read(file)
    with monkeypatch.context() as patch:
        patch.setattr(VideoReformatter, "reformat", fails(code))
        with pytest.raises(ReadFailed, match="type the same command again"):
            clip.read(file)
    assert clip.read(file)["rgb"].shape[0] == 4
    with monkeypatch.context() as patch:
        patch.setattr(VideoReformatter, "reformat", fails(errno.EINVAL))
        with pytest.raises(CorruptInput, match="cannot be converted to RGB"):
            Clip(SegmentSampling(4), 8, 8, None, str(tmp_path / "cache")).read(file)


def fails(code: int) -> Callable[..., None]:
    def reformat(*given: object, **named: object) -> None:
        raise av.error.FFmpegError(code, "no luck")

    return reformat
