"""Videos cut into overlapping windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.types import Segments

SLACK = 1e-3  # seconds: no frame fits into what is shorter, and durations come from frame counts divided by rates


def windows(videos: NDArray[np.int64], durations: NDArray[np.float64], window: float, stride: float) -> Segments:
    """Windows of `window` seconds every `stride` seconds of each video: one row a window, sorted by (video, start).

    All windows of a video have one length, so that every vector is made of equally many frames: where the last regular
    window stops before the video's end, one more ends with the video (and starts less than a stride after the one
    before). A video no longer than a window is one window. A stride above the window leaves gaps.

    Args:
        videos: [v] ids, unique, in any order. durations: [v] seconds.

    Raises:
        ValueError: window, stride or a duration is not a positive number; names the videos.

    >>> cut = windows(np.array([4, 2]), np.array([1.5, 4.5]), window=2.0, stride=1.0)
    >>> list(zip(cut.items.tolist(), cut.starts.tolist(), cut.ends.tolist()))
    [(2, 0.0, 2.0), (2, 1.0, 3.0), (2, 2.0, 4.0), (2, 2.5, 4.5), (4, 0.0, 1.5)]
    """
    if not (0 < window < np.inf and 0 < stride < np.inf):
        raise ValueError(f"window={window}, stride={stride} seconds given; both must be positive numbers")
    bad = ~((durations > 0) & (durations < np.inf))
    if bad.any():
        raise ValueError(f"videos {videos[bad][:5].tolist()} last {durations[bad][:5].tolist()} s; a length is needed")
    if len(np.unique(videos)) < len(videos):
        raise ValueError("video ids must be unique")
    order = np.argsort(videos)
    videos, durations = videos[order], durations[order].astype(np.float64)
    room = np.maximum(durations - window, 0.0)  # where the last window starts
    regular = np.floor((room + SLACK) / stride).astype(np.int64) + 1
    counts = regular + (room - (regular - 1) * stride > SLACK)
    owner = np.repeat(np.arange(len(videos)), counts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.minimum(place * stride, room[owner])
    return Segments(videos[owner], starts, np.minimum(starts + window, durations[owner]))
