"""Exact similarity of a query with the videos along its lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.moment.base import Floats, GalleryWindows, Lines, QueryWindows


def aligned(
    lines: Lines, query: QueryWindows, gallery: GalleryWindows, floors: Floats, tolerance: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Similarity of each query window with the segment nearest to its place on each line, from the vectors themselves.

    A window supports a line when that similarity reaches the last score of the window's list: exact search would have
    named the segment. A window that lies outside the video (by more than `tolerance` seconds from the nearest segment's
    centre) has no partner: it supports nothing and counts as the lowest score of all lists.

    Args:
        floors: [w] the lowest score in each window's list.

    Returns:
        similarities and support, both [m, w].

    Raises:
        ValueError: query or gallery has no vectors.
    """
    if query.vectors is None:
        raise ValueError("the query was made without vectors: nothing can be compared")
    seconds = lines.at(query, query.centres)
    rows = gallery.nearest(lines.video[:, None], seconds)
    inside = np.abs(gallery.centres[rows] - seconds) <= tolerance
    found = np.where(inside, gallery.similarities(query.vectors, rows), floors.min())
    return found, inside & (found >= floors)
