"""What the items of a folder are: images, or videos. Told by the suffix; that a file is sound shows when it is read."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval_bench.media.image import SUFFIXES
from retrieval_bench.media.suffixes import VIDEO_SUFFIXES


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        word: what one is called; article: the same with its article.
        suffixes: of such files, lower case.
        others: suffixes that are not read, but could be if converted; convert: to what.
    """

    word: str
    article: str
    suffixes: frozenset[str]
    others: frozenset[str]
    convert: str


IMAGE = Kind(
    "image",
    "an image",
    SUFFIXES,
    frozenset((".heic", ".heif", ".raw", ".dng", ".cr2", ".nef", ".arw", ".psd", ".svg")),
    "JPEG or PNG",
)
VIDEO = Kind(
    "video",
    "a video",
    VIDEO_SUFFIXES,
    frozenset((".gif", ".swf", ".braw", ".r3d")),
    "MP4",
)
