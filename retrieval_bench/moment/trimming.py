"""Lines and the windows that support them → intervals of videos."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.moment.base import Floats, GalleryWindows, Lines, QueryWindows


def trimmed(
    lines: Lines, supported: NDArray[np.bool_], query: QueryWindows, gallery: GalleryWindows
) -> tuple[Floats, Floats]:
    """Start and end [m] seconds of the part of each video from the first supporting query window to the last.

    Unsupported windows between them belong to it. It is cut to the video. A line that nothing supports, or that lies
    outside the video, gives start = end.
    """
    first = supported.argmax(axis=1)
    last = len(query) - 1 - supported[:, ::-1].argmax(axis=1)
    begins, finishes = gallery.begins[lines.video], gallery.finishes[lines.video]
    starts = np.clip(lines.middle + lines.speed * (query.starts[first] - query.middle), begins, finishes)
    ends = np.clip(lines.middle + lines.speed * (query.ends[last] - query.middle), begins, finishes)
    return starts, np.where(supported.any(axis=1), ends, starts)
