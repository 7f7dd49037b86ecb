"""UCF101: 13,320 clips of 101 human actions, cut from videos of a sharing site; 25 source groups an action."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.data._checks import Problems, need_choice, need_root, need_share, need_whole
from retrieval_bench.data._clips import Clips, Matched, first_folder, need_listed, need_lists, split_parts
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import FileTable, Part, group_codes
from retrieval_bench.data._ucf101_lists import CLASSES, read_lists, source
from retrieval_bench.errors import DataNotFound
from retrieval_bench.media.clip import Clip

SIZES = {1: (9_537, 3_783), 2: (9_586, 3_734), 3: (9_624, 3_696)}  # clips of the training and of the test list
LAST_TRAIN = 51
FOLDERS = ("UCF-101", "UCF101", "videos")
LISTS = ("ucfTrainTestlist", "UCF101TrainTestSplits-RecognitionTask/ucfTrainTestlist")
LAYOUT = (
    "which holds UCF-101/<class>/v_<class>_gNN_cNN.avi (other formats, or all in one folder, are taken, too) and"
    " ucfTrainTestlist/. It is not fetched for you: get UCF101.rar (6.9 GB) and"
    " UCF101TrainTestSplits-RecognitionTask.zip from https://www.crcv.ucf.edu/data/UCF101.php, put them into FOLDER,"
    " and type there: unrar x UCF101.rar (or 7z x UCF101.rar) && unzip UCF101TrainTestSplits-RecognitionTask.zip. No"
    " licence is stated: check before use"
)


class Protocol(StrEnum):
    """Who is searched for, and among whom."""

    SPLIT = "split"
    CLASSES = "classes"


class Ucf101(FileDataset):
    """Human actions: test clips search the training clips, or actions that are never trained on search one another.

    Paper: Soomro, Zamir and Shah 2012. Labels are the official class numbers 1 … 101. A group is a source video (class
    and gNN): its clips are near duplicates, and gallery clips of the query's group are ignored.

    `split`: the clips of `testlist0N.txt` are searched for among those of `trainlist0N.txt`, as is usual on these
    data. All classes are on both sides, and the gallery is trained on; sources are not on both sides, which is
    checked. Validation keeps whole sources of each class back from training, but not from the gallery.
    `classes`: classes 1–51 to train, 52–101 to test, each test clip searched among the others without those of its
    source. The clips are those of both lists of a split, whichever.

    A copy with fewer classes is taken if it has all their clips; the protocol says how many classes there are.

    Args:
        clip: what is read of a video.
        root: folder of clips and lists; none takes ucf101, UCF101 or ucf101_6class_160 in the folder named by
            RETRIEVAL_BENCH_DATA.
        protocol: split or classes.
        split: 1, 2 or 3: which lists.
        validation_fraction: `split` only: share of the training sources of each class to validate on, at least two; 0:
            all are trained on.
        validation_classes: `classes` only: the last that many of classes 1–51; 0: all are trained on.
        seed: of the choice of sources.
        check_sizes: refuse clips that no list names and, where all classes are there, other sizes than the official.

    Raises:
        DataNotFound: no such folder, no lists, listed clips are missing (all counted, ten named), or class folders
            without a video.
        CorruptInput: other sizes, lists that cannot be read or contradict one another, a source or a clip in both.
        BadConfig: an unknown protocol or split, a fraction outside 0 … 1, validation_classes not in 0 … 50.
    """

    name = "ucf101"

    def __init__(
        self,
        clip: Clip,
        root: str | None = None,
        *,
        protocol: str = Protocol.SPLIT,
        split: int = 1,
        validation_fraction: float = 0.15,
        validation_classes: int = 8,
        seed: int = 0,
        check_sizes: bool = True,
    ) -> None:
        need_choice("protocol", protocol, Protocol)
        need_whole("split", split, 1, len(SIZES))
        need_share("validation_fraction", validation_fraction)
        need_whole("validation_classes", validation_classes, 0, LAST_TRAIN - 1)
        by_class = protocol == Protocol.CLASSES
        folder = need_root(root, LAYOUT, ("ucf101", "UCF101", "ucf101_6class_160"))
        found, numbers = _find(folder, split, check_sizes)
        self.left_out, self.hidden_files = found.left_out, found.hidden
        self._n_classes, self._by_class = len(found.classes), by_class
        labels = np.array([numbers[clip.label] for clip in found.clips], np.int64)
        sources = [source(clip.name) for clip in found.clips]
        if by_class:
            _need_tested(folder, labels)
            first = LAST_TRAIN + 1 - validation_classes
            parts = [Part.TEST if i > LAST_TRAIN else Part.VALIDATION if i >= first else Part.TRAIN for i in labels]
            kept = f"{first}–{LAST_TRAIN}" if validation_classes else "none"
            said = f"classes {LAST_TRAIN + 1}–{CLASSES} test, {kept} validation, rest train"
        else:
            parts = split_parts(found.clips, sources, validation_fraction, seed)
            said = f"official split {split}; validation: {validation_fraction:g} of the training sources, seed {seed}"
        names = {numbers[name]: name for name in found.classes}
        table = FileTable(folder, found.keys, parts, labels, group_codes(sources), label_names=names, clip=clip)
        super().__init__(table, said, searched=(Part.TRAIN, Part.VALIDATION))

    @property
    def protocol(self) -> dict[str, Any]:
        """Also: how many of the 101 classes are there, what of the gallery is trained on, where sources may be."""
        said = {"classes": f"{self._n_classes} of {CLASSES}"}
        if self._by_class:
            said |= {"trained_on": "other classes than those of queries and gallery"}
        else:
            said |= {"trained_on": "the gallery without the validation sources: all classes, no source of a query"}
        return super().protocol | said | {"sources": "class and gNN; checked: none is both trained on and tested"}


def _need_tested(folder: Path, labels: NDArray[np.int64]) -> None:
    if not (labels > LAST_TRAIN).any():
        raise DataNotFound(
            f"{folder} holds none of the classes {LAST_TRAIN + 1}–{CLASSES}, which data.protocol=classes tests; type"
            f" data.protocol=split, or data.root=FOLDER, {LAYOUT}"
        )


def _find(folder: Path, split: int, check_sizes: bool) -> tuple[Matched, Mapping[str, int]]:
    """The clips of both lists that are there, and the numbers of the classes; raises what is wrong."""
    train, test = f"trainlist{split:02}.txt", f"testlist{split:02}.txt"
    lists = first_folder(folder, LISTS)
    need_lists(folder, lists, (train, test), LAYOUT)
    problems = Problems(folder)
    read = read_lists(lists, train, test, problems)
    found = Clips(folder, first_folder(folder, FOLDERS), lists, problems).match(read.clips, f"{train} and {test}")
    if check_sizes:
        need_listed(found, problems)
        sizes = (sum(not clip.tested for clip in found.clips), sum(clip.tested for clip in found.clips))
        if len(found.classes) == CLASSES and sizes != SIZES[split] and not len(problems):
            problems.add(
                "it has {:,} training and {:,} test clips of all classes;".format(*sizes)
                + " split {} of the release has {:,} and {:,};".format(split, *SIZES[split])
                + " get the whole set, or type data.check_sizes=false"
            )
    problems.raise_any()
    return found, read.numbers
