"""How the files of videos are called: apart from their decoder, which data sets of images do without."""

from __future__ import annotations

VIDEO_SUFFIXES = frozenset(
    (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".vob", ".wmv", ".flv",
     ".3gp", ".3g2", ".ogv", ".y4m")
)  # fmt: skip
