"""Frames carry their numbers, written by the tests; colours by formulas of BT.601 and BT.709; the rest by OpenCV."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from video_files import HEIGHT, WIDTH, number_of, numbered, write_video

from retrieval_bench.errors import BadConfig, CorruptInput, MissingExtra
from retrieval_bench.media._stream import probe
from retrieval_bench.media.sampling import uniform
from retrieval_bench.media.video import Video, frames_at

N = 47
KINDS = [("a.avi", "mpeg4"), ("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.mov", "mjpeg")]
LOSSLESS = {"codec": "ffv1", "pix_fmt": "bgr0"}


def frames_of(path: Path, width: int | None = None, height: int | None = None, threads: int = 1) -> list[np.ndarray]:
    with Video(path, width, height, threads) as video:
        return list(video)


def clip(path: Path, codec: str = "libx264", n: int = N, b_frames: int = 2, options: dict | None = None) -> Path:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    b_frames = 0 if codec == "mjpeg" else b_frames
    return write_video(path, map(numbered, range(n)), codec, pix_fmt=pix_fmt, b_frames=b_frames, options=options)


def by_opencv(path: Path) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    while True:
        more, frame = capture.read()
        if not more:
            return
        yield frame[..., ::-1]


def hashes(frames: Iterator[np.ndarray] | list[np.ndarray]) -> list[str]:
    return [hashlib.sha256(np.ascontiguousarray(frame).data).hexdigest() for frame in frames]


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(("name", "codec"), KINDS, ids=[k[0] for k in KINDS])
def test_every_frame_comes_once_and_in_order(name: str, codec: str, threads: int, tmp_path: Path) -> None:
    path = clip(tmp_path / name, codec)
    if codec != "mjpeg":
        with av.open(str(path)) as container:  # there is something to put in order
            assert "B" in {av.video.frame.PictureType(f.pict_type).name for f in container.decode(video=0)}
    with Video(path, threads=threads) as video:
        assert [number_of(frame) for frame in video] == list(range(N))
        assert (video.count, video.truncated, video.rate) == (N, None, 25.0)
    frame = frames_of(path)[0]
    assert frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8 and frame.flags.c_contiguous


@pytest.mark.parametrize(("name", "codec"), KINDS, ids=[k[0] for k in KINDS])
def test_frames_are_those_of_opencv(name: str, codec: str, tmp_path: Path) -> None:
    """Bit for bit: both leave the scaler its fast arithmetic (ACCURATE_RND or full chroma would give other values)."""
    path = clip(tmp_path / name, codec)
    assert hashes(frames_of(path)) == hashes(by_opencv(path))


ORIGINALS = sorted(
    Path(os.environ.get("RETRIEVAL_BENCH_DATA", "/none"), "ucf101_6class_160", "original_avi_samples").glob("*.avi")
)


@pytest.mark.data
@pytest.mark.skipif(not ORIGINALS, reason="no original AVIs of UCF101")
@pytest.mark.parametrize("path", ORIGINALS, ids=lambda p: p.stem)
def test_original_avis_are_read_as_opencv_and_ffmpeg_do(path: Path) -> None:
    ours = hashes(frames_of(path))
    assert ours == hashes(by_opencv(path))
    assert len(set(ours)) > len(ours) // 2  # not one frame over and over


@pytest.mark.data
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg command")
@pytest.mark.parametrize("path", ORIGINALS, ids=lambda p: p.stem)
def test_original_avis_have_ffmpegs_count(path: Path) -> None:
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough"]
    listed = subprocess.run([*command, "-f", "framecrc", "-"], capture_output=True, text=True, check=True).stdout
    assert len(frames_of(path)) == sum(not line.startswith("#") for line in listed.splitlines())


def test_a_dropped_frame_of_an_avi_is_not_the_end(tmp_path: Path) -> None:
    """Capture programs write a chunk of no bytes."""
    path = clip(tmp_path / "a.avi", "mjpeg", 20)
    with av.open(str(path)) as container:
        place = [p for p in container.demux(video=0) if p.size][10].pos
    data = path.read_bytes()
    place = data.rindex(b"00dc", 0, place + 8)
    path.write_bytes(data[:place] + b"00dc\0\0\0\0" + data[place : data.rindex(b"idx1")])
    assert [number_of(frame) for frame in frames_of(path)] == list(range(20))


def patched(path: Path, count: int) -> Path:
    """An AVI whose headers say another number of frames."""
    data = bytearray(path.read_bytes())
    for tag, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        struct.pack_into("<I", data, data.index(tag) + offset, count)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("count", [0, 3, 5000])
def test_the_headers_count_is_not_believed(count: int, tmp_path: Path) -> None:
    path = patched(clip(tmp_path / "a.avi", "mpeg4"), count)
    with Video(path) as video:
        assert [number_of(frame) for frame in video] == list(range(N))
        assert video.truncated is None
    assert probe(path) == (N, 25.0)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("last", [12, 30, 40])
@pytest.mark.parametrize(("name", "codec"), KINDS, ids=[k[0] for k in KINDS])
def test_a_cut_file_keeps_its_good_prefix(name: str, codec: str, last: int, threads: int, tmp_path: Path) -> None:
    """Cut within a packet; also where frames later in time are there and frames before them are not."""
    path = clip(
        tmp_path / name, codec, options={"movflags": "faststart"} if "m" in name.rpartition(".")[2][0] else None
    )
    whole = hashes(frames_of(path))
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    path.write_bytes(path.read_bytes()[: packets[last].pos + packets[last].size // 2 + 4])
    with Video(path, threads=threads) as video:
        kept = hashes(video)
        assert video.truncated is not None and video.truncated.startswith("the file ends ")
    assert last - 4 <= len(kept) <= last and kept == whole[: len(kept)]
    assert len(kept) == last or codec != "mjpeg"


HEARD = [("a.mp4", "libx264", "aac"), ("a.mov", "libx264", "aac"), ("a.avi", "mpeg4", "pcm_s16le"),
         ("b.avi", "mpeg4", "libmp3lame"), ("a.mkv", "libx264", "aac")]  # fmt: skip


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(("name", "codec", "sound"), HEARD, ids=[f"{k[0]}, {k[2]}" for k in HEARD])
def test_a_cut_in_the_sound_is_seen_too(name: str, codec: str, sound: str, threads: int, tmp_path: Path) -> None:
    """Cut within each of some packets in a row, of both kinds, and between two; a whole file is not marked."""
    options = {"movflags": "faststart"} if "m" in name.rpartition(".")[2][0] else None
    path = write_video(tmp_path / name, map(numbered, range(N)), codec, b_frames=2, options=options, sound=sound)
    with Video(path, threads=threads) as video:
        whole = hashes(video)
        assert (len(whole), video.truncated) == (N, None)
    with av.open(str(path)) as container:
        packets = sorted((p.pos, p.size, p.stream.type) for p in container.demux() if p.size)[20:32]
    assert {kind for _, _, kind in packets} == {"video", "audio"}
    data = path.read_bytes()
    for end in [pos + size // 2 for pos, size, _ in packets] + [packets[5][0], packets[6][0]]:
        path.write_bytes(data[:end])
        with Video(path, threads=threads) as video:
            kept = hashes(video)
            assert video.truncated is not None and video.truncated.startswith("the file ends ")
        assert 0 < len(kept) < N and kept == whole[: len(kept)]


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
def test_an_avi_that_went_into_a_pipe_is_whole(length: int, tmp_path: Path) -> None:
    path = clip(tmp_path / "a.avi", "mpeg4")
    data = bytearray(path.read_bytes())
    for tag in (b"RIFF", b"LIST"):
        place = 0 if tag == b"RIFF" else data.index(b"movi") - 8
        struct.pack_into("<I", data, place + 4, length)
    path.write_bytes(data[: data.rindex(b"idx1")])
    with Video(path) as video:
        assert len(list(video)) == N and video.truncated is None


@pytest.mark.data
@pytest.mark.skipif(not ORIGINALS, reason="no original AVIs of UCF101")
@pytest.mark.parametrize("path", ORIGINALS, ids=lambda p: p.stem)
def test_original_avis_are_whole_until_they_are_cut(path: Path, tmp_path: Path) -> None:
    with Video(path, 16, 12) as video:
        whole = hashes(video)
        assert video.truncated is None
    cut = tmp_path / "cut.avi"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with Video(cut, 16, 12) as video:
        kept = hashes(video)
        assert video.truncated is not None and 0 < len(kept) < len(whole) and kept == whole[: len(kept)]


@pytest.mark.parametrize("damaged", [0, 2, 20, 33, N - 3, N - 1])
@pytest.mark.parametrize(("name", "codec"), [KINDS[0], KINDS[1]], ids=["mpeg4", "h264"])
def test_damage_is_the_same_for_any_number_of_threads(name: str, codec: str, damaged: int, tmp_path: Path) -> None:
    """With threads an error arrives some packets late, of the last packets at the end of the file."""
    path = clip(tmp_path / name, codec)
    whole = hashes(frames_of(path))
    with av.open(str(path)) as container:
        pos, size = [(p.pos, p.size) for p in container.demux(video=0) if p.size][damaged]
    data = bytearray(path.read_bytes())
    data[pos : pos + size] = b"\xff" * size
    path.write_bytes(data)

    def read(threads: int) -> tuple[list[str], str | None]:
        try:
            with Video(path, threads=threads) as video:
                return hashes(video), video.truncated
        except CorruptInput as error:
            return [], str(error)

    kept, truncated = read(1)
    assert read(8) == (kept, truncated)
    if damaged > 3:  # else nothing was given yet, and the packet is passed over
        assert kept == whole[: len(kept)] and damaged - 3 <= len(kept) <= damaged
        assert truncated is not None and "cannot be decoded" in truncated


def test_what_comes_after_damage_is_left_out(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", b_frames=0)
    whole = hashes(frames_of(path))
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    pos, size = packets[20]
    data[pos : pos + size] = b"\xff" * size
    path.write_bytes(data)
    with Video(path) as video:
        kept = hashes(video)
        assert video.truncated is not None and "cannot be decoded" in video.truncated
    assert kept == whole[:20]


def test_a_bad_file_is_told_in_plain_words(tmp_path: Path) -> None:
    def reason(name: str, data: bytes | None) -> str:
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(CorruptInput) as caught:
            frames_of(path)
        assert str(tmp_path) not in str(caught.value)
        return str(caught.value)

    whole = clip(tmp_path / "whole.mp4").read_bytes()
    assert reason("none.mp4", None) == "cannot be opened: No such file or directory"
    assert reason("empty.mp4", b"") == "the file is empty (0 bytes)"
    assert reason("text.mp4", b"words, and more words\n" * 99).startswith("not a video in a known format")
    assert reason("cut.mp4", whole[: len(whole) // 2]).startswith(
        "an MP4 or MOV file whose index (moov) cannot be read"
    )
    head = clip(tmp_path / "whole.avi", "mpeg4").read_bytes()
    assert reason("head.avi", head[: head.index(b"movi") + 20]).startswith("no frame can be decoded")


def test_a_folder_and_a_playlist_are_no_video(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(CorruptInput):
        Video(tmp_path / "folder.mp4")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://localhost:1/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(CorruptInput):
        frames_of(tmp_path / "list.mp4")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(CorruptInput, match=r"^no video in it \(audio only\)$"):
        Video(path)


def test_without_pyav_the_install_line_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"retrieval-bench\[video\]"):
        Video(tmp_path / "a.mp4")


def test_a_variable_rate_is_averaged(tmp_path: Path) -> None:
    times = [0, 40, 80, 1000, 1040, 3000, 3100, 5000]
    path = write_video(tmp_path / "a.mkv", map(numbered, range(8)), times=times)
    with Video(path) as video:
        assert [number_of(frame) for frame in video] == list(range(8))
        assert video.rate == pytest.approx(7 / 5)


def test_one_frame(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", n=1)
    assert [number_of(frame) for frame in frames_of(path)] == [0]
    assert probe(path) == (1, 25.0)


TURNS = [(angle, across, down) for angle in (0, 90, 180, -90) for across in (False, True) for down in (False, True)]


def by_definition(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Each pixel (x, y) to (a x + c y, b x + d y), then moved so that the picture begins at 0."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    to_x, to_y = matrix[0, 0] * x + matrix[1, 0] * y, matrix[0, 1] * x + matrix[1, 1] * y
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    out = np.zeros((to_y.max() + 1, to_x.max() + 1, 3), np.uint8)
    out[to_y, to_x] = picture
    return out


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_a_turned_picture_becomes_upright(turn: tuple[int, bool, bool], tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (18, 26, 3)).astype(np.uint8)
    stored = frames_of(write_video(tmp_path / "plain.mov", [picture] * 2, "mjpeg", pix_fmt="yuvj444p"))[1]
    path = write_video(tmp_path / "a.mov", [picture] * 2, "mjpeg", pix_fmt="yuvj444p", turn=turn)
    with av.open(str(path)) as container:
        side = next(container.decode(video=0)).side_data.get("DISPLAYMATRIX")
    matrix = np.eye(3, dtype=int) if side is None else np.frombuffer(bytes(side), np.int32).reshape(3, 3) // (1 << 16)
    upright = frames_of(path)
    np.testing.assert_array_equal(upright[1], by_definition(stored, matrix))
    resized = frames_of(path, 40, 20)[0]
    assert resized.shape == (20, 40, 3)


@pytest.mark.parametrize(("angle", "quarters"), [(-90, -1), (90, 1), (180, 2)])
def test_a_phones_clip_is_turned_as_opencv_does(angle: int, quarters: int, tmp_path: Path) -> None:
    plain = frames_of(clip(tmp_path / "plain.mp4", n=3))
    path = write_video(tmp_path / "a.mp4", map(numbered, range(3)), b_frames=2, turn=(angle, False, False))
    upright = frames_of(path)
    np.testing.assert_array_equal(upright, [np.rot90(frame, quarters) for frame in plain])
    np.testing.assert_array_equal(upright, list(by_opencv(path)))


WEIGHTS = {601: (0.299, 0.114), 709: (0.2126, 0.0722)}
COLOURS = [(40, 90, 200), (120, 200, 60), (200, 128, 128), (80, 100, 110)]


def rgb_by_formula(yuv: tuple[int, int, int], matrix: int, full: bool) -> np.ndarray:
    red, blue = WEIGHTS[matrix]
    y, u, v = (np.array(yuv) - (0 if full else 16, 128, 128)) / (255 if full else np.array([219, 224, 224]))
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.array([r, g, b]) * 255, 0, 255)


def flat(yuv: tuple[int, int, int], pix_fmt: str, width: int, height: int) -> av.VideoFrame:
    """A picture of one colour, its planes filled by hand; odd bytes of a line's end too."""
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, value in zip(frame.planes, yuv, strict=False):
        deep = "10le" in pix_fmt
        size = plane.buffer_size // (2 if deep else 1)
        plane.update(np.full(size, value * (4 if deep else 1), np.uint16 if deep else np.uint8).tobytes())
    return frame


