"""A known shift gives a known flow; mirroring is exact; both for both methods."""

from __future__ import annotations

import sys
import threading

import cv2
import numpy as np
import pytest

from retrieval_bench.errors import BadConfig, CorruptInput, MissingExtra
from retrieval_bench.media import flow as module
from retrieval_bench.media.flow import Flow, FlowMethod, flip_flow, grey

METHODS = list(FlowMethod)


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth random colours, full of contrast."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3).astype(float)
    return np.clip((smooth - smooth.mean()) * 5 + 128, 0, 255).astype(np.uint8)


def shifted(x: int, y: int, n: int = 3, height: int = 96, width: int = 120) -> np.ndarray:
    """Frames whose content moves by (x, y) pixels a frame."""
    whole = texture(height + 120, width + 120)
    return np.stack([whole[60 - i * y :, 60 - i * x :][:height, :width] for i in range(n)])


def zoomed(width: int = 120) -> np.ndarray:
    """Four frames that turn and come nearer, with noise."""
    turns = [cv2.getRotationMatrix2D((50, 40), 4 * i, 1 + 0.04 * i) for i in range(4)]
    clean = np.stack([cv2.warpAffine(texture(96, width), turn, (width, 96)) for turn in turns])
    return np.clip(clean + np.random.default_rng(1).normal(0, 6, clean.shape), 0, 255).astype(np.uint8)


def mirrored(frames: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frames[:, :, ::-1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("x", "y"), [(3, 0), (-3, 0), (0, 2), (0, -2), (4, -3)])
def test_a_shift_is_its_flow(x: int, y: int, method: FlowMethod) -> None:
    """Content that moves right has x > 0; down, y > 0."""
    found = Flow(method).flow_of(shifted(x, y))
    assert found.shape == (2, 96, 120, 2) and found.dtype == np.uint8
    inner = found[:, 20:-20, 20:-20].astype(int)
    expected = [round(v * 127 / 20) + 128 for v in (x, y)]
    assert np.abs(np.median(inner, axis=(0, 1, 2)) - expected).max() <= 1
    assert (np.abs(inner - expected).max(axis=3) <= 2).mean() > 0.95


def test_bytes_are_rounded_and_cut_off() -> None:
    pixels = np.array([0, 0.07, 0.09, 1, -1, 10, 19.99, 20, 25, -20, -1e9], np.float32)
    expected = [128, 128, 129, 134, 122, 192, 255, 255, 255, 1, 1]
    found = Flow()._quantised(np.stack([pixels, -pixels], axis=1)[None])
    assert found[0, :, 0].tolist() == expected
    assert found[0, :, 1].tolist() == [256 - value for value in expected]
    assert Flow(bound=10)._quantised(np.full((1, 1, 2), 5, np.float32)).tolist() == [[[192, 192]]]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("width", [120, 121])
def test_mirrored_frames_have_the_mirrored_flow(width: int, method: FlowMethod) -> None:
    noisy = zoomed(width)
    flow = Flow(method)
    np.testing.assert_array_equal(flow.flow_of(mirrored(noisy)), flip_flow(flow.flow_of(noisy)))


def test_without_care_dis_is_not_symmetric() -> None:
    """What `_side` is for; if this fails, it may go."""
    first, second = (grey(frame) for frame in zoomed()[:2])
    estimate = module._estimator(FlowMethod.DIS, first.shape)
    plain, other = estimate(first, second), estimate(module._flipped(first), module._flipped(second))
    assert np.abs(plain - module._mirrored(other)).max() > 20 / 127


@pytest.mark.parametrize("method", METHODS)
def test_pictures_that_balance_are_symmetric_too(method: FlowMethod) -> None:
    flow = Flow(method)
    half = shifted(0, 3, n=3, width=50)
    own = np.concatenate([half, half[:, :, ::-1]], axis=2)  # its own mirror image: what moves is symmetric
    found = flow.flow_of(own)
    np.testing.assert_array_equal(found, flip_flow(found))
    balanced = np.full((2, 64, 64, 3), 90, np.uint8)  # as much light left as right, but not symmetric
    balanced[0, 10:20, 8:24], balanced[0, 40:50, 40:56] = 200, 200
    balanced[1, 12:22, 8:24], balanced[1, 42:52, 40:56] = 200, 200
    assert module._lean(grey(balanced[0])) == module._lean(grey(balanced[1])) == 0
    np.testing.assert_array_equal(flow.flow_of(mirrored(balanced)), flip_flow(flow.flow_of(balanced)))
    assert (flow.flow_of(np.zeros((2, 32, 32, 3), np.uint8)) == 128).all()


def test_flip_of_stacks() -> None:
    stack = np.random.default_rng(0).integers(1, 256, (2, 5, 7, 6)).astype(np.uint8)
    flipped = flip_flow(stack)
    for y, x, channel in np.ndindex(5, 7, 6):
        value = stack[:, y, 6 - x, channel].astype(int)
        assert (flipped[:, y, x, channel] == (256 - value if channel % 2 == 0 else value)).all()
    np.testing.assert_array_equal(flip_flow(flipped), stack)


@pytest.mark.parametrize("method", METHODS)
def test_what_was_computed_before_does_not_matter(method: FlowMethod) -> None:
    """OpenCV's DIS object keeps buffers, and changes its own scales at a picture of 30 × 40."""
    flow = Flow(method)
    videos = [shifted(3, 1), shifted(1, 1, height=30, width=40), shifted(-2, 1, height=16, width=45), shifted(3, 1)]
    fresh: list[np.ndarray] = []
    for frames in (pair for video in videos for pair in (video[:2], video[1:])):
        thread = threading.Thread(target=lambda frames=frames: fresh.append(flow.flow_of(frames)[0]))
        thread.start()
        thread.join()
    np.testing.assert_array_equal(np.concatenate([f.ravel() for f in fresh]),
                                  np.concatenate([flow.flow_of(video).ravel() for video in videos]))  # fmt: skip


def test_usual_sizes_have_opencvs_own_dis() -> None:
    first, second = (grey(frame) for frame in zoomed()[:2])
    own = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, None)
    np.testing.assert_array_equal(module._estimator(FlowMethod.DIS, first.shape)(first, second), own)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(16, 16), (16, 100), (100, 16), (16, 640), (24, 1000), (1000, 24), (17, 45)], ids=str)
