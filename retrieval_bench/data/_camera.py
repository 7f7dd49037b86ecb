"""The fourteen motions in reversed pairs, and how looks and motions are drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import pi

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data._shot import LUMA, Floats, Look, Motion, Point, Shot, Sprite, maps, plain, rotation, texture

PHOTOGRAPHS = {  # no photograph serves two parts; those that show next to nothing at 96 pixels are left out
    "train": ("astronaut", "camera", "grass", "hubble_deep_field", "ihc", "page", "retina", "rocket"),
    "validation": ("gravel", "moon", "text"),
    "test": ("brick", "chelsea", "coffee", "coins", "motorcycle_left"),
}
FIELD = (110.0, 190.0)  # pixels of the photograph that fill the picture's side halfway through a shot
NARROWEST = 70.0
TILT = 0.3  # radians, either way, at which a photograph is held
TRIES, CONTRAST = 12, 22.0  # crops that are looked at until one's standard deviation of grey levels is enough


class Kind(StrEnum):
    """What happens in a clip. Number 2 i reversed in time is number 2 i + 1."""

    PAN_LEFT = "pan left"  # the camera turns left: the picture moves right
    PAN_RIGHT = "pan right"
    PAN_UP = "pan up"  # the picture moves down
    PAN_DOWN = "pan down"
    ZOOM_IN = "zoom in"
    ZOOM_OUT = "zoom out"
    CLOCKWISE = "rotate clockwise"  # the picture, as seen
    COUNTER_CLOCKWISE = "rotate counter-clockwise"
    FADE_IN = "fade in"  # from dark to bright
    FADE_OUT = "fade out"
    ENTERS = "object enters"
    LEAVES = "object leaves"
    RIGHTWARDS = "object left to right"
    LEFTWARDS = "object right to left"


KINDS = tuple(Kind)
PAIRS = tuple(zip(KINDS[::2], KINDS[1::2], strict=True))


@dataclass(frozen=True)
class Pace:
    """How much happens in a whole shot: ranges from which each is drawn, for a picture of `size` pixels.

    Attributes:
        travel: of a pan, pixels. growth: of a zoom, logarithm. turn: of a rotation, radians.
        drift: of the camera in the other shots, pixels, in any direction.
    """

    travel: Point
    growth: Point
    turn: Point
    drift: Point


def draw_motion(kind: Kind, pace: Pace, size: int, rng: np.random.Generator) -> Motion:
    """A motion of this kind. Whatever else varies has the same distribution backwards as forwards."""
    first, backwards = PAIRS[KINDS.index(kind) // 2][0], bool(KINDS.index(kind) % 2)
    direction = rng.uniform(0, 2 * pi)
    drift = rng.uniform(*pace.drift)
    travel, growth, turn = (drift * np.cos(direction), drift * np.sin(direction)), 0.0, 0.0
    bright, change = rng.uniform(0.85, 1.15), rng.uniform(-0.05, 0.05)
    light = (bright - change, bright + change)
    if first == Kind.PAN_LEFT:
        travel = (-rng.uniform(*pace.travel), 0.0)
    elif first == Kind.PAN_UP:
        travel = (0.0, -rng.uniform(*pace.travel))
    elif first == Kind.ZOOM_IN:
        growth = rng.uniform(*pace.growth)
    elif first == Kind.CLOCKWISE:
        turn = rng.uniform(*pace.turn)
    elif first == Kind.FADE_IN:
        light = (rng.uniform(0.15, 0.35), bright)
    sprite = draw_sprite(first, size, rng) if first in {Kind.ENTERS, Kind.RIGHTWARDS} else None
    centre = rng.uniform(-0.12, 0.12, 2) * size
    sway = np.column_stack([rng.uniform(0, 0.006, 2) * size, rng.uniform(0.5, 1.5, 2), rng.uniform(0, 1, 2)])
    ease = rng.uniform(-0.25, 0.25)
    return Motion(travel, growth, turn, _point(centre), ease, sway, light, sprite, backwards)


def draw_sprite(first: Kind, size: int, rng: np.random.Generator) -> Sprite:
    """An object that enters from any side and stays, or crosses the picture from its left edge to its right one."""
    corners = int(rng.choice([3, 4, 5, 6, 32]))
    area = corners / 2 * np.sin(2 * pi / corners) / pi  # of the polygon, as a share of the circle's
    radius = rng.uniform(0.16, 0.22) * size / np.sqrt(area)
    angles = 2 * pi * np.arange(corners) / corners
    outline = np.column_stack([np.cos(angles), np.sin(angles) * rng.uniform(0.75, 1.0)]) * radius
    outline = outline @ rotation(rng.uniform(0, 2 * pi)).T
    fill = rng.permutation([rng.integers(0, 60), rng.integers(0, 256), rng.integers(196, 256)])
    rim = np.full(3, 255 * rng.integers(2))
    if first == Kind.RIGHTWARDS:
        start, stop = np.column_stack([(-size / 2, size / 2), rng.uniform(-0.25, 0.25, 2) * size])
        since, until = 0.0, 1.0
    else:
        stop = rng.uniform(-0.1, 0.1, 2) * size
        angle = pi / 2 * rng.integers(4) + rng.uniform(-0.45, 0.45)  # not along a diagonal: that would be a longer way
        towards = np.array([np.cos(angle), np.sin(angle)])
        sides = (np.sign(towards) * (size / 2 + radius) - stop) / towards  # ways out, to the right or left, up or down
        start = stop + towards * sides.min()
        since, until = rng.uniform(0.0, 0.1), rng.uniform(0.9, 1.0)
    return Sprite(outline, _rgb(fill), _rgb(rim), _point(start), _point(stop), since, until)


def _rgb(values: NDArray[np.int64]) -> tuple[int, int, int]:
    return int(values[0]), int(values[1]), int(values[2])


def _point(values: Floats) -> Point:
    return float(values[0]), float(values[1])


def draw_look(name: str, motion: Motion, size: int, rng: np.random.Generator) -> Look:
    """A crop, turned, mirrored and coloured, that shows something from the start of the motion to its end."""
    rng = np.random.default_rng(int(rng.integers(2**63)))  # the caller's draws do not depend on how many crops it takes
    colour = _colour(rng)
    best, most = None, -1.0
    for _ in range(TRIES):
        look = _crop(name, motion, size, colour, rng)
        frames = plain(Shot(look, replace(motion, sprite=None), size), np.array([0.0, 0.5, 1.0]))
        contrast = float((frames @ LUMA).std(axis=(1, 2)).min())
        if contrast > most:
            best, most = look, contrast
        if most >= CONTRAST:
            break
    if best is None:
        raise ValueError("no crop was looked at")
    return best


def _crop(name: str, motion: Motion, size: int, colour: Floats, rng: np.random.Generator) -> Look:
    field = rng.uniform(*FIELD) / size
    turned = rotation(rng.uniform(-TILT, TILT) + pi / 2 * rng.integers(4))
    mirror = np.diag([1.0, rng.choice([-1.0, 1.0])])
    place = rng.uniform(0, 1, 2)
    extent = np.array(texture(name).shape[1::-1], np.float64)  # (width, height)
    reach = _reach(Look(name, (0.0, 0.0), turned @ mirror, colour), motion, size)
    scale = min(field, float((extent / (reach[1] - reach[0])).min()))  # the whole way on the photograph, if possible
    scale = max(scale, NARROWEST / size)
    low, high = -reach[0] * scale, extent - reach[1] * scale
    middle = np.where(high > low, low + place * (high - low), (low + high) / 2)
    return Look(name, _point(middle), turned @ mirror * scale, colour)


def _reach(look: Look, motion: Motion, size: int) -> tuple[Floats, Floats]:
    """Smallest and largest (x, y) of the photograph, from its middle, that the shot shows."""
    corners = np.array([(x, y, 2) for x in (-1, 1) for y in (-1, 1)]).T * (size / 2)
    corners[2] = 1
    points = maps(Shot(look, motion, size), np.linspace(0, 1, 9)) @ corners  # [9, 2, 4]
    return points.min(axis=(0, 2)), points.max(axis=(0, 2))


def _colour(rng: np.random.Generator) -> Floats:
    """A hue turned by any angle about the grey axis, another saturation, a tint."""
    angle, saturation = rng.uniform(0, 2 * pi), rng.uniform(0.4, 1.1)
    tint = rng.uniform(0.7, 1.0, 3)
    c, s = np.cos(angle), np.sin(angle) / np.sqrt(3)
    turned = np.array([[0, -s, s], [s, 0, -s], [-s, s, 0]]) + c * np.eye(3) + (1 - c) / 3
    grey = np.full((3, 3), 1 / 3)
    colour: Floats = tint[:, None] * (grey + saturation * (turned - grey))
    return colour


def evenly(names: Sequence[str], n: int, rng: np.random.Generator) -> list[str]:
    """So many of the names in random order, each as often as any other, as far as n allows."""
    rounds = [rng.permutation(len(names)) for _ in range(-(-n // len(names)))]
    return [names[i] for i in np.concatenate(rounds)[:n]] if n else []
