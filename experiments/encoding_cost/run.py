"""What encoding costs: `embed` beside a plain loop and beside the bare engine, in turn, on the same cores.

python experiments/encoding_cost/run.py [--cars FOLDER] [--rounds 5] [--out experiments/encoding_cost]
"""

from __future__ import annotations

import argparse
import csv
import resource
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import simplejpeg
import timm
import torch
from PIL import Image
from skimage import data

from retrieval_bench.data.base import Items
from retrieval_bench.embed import Embed, embed
from retrieval_bench.encoder.base import Device, EngineChoice, EngineName, Precision, open_engine, prepare
from retrieval_bench.encoder.image import ImageEncoder
from retrieval_bench.encoder.pooling import Average
from retrieval_bench.media.image import decode

BATCH = 64


@dataclass(frozen=True)
class Cost:
    """Images a second, and milliseconds of processor time for one image, summed over the cores."""

    rate: float
    cpu_ms: float


class Clock:
    """Wall time and processor time (children included) since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = perf_counter(), self._cpu()

    @staticmethod
    def _cpu() -> float:
        used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(u.ru_utime + u.ru_stime for u in used)

    def cost(self, images: int) -> Cost:
        return Cost(images / (perf_counter() - self.wall), (self._cpu() - self.cpu) / images * 1e3)


def photographs(folder: Path, n: int, seed: int = 0) -> list[Path]:
    """Crops of scikit-image's colour photographs, 500 × 375 JPEG files of quality 90, upright every third."""
    sources = [Image.fromarray(a) for a in (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())]
    rng = np.random.default_rng(seed)
    (folder / "photographs").mkdir()
    paths = []
    for i in range(n):
        source = sources[i % len(sources)]
        shape = (375, 500) if i % 3 == 0 else (500, 375)
        scale = rng.uniform(0.6, 1) * min(source.width / shape[0], source.height / shape[1])
        width, height = int(shape[0] * scale), int(shape[1] * scale)
        left, top = rng.integers(source.width - width + 1), rng.integers(source.height - height + 1)
        crop = source.resize(shape, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        paths.append(folder / "photographs" / f"{i:05}.jpg")
        crop.save(paths[-1], quality=90)
    return paths


def plain_loop(folder: Path, size: int, n: int) -> Cost:
    """What people write first: ImageFolder, DataLoader with two workers, eager float32 model."""
    from torch.utils.data import DataLoader, Subset
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    resize = [transforms.Resize(256, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(224)]
    steps = [*(resize if size == 224 else []), transforms.ToTensor(), transforms.Normalize((0.498,) * 3, (0.502,) * 3)]
    files = ImageFolder(str(folder), transforms.Compose(steps))
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    clock = Clock()
    loader = DataLoader(Subset(files, range(n)), batch_size=BATCH, num_workers=2)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vectors = [model(images).numpy() for images, _ in loader]
    del loader
    assert sum(map(len, vectors)) == n
    return clock.cost(n)


def measured(folder: Path, paths: list[Path], size: int, rounds: int, plain_n: int) -> dict[str, list[Cost]]:
    """Costs of the plain loop, the bare engine, and `embed`, one after the other in every round."""
    encoder = ImageEncoder("tf_efficientnet_lite0", "package", Average())
    native = None if size == 224 else size
    items = Items([str(i) for i in range(len(paths))], lambda row: {"image": decode(paths[row])}, "encoding_cost")
    costs: dict[str, list[Cost]] = {"plain loop": [], "bare engine": [], "embed": [], "embed, with its start": []}
    with tempfile.TemporaryDirectory() as cache:
        facts = embed(items, encoder, native, Embed(batch_size=BATCH), Path(cache) / "first", lambda d, n: None).engine
        choice = EngineChoice(EngineName(facts["engine"]), Precision(facts["precision"]), Device(facts["device"]))
        bare = open_engine(encoder, encoder.preprocessing(native), choice, None)
        noise = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
        for i in range(rounds):
            costs["plain loop"].append(plain_loop(folder, size, plain_n))
            list(bare.run([noise] * 4))  # every request has its memory before the clock runs
            clock = Clock()
            for _ in bare.run([noise] * (len(paths) // BATCH)):
                pass
            costs["bare engine"].append(clock.cost(len(paths) // BATCH * BATCH))
            marks: list[Clock] = []
            clock, first = Clock(), Path(cache) / "first" / "engines"
            fresh = Path(cache) / str(i)
            fresh.mkdir()
            (fresh / "engines").symlink_to(first)  # the converted graph is kept, as on every run but the very first
            embed(items, encoder, native, Embed(batch_size=BATCH), fresh, lambda d, n, m=marks: m.append(Clock()))
            costs["embed, with its start"].append(clock.cost(len(paths)))
            costs["embed"].append(marks[0].cost(len(paths)))
    return costs


def steps(paths: list[Path], size: int) -> dict[str, float]:
    """Milliseconds of the parts of one image, one after the other on one core."""
    how = ImageEncoder("tf_efficientnet_lite0", "package").preprocessing(None if size == 224 else size)
    files = [path.read_bytes() for path in paths[:64]]
    images = [decode(file) for file in files]

    def each(call: Callable[[int], object]) -> float:
        times = []
        for i in range(len(files)):
            begin = perf_counter()
            call(i)
            times.append(perf_counter() - begin)
        return median(times) * 1e3

    return {
        "read the file": each(lambda i: paths[i].read_bytes()),
        "decode": each(lambda i: decode(files[i])),
        "decode, libjpeg-turbo alone": each(lambda i: simplejpeg.decode_jpeg(files[i])),
        "resize and crop": each(lambda i: prepare(images[i], how)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cars", type=Path, help="folder with cropped_test/*.jpg of 112 px")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=768)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as made:
        work = [(224, Path(made), photographs(Path(made), given.images), 2 * BATCH)]
        if given.cars:
            cars = sorted((given.cars / "cropped_test").glob("*.jpg"))[: 4 * given.images]
            work.append((112, given.cars, cars, 8 * BATCH))
        for size, folder, paths, plain_n in work:
            for part, ms in steps(paths, size).items():
                rows.append({"size": size, "what": part, "ms_one_core": round(ms, 3)})
            costs = measured(folder, paths, size, given.rounds, plain_n)
            for what, runs in costs.items():
                row = {"size": size, "what": what, "images_per_s": round(median(c.rate for c in runs), 1)}
                row["cpu_ms_per_image"] = round(median(c.cpu_ms for c in runs), 2)
                for other in ("plain loop", "bare engine"):
                    pairs = list(zip(runs, costs[other], strict=True))
                    row[f"x {other}"] = round(median(a.rate / b.rate for a, b in pairs), 2)
                    row[f"x {other}, by cpu"] = round(median(b.cpu_ms / a.cpu_ms for a, b in pairs), 2)
                rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (given.out / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