def test_long_and_narrow_pictures(size: tuple[int, int], method: FlowMethod) -> None:
    """With OpenCV's own choice of scales some of these end the process."""
    found = Flow(method).flow_of(shifted(1, 1, n=2, height=size[0], width=size[1]))
    assert found.shape == (1, *size, 2)


def test_pictures_that_are_too_small_are_told() -> None:
    with pytest.raises(CorruptInput, match=r"^frames of 40 × 15 pixels; optical flow needs 16 on each side$"):
        Flow().flow_of(np.zeros((2, 15, 40, 3), np.uint8))
    assert Flow().flow_of(np.zeros((1, 15, 40, 3), np.uint8)).shape == (0, 15, 40, 2)


def test_stacks_near_the_end_are_shifted_back() -> None:
    assert Flow(pairs=5).starts(np.array([0, 3, 9, 13, 14, 19]), 20).tolist() == [0, 3, 9, 13, 14, 14]
    assert Flow(pairs=5).starts(np.array([0, 5]), 6).tolist() == [0, 0]
    with pytest.raises(CorruptInput, match=r"it has 5 frames, and a stack of 5 pairs needs 6$"):
        Flow(pairs=5).starts(np.array([0]), 5)
    with pytest.raises(CorruptInput, match=r"it has 1 frame, and"):
        Flow(pairs=1).starts(np.array([0]), 1)


def test_opencv_works_in_one_thread() -> None:
    cv2.setNumThreads(3)
    Flow().flow_of(shifted(1, 0, n=2))
    assert cv2.getNumThreads() == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "tvl1"}, r"^flow\.method=tvl1: type one of dis, farneback$"),
        ({"pairs": 0}, r"^flow\.pairs=0: type a whole number"),
        ({"pairs": 2.0}, r"^flow\.pairs=2\.0: type a whole number"),
        ({"bound": 0.0}, r"^flow\.bound=0\.0: type a number"),
        ({"bound": float("nan")}, r"^flow\.bound=nan: type a number"),
    ],
)
def test_a_wrong_parameter_is_named(given: dict, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        Flow(**given)


def test_a_description_tells_what_decides_the_bytes() -> None:
    described = Flow("farneback", 3, 8.0).describe()  # type: ignore[arg-type]
    assert described == {"method": "farneback", "pairs": 3, "bound": 8.0, "library": f"opencv {cv2.__version__}"}


def test_without_opencv_the_install_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtra, match=r"opencv-python-headless.*retrieval-bench\[video\]"):
        Flow().flow_of(np.zeros((2, 32, 32, 3), np.uint8))
