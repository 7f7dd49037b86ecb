"""What reading videos costs beside the bare libraries, in time and in memory; and how symmetric optical flow is.

python experiments/video_cost/run.py --data FOLDER            # times, on the videos below FOLDER
python experiments/video_cost/run.py --memory                 # memory, on a file of 10 minutes that it writes itself
python experiments/video_cost/run.py --memory --minutes 0.2 --rounds 1 --out .     # to see that it works
python experiments/video_cost/run.py --data FOLDER --symmetry # of plain flow and of ours; nothing is timed

Times, in turn, `--rounds` times, each in a process of its own, all frames of `--videos` files at 171 × 128: (a) a bare
PyAV loop with one reformatter a file; (b) `Video`; (c) the parts of RGB and flow one after another: (a), then grey, DIS
and rounding on the frames in memory; (d) `Clip` with flow at every frame, without a cache. Frames a second, medians, in
`times.csv`; the share of the bare parts' speed is the median over rounds of the two measurements beside each other.
Memory: the peak of resident memory above that after the imports, in `memory.csv`, on a file of 1920 × 1080, H.264 by
x264's `ultrafast`, drifting noise at 10 frames a second: 25 take longer to write and to read, but no more memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median

import av
import cv2
import numpy as np
import pandas as pd
import psutil
from av.video.reformatter import Interpolation, VideoReformatter

from retrieval_bench.media.clip import Clip
from retrieval_bench.media.flow import Flow, FlowMethod, flip_flow
from retrieval_bench.media.sampling import DenseSampling, SegmentSampling
from retrieval_bench.media.video import Video, frames_at

HERE = Path(__file__).parent
WIDTH, HEIGHT = 171, 128
KINDS = ("bare PyAV loop", "Video", "parts of RGB and DIS", "Clip with DIS")
PAIRED = {"Video": ("bare PyAV loop", 0.9), "Clip with DIS": ("parts of RGB and DIS", 0.85)}  # and the share wanted
MOST_MB = 300.0
LEAST_S = 10.0  # of a measurement: a pass over the files takes two seconds, too few to be steady
RATE, LOOP = 10, 60  # frames a second of the file for --memory; of these differ
READERS = ("Video", "Clip with DIS", "frames_at")
SUFFIXES = (".mp4", ".avi", ".mkv")


def bare_frames(path: Path) -> Iterator[np.ndarray]:
    """The plain loop."""
    reformatter = VideoReformatter()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            small = reformatter.reformat(frame, WIDTH, HEIGHT, "rgb24", interpolation=Interpolation.BILINEAR, threads=1)
            yield np.ascontiguousarray(small.to_ndarray())


def bare(path: Path) -> int:
    return sum(1 for _ in bare_frames(path))


def ours(path: Path) -> int:
    with Video(path, WIDTH, HEIGHT) as video:
        return sum(1 for _ in video)


def parts(path: Path) -> int:
    frames = list(bare_frames(path))
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    flows = [dis.calc(first, second, None) for first, second in pairwise(greys)]
    kept = [(np.clip(np.rint(flow * (127 / 20)), -127, 127) + 128).astype(np.uint8) for flow in flows]
    return len(kept) + 1


def clip(path: Path) -> int:
    n = ours_count(path)
    return len(Clip(DenseSampling(n, 1), WIDTH, HEIGHT, Flow(pairs=1), None).read(path)["flow"])


def ours_count(path: Path) -> int:
    """Packets; a few hundredths of a percent of the time of the rest."""
    with av.open(str(path)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


WORK: dict[str, Callable[[Path], int]] = dict(zip(KINDS, (bare, ours, parts, clip), strict=True))


def videos(data: Path, most: int) -> list[Path]:
    """At most so many files below a folder, evenly spread over their names."""
    found = sorted(path for path in data.rglob("*") if path.suffix in SUFFIXES)
    return found[:: -(-len(found) // most)]


def rate(kind: str, paths: list[Path]) -> float:
    """Frames a second, after one file to warm up: all files, over and over for LEAST_S at least."""
    cv2.setNumThreads(1)
    WORK[kind](paths[0])
    begin, frames, spent = time.perf_counter(), 0, 0.0
    while spent < LEAST_S:
        frames += sum(WORK[kind](path) for path in paths)
        spent = time.perf_counter() - begin
    return frames / spent


def peak(reader: str, path: Path) -> float:
    """MB of resident memory at its peak, above those after the imports and a small video."""
    with tempfile.TemporaryDirectory() as folder:
        small = write(Path(folder) / "small.mp4", 64, 48, 30)
        Clip(SegmentSampling(2), None, None, Flow(), None).read(small)  # what libraries load at their first use
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew
        before = psutil.Process().memory_info().rss
        if reader == "Video":
            ours(path)
        elif reader == "frames_at":
            frames_at(path, 1.0, WIDTH, HEIGHT, folder)
        else:
            Clip(SegmentSampling(8), WIDTH, HEIGHT, Flow(), None).read(path)
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return (int(line.split()[1]) * 1024 - before) / 1e6


def write(path: Path, width: int, height: int, n: int) -> Path:
    """Noise that drifts in circles: there is something to decode in every frame, and each is made only once."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 8 + 16, width // 8 + 16, 3)).astype(np.uint8)
    whole = cv2.resize(noise, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    pictures = []
    for angle in np.arange(min(n, LOOP)) * 2 * np.pi / LOOP:
        x, y = int(60 + 50 * np.sin(angle)), int(60 + 50 * np.cos(angle))
        picture = np.ascontiguousarray(whole[y : y + height, x : x + width])
        pictures.append(av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p"))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(n):
            frame = pictures[i % LOOP]
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def written(path: Path, minutes: float) -> Path:
    """The file for `--memory`, and how long that took."""
    begin = time.perf_counter()
    write(path, 1920, 1080, round(minutes * 60 * RATE))
    size, seconds = path.stat().st_size / 1e6, time.perf_counter() - begin
    print(f"{minutes:g} min of 1920 x 1080, {RATE} frames/s: {size:.0f} MB, written in {seconds:.0f} s", flush=True)
    return path


def in_turn(kinds: tuple[str, ...], arguments: list[str], rounds: int, unit: str) -> dict[str, list[float]]:
    """Each measurement in a process of its own."""
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind in kinds:
            command = [sys.executable, __file__, *arguments, "--one", kind]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[kind].append(float(done.stdout.split()[-1]))
            print(f"{kind}: {found[kind][-1]:.1f} {unit}", flush=True)
    return found


def rows(found: dict[str, list[float]], unit: str) -> list[dict[str, object]]:
    """Median and spread of each measurement, beside what is wanted of it."""
    made: list[dict[str, object]] = []
    for kind, values in found.items():
        row = {"what": kind, "rounds": len(values), unit: median(values), "lowest": min(values), "highest": max(values)}
        if unit == "peak_mb":
            row |= {"wanted_at_most": MOST_MB}
        elif kind in PAIRED:
            bare, wanted = PAIRED[kind]
            shares = [mine / theirs for mine, theirs in zip(values, found[bare], strict=True)]
            row |= {"share_of_bare": median(shares), "lowest_share": min(shares), "highest_share": max(shares)}
            row |= {"wanted_share": wanted}
        made.append(row)
    return made


def table(found: dict[str, list[float]], file: Path, unit: str) -> None:
    """Write and print it."""
    made = pd.DataFrame(rows(found, unit))
    made.round(3).to_csv(file, index=False)
    print(made.round(3).to_string(index=False))


def symmetry(paths: list[Path], out: Path) -> None:
    """Share of bytes that differ by more than one step between the flow of mirrored frames and the mirrored flow."""
    cv2.setNumThreads(1)
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    plain = {
        FlowMethod.DIS: lambda a, b: dis.calc(a, b, None),
        FlowMethod.FARNEBACK: lambda a, b: cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0),
    }
    found = []
    for method, estimate in plain.items():
        flow, off, ours_off = Flow(method), [], []
        for path in paths:
            frames = np.stack([frame for _, frame in zip(range(12), bare_frames(path), strict=False)])
            mirrored = np.ascontiguousarray(frames[:, :, ::-1])
            made = []
            for some in (frames, mirrored):
                grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in some]
                made.append(np.stack([flow._quantised(estimate(a, b)) for a, b in pairwise(grey)]))
            off.append((np.abs(made[1].astype(int) - flip_flow(made[0])) > 1).mean())
            ours_off.append((np.abs(flow.flow_of(mirrored).astype(int) - flip_flow(flow.flow_of(frames))) > 0).mean())
        found.append((str(method), np.mean(off), np.max(off), np.max(ours_off)))
    made = pd.DataFrame(found, columns=["method", "plain_more_than_a_step", "plain_worst_video", "ours_any_difference"])
    made.round(5).to_csv(out / "symmetry.csv", index=False)
    print(made.round(5).to_string(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of videos")
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--rounds", type=int, help="9 of times, 3 of memory")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the tables")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--symmetry", action="store_true")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the file for --memory")
    parser.add_argument("--file", type=Path, help="the file for --memory; written if it is not given")
    parser.add_argument("--one", help="one measurement, for itself")
    args = parser.parse_args()
    if args.one:
        print(peak(args.one, args.file) if args.memory else rate(args.one, videos(args.data, args.videos)))
        return
    if args.memory:
        with tempfile.TemporaryDirectory() as folder:
            file = args.file or written(Path(folder) / "long.mp4", args.minutes)
            found = in_turn(READERS, ["--memory", "--file", str(file)], args.rounds or 3, "MB")
        table(found, args.out / "memory.csv", "peak_mb")
    elif args.data is None:
        parser.error("--data FOLDER or --memory is needed")
    elif args.symmetry:
        symmetry(videos(args.data, args.videos), args.out)
    else:
        arguments = ["--data", str(args.data), "--videos", str(args.videos)]
        table(in_turn(KINDS, arguments, args.rounds or 9, "frames/s"), args.out / "times.csv", "frames_per_s")


if __name__ == "__main__":
    main()
