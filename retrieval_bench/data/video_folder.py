"""A folder of your own videos; folder names are the classes."""

from __future__ import annotations

import re
from typing import Any

from retrieval_bench.data._checks import need_root, need_share
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import group_codes, torn
from retrieval_bench.data._kinds import VIDEO
from retrieval_bench.data._layouts import Files, find
from retrieval_bench.errors import BadConfig
from retrieval_bench.media.clip import Clip

LAYOUT = (
    "which holds <class>/<video> (classes are split by a seed), or train/<class>/<video> and test/<class>/<video>, or"
    " query/<class>/<video> and gallery/<class>/<video>, or just videos (suffixes:"
    f" {', '.join(sorted(VIDEO.suffixes))})"
)


class VideoFolder(FileDataset):
    """Videos under folders; what lies deeper in a class folder belongs to the class.

    Four layouts, as of `image_folder`, the first that fits: `query` and `gallery` folders; `train` and `test` folders
    (both may have `validation`, the first also `train`); class folders, which are split class-disjointly by a seeded
    hash of their names; no folders at all (no labels, so no label metrics; every video is in the gallery and in
    training). Without `query` and `gallery` each test video is searched among the others.

    Videos are files that end in .3g2, .3gp, .avi, .flv, .m2ts, .m4v, .mkv, .mov, .mp4, .mpeg, .mpg, .mts, .ogv, .ts,
    .vob, .webm, .wmv or .y4m; what else lies there is listed as left out, hidden names are counted.

    Args:
        clip: what is read of a video.
        root: the folder.
        group: regular expression that is searched in the file's name; what its parentheses match names the video's
            source, within its class: gallery videos of the query's source are ignored, for they are near duplicates.
            A video that it does not match is a source of its own. None: no groups.
        test_fraction: share of the classes to test, 0 … 1, at least one; 1: all. For class folders only.
        validation_fraction: share of the training classes to validate on, 0 … 1; where there is no `validation` folder.
        seed: of both splits.

    Raises:
        DataNotFound: no such folder, no videos, or class folders without a video (named).
        CorruptInput: videos both beside and inside class folders, folders that cannot be opened, or several problems.
        BadConfig: a fraction outside 0 … 1, or a group that is no regular expression, has no parentheses, or matches no
            video.
    """

    name = "video_folder"

    def __init__(
        self,
        clip: Clip,
        root: str | None = None,
        *,
        group: str | None = None,
        test_fraction: float = 0.5,
        validation_fraction: float = 0.15,
        seed: int = 0,
    ) -> None:
        need_share("test_fraction", test_fraction)
        need_share("validation_fraction", validation_fraction)
        expression = _expression(group)
        found = find(need_root(root, LAYOUT), VIDEO, LAYOUT, (test_fraction, validation_fraction), seed)
        self.left_out, self.hidden_files = found.left_out, found.hidden
        sources = None if expression is None else _sources(found.files, expression)
        self._grouped = None if sources is None else _told(found.files, sources, str(group))
        codes = None if sources is None else group_codes(sources)
        super().__init__(found.table(codes, clip), found.split)

    @property
    def protocol(self) -> dict[str, Any]:
        """Also: how many files were left out because they are no videos, and how sources were told."""
        return super().protocol | {"other_files": len(self.left_out), "sources": self._grouped}


def _expression(group: object) -> re.Pattern[str] | None:
    if group is None or group == "":
        return None
    remedy = "type 'data.group=\"_g(\\d+)_\"', for instance, or null: no groups"
    try:
        expression = re.compile(str(group))
    except re.error as error:
        raise BadConfig(f"data.group={group} is no regular expression ({error}); {remedy}") from error
    if not expression.groups:
        raise BadConfig(f"data.group={group} has no parentheses around what names the source; {remedy}")
    return expression


def _sources(files: Files, expression: re.Pattern[str]) -> list[str]:
    """What names each file's source; blank where the expression does not match."""
    names = []
    for label, _, path in files:
        found = expression.search(path.rpartition("/")[2])
        names.append("" if found is None else repr((label, *found.groups())))
    if not any(names):
        raise BadConfig(
            f"data.group={expression.pattern} matches none of the {len(files)} names of videos, such as"
            f" {files[0][2].rpartition('/')[2]!r}; mend it, or type data.group=null: no groups"
        )
    return names


def _told(files: Files, sources: list[str], group: str) -> dict[str, Any]:
    """For the protocol."""
    return {
        "expression": group,
        "number": len({*sources} - {""}),
        "videos_of_none": sources.count(""),
        "in_training_and_test": torn(sources, [part for _, part, _ in files]),
    }
