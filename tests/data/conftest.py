"""Writers of small fake data in the layouts of the real sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval_bench.media.clip import Clip
from retrieval_bench.media.sampling import SegmentSampling

Write = Callable[..., Path]


def _image(path: Path, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
    """A random picture, decided by its path's last two parts."""
    rng = np.random.default_rng(list("/".join(path.parts[-2:]).encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode).save(path)
    return path


def _video(path: Path, frames: int = 4, size: tuple[int, int] = (32, 24)) -> Path:
    """A random video of one codec, decided by its path's last two parts."""
    import av

    rng = np.random.default_rng(list("/".join(path.parts[-2:]).encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(frames):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def write_image() -> Write:
    return _image


@pytest.fixture
def write_video() -> Write:
    return _video


@pytest.fixture
def clip() -> Clip:
    """Three frames of 16 × 12 pixels."""
    return Clip(SegmentSampling(3), 16, 12, None, None)


@pytest.fixture
def touch_tree(tmp_path: Path) -> Write:
    """Empty files at these paths: enough where nothing is decoded."""

    def write(paths: Iterable[str], root: Path = tmp_path / "root") -> Path:
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
        return root

    return write


@pytest.fixture
def write_tree(tmp_path: Path) -> Write:
    """`{"folder/class": number of images}` → a folder of images, each named by its class and number."""

    def write(tree: dict[str, int], root: Path = tmp_path / "root") -> Path:
        root.mkdir(exist_ok=True)
        for folder, count in tree.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                _image(root / folder / f"{i:02}.png")
        return root

    return write


@pytest.fixture(autouse=True)
def no_real_data(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake's test must not fall back on the real data of this machine."""
    if request.node.get_closest_marker("data") is None:
        monkeypatch.delenv("RETRIEVAL_BENCH_DATA", raising=False)