@pytest.mark.parametrize("size", [(64, 48), (63, 47)], ids=str)
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [601, 709])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "gray"])
def test_colours_are_right(pix_fmt: str, matrix: int, full: bool, size: tuple[int, int], tmp_path: Path) -> None:
    made = []
    for yuv in COLOURS:
        frame = flat(yuv, pix_fmt, *size)
        frame.colorspace = 1 if matrix == 709 else 5
        frame.color_range = 2 if full else 1
        made.append(frame)
    path = write_video(tmp_path / "a.mkv", made, "ffv1", pix_fmt=pix_fmt)
    for yuv, frame in zip(COLOURS, frames_of(path), strict=True):
        assert frame.shape == (size[1], size[0], 3)
        # Grey is what is stored, as everywhere in FFmpeg and OpenCV: its range is not looked at.
        expected = np.full(3, yuv[0]) if pix_fmt == "gray" else rgb_by_formula(yuv, matrix, full)
        worst = 3.1 if "10" in pix_fmt else 2.2  # of the scaler's fast arithmetic
        np.testing.assert_allclose(frame.reshape(-1, 3), np.broadcast_to(expected, (frame[..., 0].size, 3)), 0, worst)


def test_shrinking_averages(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    path = write_video(tmp_path / "a.mkv", [stripes], **LOSSLESS)
    np.testing.assert_array_equal(frames_of(path)[0], stripes)
    small = frames_of(path, 16, 64)[0]
    assert small.shape == (64, 16, 3)
    assert np.abs(small[:, 2:-2].astype(int) - 127).max() <= 2


def test_a_size_that_changes_keeps_the_first(tmp_path: Path) -> None:
    parts = [write_video(tmp_path / f"{w}.ts", map(numbered_wide(w), range(9)), "mpeg2video") for w in (64, 96)]
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = frames_of(path)
    assert {frame.shape for frame in frames} == {(HEIGHT, 64, 3)}
    assert (
        [number_of(frame) for frame in frames]
        == [number_of(frame) for frame in by_opencv(path)]
        == [*range(8), *range(9)]
    )


def numbered_wide(width: int):
    def frame(number: int) -> np.ndarray:
        return cv2.resize(numbered(number), (width, HEIGHT), interpolation=cv2.INTER_NEAREST)

    return frame


def test_chosen_frames_are_those_of_the_whole(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4")
    with Video(path, 32, 24) as video:
        found = dict(video.chosen({0, 7, 8, 46, 99}.__contains__))
        assert video.count == N
    whole = frames_of(path, 32, 24)
    assert list(found) == [0, 7, 8, 46]
    assert all(np.array_equal(found[i], whole[i]) for i in found)


@pytest.mark.parametrize("rate", [1.0, 5.0, 7.3, 25.0, 40.0])
def test_frames_at_a_rate(rate: float, tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4")
    pixels, times = frames_at(path, rate, WIDTH // 2, None, tmp_path / "cache")
    expected = uniform(N, 25.0, rate)
    assert [number_of(frame) for frame in pixels] == expected.tolist()
    np.testing.assert_array_equal(times, expected / 25.0)
    assert isinstance(pixels, np.memmap) and pixels.shape[1:] == (HEIGHT, WIDTH // 2, 3)
    assert not pixels.flags.writeable


def test_frames_at_looks_at_the_content(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", n=20)
    assert len(frames_at(path, 25, None, None, tmp_path / "cache").pixels) == 20
    moved = path.rename(tmp_path / "b.mp4")
    clip(path, n=10)
    assert len(frames_at(path, 25, None, None, tmp_path / "cache").pixels) == 10
    assert len(frames_at(moved, 25, None, None, tmp_path / "cache").pixels) == 20
    assert len(list(tmp_path.glob("cache/frames/*/about.json"))) == 2
    for rate, width in ((0, 1), (float("nan"), 1), (1, 0)):
        with pytest.raises(BadConfig, match="numbers above 0"):
            frames_at(path, rate, width, None, tmp_path / "cache")


CHILD = """
import sys, time
from pathlib import Path
from retrieval_bench.media import video
path, cache, log, pause = sys.argv[1:]
given = video.Video._pixels
def slowly(self, frame):
    with open(log, "a") as file:
        file.write("frame\\n")
    time.sleep(float(pause))
    return given(self, frame)
video.Video._pixels = slowly
print(len(video.frames_at(Path(path), 25, None, None, cache).pixels))
"""


def child(path: Path, cache: Path, log: Path, pause: float) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", CHILD, str(path), str(cache), str(log), str(pause)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_a_kill_while_frames_are_written_leaves_nothing(tmp_path: Path) -> None:
    path, log = clip(tmp_path / "a.mp4"), tmp_path / "log"
    process = child(path, tmp_path / "cache", log, 0.05)
    while not log.exists() or log.read_text().count("\n") < 10:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list(tmp_path.glob("cache/frames/*/about.json"))
    for cache in ("cache", "clean"):
        assert len(frames_at(path, 25, None, None, tmp_path / cache).pixels) == N
    kept, clean = (
        {file.name: file.read_bytes() for file in tmp_path.glob(f"{cache}/frames/*/*")} for cache in ("cache", "clean")
    )
    assert kept == clean and len(kept) == 3


def test_two_processes_decode_once(tmp_path: Path) -> None:
    path, log = clip(tmp_path / "a.mp4"), tmp_path / "log"
    both = [child(path, tmp_path / "cache", log, 0.005) for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in both] == [f"{N}\n"] * 2
    assert log.read_text().count("\n") == N
