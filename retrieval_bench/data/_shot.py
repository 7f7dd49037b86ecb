"""One shot: a photograph seen by a moving camera, lit and coloured, and perhaps an object that moves before it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data._photographs import digest, photograph
from retrieval_bench.errors import MissingExtra

RECIPE = 1  # raised whenever the drawing below or in `_camera` changes, so that old caches are not taken
PHOTO_SIDE = 480  # pixels; the shorter side of a photograph at most
FINER = 2  # a frame is drawn this many times larger and averaged: no aliasing
LUMA = np.array([0.299, 0.587, 0.114])
Floats = NDArray[np.float64]
Frames = NDArray[np.uint8]
Point = tuple[float, float]


def versions(photographs: tuple[str, ...]) -> dict[str, str]:
    """What decides the pixels besides our own parameters. JSON values."""
    return {
        "recipe": str(RECIPE),
        "photographs": digest(photographs),
        "opencv": str(opencv().__version__),
        "pillow": version("pillow"),
        "numpy": version("numpy"),
    }


def opencv() -> ModuleType:
    """OpenCV, imported when first needed.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingExtra("opencv-python-headless", "video") from error
    return cv2


@dataclass(frozen=True, eq=False)
class Sprite:
    """A flat two-coloured object. Output pixels count from the middle of the picture, y downwards.

    Attributes:
        outline: [k, 2] corners around its own middle.
        fill, rim: RGB before the shot is coloured.
        start, stop: where its middle is before `since` and after `until` (shares of the shot); straight in between.
    """

    outline: Floats
    fill: tuple[int, int, int]
    rim: tuple[int, int, int]
    start: Point
    stop: Point
    since: float
    until: float


@dataclass(frozen=True, eq=False)
class Look:
    """What a shot shows.

    Attributes:
        photograph: its name.
        middle: point (x, y) of the photograph in the middle of the picture halfway through the shot.
        base: [2, 2] output pixels → pixels of the photograph: scale, turn and mirror; the same for the whole shot, so
            a mirrored photograph still moves as its class says.
        colour: [3, 3] applied to RGB.
    """

    photograph: str
    middle: Point
    base: Floats
    colour: Floats


@dataclass(frozen=True, eq=False)
class Motion:
    """How a shot moves, from time 0 to 1, in output pixels. The middle of each movement is at time 0.5.

    Attributes:
        travel: of the camera, (x, y).
        growth: logarithm of the last size of the picture's content over its first.
        turn: of the picture, radians, clockwise as seen.
        centre: (x, y) about which it grows and turns.
        ease: -1 … 1; speed is 1 + ease at the start and 1 - ease at the end.
        sway: [2, 3] a camera held by hand: pixels, cycles in the shot and phase for x and y.
        light: brightness at the start and at the end.
        sprite: or none.
        backwards: the shot is played from 1 to 0.
    """

    travel: Point
    growth: float
    turn: float
    centre: Point
    ease: float
    sway: Floats
    light: tuple[float, float]
    sprite: Sprite | None = None
    backwards: bool = False


@dataclass(frozen=True)
class View:
    """A second camera on the same shot: how much larger, turned (radians), shifted (output pixels) and bright."""

    zoom: float = 1.0
    angle: float = 0.0
    shift: Point = (0.0, 0.0)
    gain: float = 1.0


@dataclass(frozen=True, eq=False)
class Shot:
    """A look in motion, as a square picture of `size` pixels seen through a view."""

    look: Look
    motion: Motion
    size: int
    view: View = View()


@cache
def texture(name: str) -> Frames:
    """A photograph at full contrast, RGB: [height, width, 3]. Never changed by its users."""
    pixels = np.asarray(photograph(name, PHOTO_SIDE), np.float64)
    low, high = np.percentile(pixels @ LUMA, (1, 99))
    full: Frames = np.clip(np.rint((pixels - low) * (235 / (high - low)) + 10), 0, 255).astype(np.uint8)
    return full


def progressed(motion: Motion, times: Floats) -> Floats:
    """How far the motion has come at these times: [n], 0 … 1."""
    times = 1 - times if motion.backwards else times
    return times + motion.ease * times * (1 - times)


