"""torch's antialiased resizing of bytes, in numpy alone: the same integers, so the same pixels.

`F.interpolate(…, antialias=True)` on uint8 is Pillow's algorithm (`Resample.c`; bicubic: Keys 1981) with weights of 16
bits: each output is a weighted sum of the inputs under a stretched filter, along the width first, with bytes in
between. The weights are rounded at the finest power of two that keeps them in 16 bits, so every sum is a whole multiple
of it, below 2^31 of them, which float64 holds exactly in whatever order a matrix product adds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BLOCK = 4  # outputs of one product: more waste zeros of the band, fewer waste calls
_STRIP = 64  # rows that go through the first step together: they stay in cache
_MOST_BITS = 22


def resized(image: NDArray[np.uint8], shape: tuple[int, int], interpolation: str) -> NDArray[np.uint8]:
    """Resize [height, width, c] to `shape` (height, width), uint8.

    Args:
        interpolation: bilinear or bicubic.
    """
    height, width = shape
    image = np.ascontiguousarray(image)
    if width != image.shape[1]:
        bands = _bands(image.shape[1], width, interpolation)
        strips = (_turned(image[start : start + _STRIP]) for start in range(0, len(image), _STRIP))
        image = np.concatenate([_turned(_along_first(strip, width, bands)) for strip in strips])
    if height != image.shape[0]:
        image = _along_first(image, height, _bands(image.shape[0], height, interpolation))
    return image


def _turned(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[a, b, c] → [b, a, c], in one piece; whole pixels move, which is much faster than their bytes apart."""
    a, b, channels = image.shape
    return np.ascontiguousarray(image.view(f"V{channels}").reshape(a, b).T).view(np.uint8).reshape(b, a, channels)


def _along_first(image: NDArray[np.uint8], n_out: int, bands: Sequence[_Band]) -> NDArray[np.uint8]:
    """[n, m, c] → [n_out, m, c]."""
    n, m, channels = image.shape
    flat = image.reshape(n, m * channels).astype(np.float64)
    small = np.empty((n_out, m * channels), np.uint8)
    for band in bands:
        sums = band.weights @ flat[band.inputs]
        small[band.outputs] = np.clip(np.floor(sums + 0.5, out=sums), 0, 255, out=sums)
    return small.reshape(n_out, m, channels)


@dataclass(frozen=True)
class _Band:
    """Some neighbouring outputs, the inputs that they see, and the weights [outputs, inputs] between them."""

    outputs: slice
    inputs: slice
    weights: NDArray[np.float64]


def _bands(n: int, n_out: int, interpolation: str) -> list[_Band]:
    first, weights, bits = _weights(n, n_out, interpolation)
    bands, taps = [], weights.shape[1]
    for start in range(0, n_out, _BLOCK):
        stop = min(start + _BLOCK, n_out)
        low, high = int(first[start]), min(n, int(first[stop - 1]) + taps)
        band = np.zeros((stop - start, high - low + taps))
        for i in range(start, stop):
            band[i - start, first[i] - low : first[i] - low + taps] = weights[i]
        bands.append(_Band(slice(start, stop), slice(low, high), band[:, : high - low] / 2**bits))
    return bands


def _weights(n: int, n_out: int, interpolation: str) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """First input [n_out] and whole weights [n_out, taps] of each output, and by how many bits they are scaled."""
    reach = 2.0 if interpolation == "bicubic" else 1.0
    filtered = _cubic if interpolation == "bicubic" else _triangle
    scale = n / n_out
    stretch = max(scale, 1.0)
    support = reach * stretch
    centres = scale * (np.arange(n_out) + 0.5)
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    counts = np.minimum((centres + support + 0.5).astype(np.int64), n) - first
    taps = np.arange(math.ceil(support) * 2 + 1)
    values = filtered((taps + first[:, None] - centres[:, None] + 0.5) / stretch) * (taps < counts[:, None])
    values /= values.sum(axis=1, keepdims=True)
    bits, largest = 0, float(values.max())
    while bits < _MOST_BITS and int(0.5 + largest * 2 ** (bits + 1)) < 1 << 15:
        bits += 1
    return first, np.trunc(values * 2**bits + np.copysign(0.5, values)), bits


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys's kernel with a = -0.5."""
    x, a = np.abs(x), -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
