"""Optical flow between consecutive frames (OpenCV), kept as bytes, exactly symmetric under mirroring.

A byte is clip(round(motion in pixels · 127 / bound), -127, 127) + 128: 128 is no motion, 0 never occurs. x grows to the
right and y downwards; x > 0: the content moves to the right from one frame to the next.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig, CorruptInput, MissingExtra

if TYPE_CHECKING:
    from types import ModuleType

Bytes = NDArray[np.uint8]
Motion = NDArray[np.float32]
Estimate = Callable[[Bytes, Bytes], Motion]  # grey [h, w] twice → pixels [h, w, 2]

LARGEST, REST = 127, 128
SMALLEST_SIDE = 16  # pixels: two of DIS's patches; on less it crashes or gives no numbers
# OpenCV's own example: pyramid scale, levels, window, iterations, size and width of the polynomial's neighbourhood.
FARNEBACK = (0.5, 3, 15, 3, 5, 1.2)


class FlowMethod(StrEnum):
    """How motion is estimated."""

    DIS = "dis"  # dense inverse search, preset medium (Kroeger et al. 2016)
    FARNEBACK = "farneback"  # polynomial expansion (Farnebäck 2003)


@dataclass(frozen=True)
class Flow:
    """Optical flow and the stacks made of it (Simonyan and Zisserman 2014).

    A stack at frame s holds the pairs (s, s + 1) … (s + L - 1, s + L): L + 1 frames, 2 L channels x0, y0, x1, y1, …
    Near the end of a video it is shifted back so far that it fits. A video of fewer than L + 1 frames has none.

    OpenCV has one number of threads for the whole process. Computing flow sets it to 1: several videos are read at
    once, and threads for each of them would only crowd the cores. (The bytes were the same with 1 to 8 threads in
    OpenCV 5.)

    Args:
        method: dis or farneback.
        pairs: L.
        bound: pixels; larger motion is cut off.

    Raises:
        BadConfig: no such method, no pair, or a bound that is no positive number.
    """

    method: FlowMethod = FlowMethod.DIS
    pairs: int = 5
    bound: float = 20.0

    def __post_init__(self) -> None:
        if self.method not in list(FlowMethod):
            raise BadConfig(f"flow.method={self.method}: type one of {', '.join(FlowMethod)}")
        object.__setattr__(self, "method", FlowMethod(self.method))
        if isinstance(self.pairs, bool) or not isinstance(self.pairs, int) or self.pairs < 1:
            raise BadConfig(f"flow.pairs={self.pairs}: type a whole number from 1, for instance 5")
        if not 0 < self.bound < math.inf:
            raise BadConfig(f"flow.bound={self.bound}: type a number of pixels above 0, for instance 20")

    def flow_of(self, frames: Bytes) -> Bytes:
        """Flow from each frame to the next: RGB [n, h, w, 3], n ≥ 1 → [n - 1, h, w, 2].

        Raises:
            CorruptInput: frames too small. MissingExtra: OpenCV is not installed.
        """
        n, height, width, _ = frames.shape
        out = np.empty((n - 1, height, width, 2), np.uint8)
        last = grey(frames[0])
        for row, frame in enumerate(frames[1:]):
            following = grey(frame)
            out[row] = self.between(last, following)
            last = following
        return out

    def between(self, first: Bytes, second: Bytes) -> Bytes:
        """Flow from one grey frame [h, w] to another: [h, w, 2]. Raises as `flow_of`."""
        height, width = first.shape
        if min(height, width) < SMALLEST_SIDE:
            raise CorruptInput(f"frames of {width} × {height} pixels; optical flow needs {SMALLEST_SIDE} on each side")
        side = _side(first, second)
        if side > 0:
            first, second = _flipped(first), _flipped(second)
        motion: Motion = _estimator(self.method, first.shape)(first, second)
        if side == 0:
            motion = (motion + _mirrored(motion)) * np.float32(0.5)
        found = self._quantised(motion)
        return flip_flow(found) if side > 0 else found

    def starts(self, rows: NDArray[np.int64], n: int) -> NDArray[np.int64]:
        """First frame of the stack of each of these frames, in a video of n: [t].

        Raises:
            CorruptInput: n is less than L + 1.
        """
        if n <= self.pairs:
            raise CorruptInput(
                f"too short for optical flow: it has {n} frame{'s' * (n != 1)}, and a stack of {self.pairs} pairs needs"
                f" {self.pairs + 1}"
            )
        return np.minimum(rows, n - 1 - self.pairs)

    def describe(self) -> dict[str, Any]:
        """Everything that decides a byte, as JSON."""
        return {
            "method": str(self.method),
            "pairs": self.pairs,
            "bound": self.bound,
            "library": f"opencv {_opencv().__version__}",
        }

    def _quantised(self, motion: Motion) -> Bytes:
        steps = np.rint(motion * np.float32(LARGEST / self.bound))
        np.clip(steps, -LARGEST, LARGEST, out=steps)
        steps += REST
        found: Bytes = steps.astype(np.uint8)
        return found


def flip_flow(flow: Bytes) -> Bytes:
    """The flow of mirrored frames: [..., h, w, 2 L] → the same. x changes its sign, y does not; exact for `flow_of`."""
    width, channels = flow.shape[-2:]
    mirrored = np.take(flow, np.arange(width)[::-1], axis=-2)
    signs = np.tile(np.array([255, 1], np.uint8), width * channels // 2)  # of bytes, 255 v = 256 - v: 128 stays
    lines = mirrored.reshape(*flow.shape[:-2], width * channels)
    lines *= signs  # by whole lines: four times as fast as by every second byte
    return mirrored


def grey(frame: Bytes) -> Bytes:
    """Brightness (BT.601) of an RGB frame: [h, w, 3] → [h, w]."""
    cv2 = _opencv()
    found: Bytes = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return found


def _side(first: Bytes, second: Bytes) -> int:
    """Which of a pair and its mirror image is estimated: -1 = the pair, 1 = the image, 0 = they are the same.

    Neither method is symmetric by itself: patches are laid and visited from the left. So of the two always the same one
    is estimated, the one with its light on the left, and the motion is mirrored back for the other: the flow of
    mirrored frames is the mirrored flow bit for bit, at the price of one estimate. A pair that is its own mirror image
    gets the mean of both directions.
    """
    found = _lean(first) or _lean(second) or _lexical(first) or _lexical(second)
    return (found > 0) - (found < 0)


def _lean(picture: Bytes) -> int:
    """Where the light is: below 0 = left. Whole numbers, so that the mirror image has exactly the negative."""
    width = picture.shape[1]
    return int(picture.sum(axis=0, dtype=np.int64) @ np.arange(1 - width, width, 2))


def _lexical(picture: Bytes) -> int:
    """An order of a picture and its mirror image, for those that balance: -1, 0 (equal) or 1."""
    own, other = picture.tobytes(), _flipped(picture).tobytes()
    return (own > other) - (own < other)


def _flipped(picture: Bytes) -> Bytes:
    return np.ascontiguousarray(picture[:, ::-1])


def _mirrored(motion: Motion) -> Motion:
    return motion[:, ::-1] * np.array([-1, 1], np.float32)


_of_thread = threading.local()


def _estimator(method: FlowMethod, shape: tuple[int, ...]) -> Estimate:
    cv2 = _opencv()
    cv2.setNumThreads(1)
    if method is FlowMethod.FARNEBACK:
        return lambda first, second: cv2.calcOpticalFlowFarneback(first, second, None, *FARNEBACK, 0)
    if vars(_of_thread).get("shape") != shape:
        _of_thread.shape, _of_thread.dis = shape, _dis(cv2, *shape)
    dis = _of_thread.dis
    return lambda first, second: dis.calc(first, second, None)


def _dis(cv2: ModuleType, height: int, width: int) -> Any:
    """DIS for pictures of one size; for each thread, since it holds buffers.

    The scales are set, by OpenCV's own rule where that is sound. Left alone, OpenCV takes the coarsest from the longer
    side: on long, narrow pictures the shorter one has no room for a patch then, which ends the process; and on those
    below 46 pixels it changes the object, which gives other flow from the second call on.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    patch = dis.getPatchSize()
    by_longer = int(math.log2(max(height, width) / (4 * patch)) + 0.5)
    by_shorter = int(math.log2(min(height, width) / patch))  # 1 at least, by SMALLEST_SIDE
    dis.setCoarsestScale(max(1, min(by_longer, by_shorter)))
    if by_longer < dis.getFinestScale():
        dis.setFinestScale(0)
    return dis


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise MissingExtra("opencv-python-headless", "video") from error
    return cv2