def rotation(angle: float | Floats) -> Floats:
    """Clockwise as seen, where y points down: [..., 2, 2]."""
    c, s = np.cos(angle), np.sin(angle)
    turned: Floats = np.moveaxis(np.array([[c, -s], [s, c]]), (0, 1), (-2, -1))
    return turned


def maps(shot: Shot, times: Floats) -> Floats:
    """Output pixels from the middle of the picture → pixels of the photograph: affine [n, 2, 3]."""
    motion, view = shot.motion, shot.view
    done = progressed(motion, times)
    clock = 1 - times if motion.backwards else times
    swing = motion.sway[:, :1] * np.sin(2 * np.pi * (motion.sway[:, 1:2] * clock + motion.sway[:, 2:]))  # [2, n]
    moved = np.array(motion.travel)[:, None] * (done - 0.5) + swing
    inner = rotation(-motion.turn * (done - 0.5)) * np.exp(-motion.growth * (done - 0.5))[:, None, None]
    centre = np.array(motion.centre)
    offset = centre + moved.T - inner @ centre  # x → inner · x + offset: the shot; before it, the view
    outer = rotation(-view.angle) / view.zoom
    offset = offset + inner @ np.array(view.shift)
    linear = shot.look.base @ (inner @ outer)
    return np.concatenate([linear, (offset @ shot.look.base.T + shot.look.middle)[:, :, None]], axis=2)


def _sample(shot: Shot, affine: Floats) -> Frames:
    """The picture before it is averaged: [FINER · size, FINER · size, 3]. The photograph goes on mirrored."""
    cv2 = opencv()
    linear, offset = affine[:, :2] / FINER, affine[:, 2]
    first = 0.5 / FINER - shot.size / 2  # coordinate of the first sample's middle
    matrix = np.column_stack([linear, offset + affine[:, :2].sum(axis=1) * first - 0.5])
    picture: Frames = cv2.warpAffine(
        texture(shot.look.photograph),
        matrix,
        (FINER * shot.size, FINER * shot.size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return picture


def _paint(picture: Frames, sprite: Sprite, done: float, shot: Shot) -> None:
    cv2, view = opencv(), shot.view
    share = min(1.0, max(0.0, (done - sprite.since) / (sprite.until - sprite.since)))
    at = np.array(sprite.start) * (1 - share) + np.array(sprite.stop) * share
    for scale, colour in ((1.0, sprite.rim), (0.82, sprite.fill), (0.3, sprite.rim)):
        seen = (sprite.outline * scale + at - view.shift) @ rotation(view.angle).T * view.zoom
        corners = (seen + shot.size / 2) * FINER - 0.5
        points = np.rint(corners * 16).astype(np.int32)
        cv2.fillPoly(picture, [points], colour, lineType=cv2.LINE_AA, shift=4)


def plain(shot: Shot, times: Floats) -> Frames:
    """The frames at these times (0 … 1) as photographed, without colour, light and noise: [n, size, size, 3]."""
    cv2 = opencv()
    frames = np.empty((len(times), shot.size, shot.size, 3), np.uint8)
    sprite = shot.motion.sprite
    for i, (affine, done) in enumerate(zip(maps(shot, times), progressed(shot.motion, times), strict=True)):
        picture = _sample(shot, affine)
        if sprite is not None:
            _paint(picture, sprite, float(done), shot)
        cv2.resize(picture, (shot.size, shot.size), frames[i], interpolation=cv2.INTER_AREA)
    return frames


def render(shot: Shot, times: Floats, noise: float, rng: np.random.Generator) -> Frames:
    """The frames at these times (0 … 1), with noise of this standard deviation in grey levels: [n, size, size, 3]."""
    first, last = shot.motion.light
    gains = shot.view.gain * (first + (last - first) * progressed(shot.motion, times))
    matrix = (shot.look.colour[None] * gains[:, None, None]).astype(np.float32)  # [n, 3, 3]
    frames = plain(shot, times)
    lit = rng.standard_normal(frames.shape, dtype=np.float32)
    lit *= np.float32(noise)
    for i in range(3):  # sums of three products, not a matrix product: the same bytes on any number of threads
        for j in range(3):
            lit[..., i] += matrix[:, i, j, None, None] * frames[..., j]
    return np.clip(np.rint(lit, out=lit), 0, 255, out=lit).astype(np.uint8)
