"""HMDB51: 6,766 clips of 51 human actions, cut mostly from films."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from retrieval_bench.data._checks import Problems, need_root, need_share, need_whole, shorten
from retrieval_bench.data._clips import Clips, Listed, Matched, first_folder, fold, need_listed, need_lists, split_parts
from retrieval_bench.data._clips import stem as stem_of
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import FileTable, Part, group_codes, label_codes
from retrieval_bench.data._listed import read_list
from retrieval_bench.media.clip import Clip
from retrieval_bench.types import GroundTruth

CLASSES, CLIPS, SIZES = 51, 6_766, (70, 30)  # clips of all lists; training and test clips of each class
FOLDERS = ("hmdb51_org", "hmdb51", "videos")
LISTS = ("testTrainMulti_7030_splits", "test_train_splits/testTrainMulti_7030_splits", "test_train_splits", "splits")
UNUSED, TRAIN, TEST = "0", "1", "2"
# … what is seen, camera, people, side, quality, number: the tags that the release puts behind film and class.
TAGS = re.compile(r"_[a-z]_(cm|nm)_np\d+_(fr|ba|le|ri)_(goo|med|bad)_\d+$", re.IGNORECASE)
LAYOUT = (
    "which holds hmdb51_org/<class>/<video>.avi (other formats, or all in one folder, are taken, too) and"
    " testTrainMulti_7030_splits/<class>_test_splitN.txt. It is not fetched for you: get hmdb51_org.rar (2 GB) and"
    " test_train_splits.rar from https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/, put"
    " them into FOLDER, and type there: unrar x test_train_splits.rar && mkdir hmdb51_org && cd hmdb51_org && unrar x"
    ' ../hmdb51_org.rar && for f in *.rar; do unrar x "$f"; done (or 7z x in place of unrar x). Its page names the'
    " licence CC BY 4.0, but the films are other people's: check before use"
)


class Hmdb51(FileDataset):
    """Human actions in films: test clips search the training clips of the same actions.

    Paper: Kuehne, Jhuang, Garrote, Poggio and Serre 2011; it counts 6,849 clips, the release has 6,766. In each of its
    three splits 70 clips of each class are trained on, 30 tested, and the others unused (listed as left out). Labels
    are the classes in alphabetical order, from 0.

    All classes are on both sides, and the gallery is trained on. Validation keeps whole sources back from training, but
    not from the gallery. A source is what stands in the file's name in front of class and tags (a film, mostly). That
    is an approximation: two names may be of one film, and one name of two. The paper says that its splits keep the
    clips of a video on one side, so sources are not checked as those of `ucf101` are: those on both sides are counted
    in the protocol, and gallery clips of the query's source are ignored.

    A copy with fewer classes is taken if it has all their clips; the protocol says how many classes there are.

    Args:
        clip: what is read of a video.
        root: folder of clips and lists; none takes hmdb51 or HMDB51 in the folder named by RETRIEVAL_BENCH_DATA.
        split: 1, 2 or 3.
        validation_fraction: share of the training sources of each class to validate on, at least two; 0: all are
            trained on.
        seed: of the choice of sources.
        check_sizes: refuse a class without 70 and 30 clips, videos that no list names and, where all classes are there,
            another number of listed clips than 6,766.

    Raises:
        DataNotFound: no such folder, no lists, listed clips are missing (all counted, ten named), or class folders
            without a video.
        CorruptInput: other sizes, or lists that cannot be read.
        BadConfig: an unknown split or a fraction outside 0 … 1.
    """

    name = "hmdb51"

    def __init__(
        self,
        clip: Clip,
        root: str | None = None,
        *,
        split: int = 1,
        validation_fraction: float = 0.15,
        seed: int = 0,
        check_sizes: bool = True,
    ) -> None:
        need_whole("split", split, 1, 3)
        need_share("validation_fraction", validation_fraction)
        folder = need_root(root, LAYOUT, ("hmdb51", "HMDB51"))
        found = _find(folder, split, check_sizes)
        self.left_out, self.hidden_files = found.left_out, found.hidden
        self._n_classes = len(found.classes)
        labels, names = label_codes([clip.label for clip in found.clips])
        sources = [source(clip.label, clip.name) for clip in found.clips]
        sides = [
            {name for name, clip in zip(sources, found.clips, strict=True) if clip.tested == side} for side in (0, 1)
        ]
        self._shared = len(sides[0] & sides[1])
        parts = split_parts(found.clips, sources, validation_fraction, seed)
        super().__init__(
            FileTable(folder, found.keys, parts, labels, group_codes(sources), label_names=names, clip=clip),
            f"official split {split}; validation: {validation_fraction:g} of the training sources, seed {seed}",
            searched=(Part.TRAIN, Part.VALIDATION),
        )

    def truth(self) -> GroundTruth | None:
        """Equal label = relevant. The official split drops nothing: sources, which are guessed, are counted alone."""
        queries, gallery = self.queries(), self.gallery()
        return GroundTruth(queries.ids, gallery.ids, query_labels=queries.labels, gallery_labels=gallery.labels)

    @property
    def protocol(self) -> dict[str, Any]:
        """Also: how many of the 51 classes are there, what of the gallery is trained on, where sources are."""
        return super().protocol | {
            "group": "none",
            "classes": f"{self._n_classes} of {CLASSES}",
            "trained_on": "the gallery without the validation sources: all classes",
            "sources": f"by file names, an approximation; in training and test: {self._shared}",
        }


def source(label: str, name: str) -> str:
    """`April_09_brush_hair_u_nm_np1_ba_goo_0` → what stands in front of class and tags: `April_09`, folded.

    A name that is made in another way is a source of its own.
    """
    head = TAGS.sub("", name)
    before = fold(head).removesuffix(f"_{fold(label)}")
    return fold(name) if head == name or before == fold(head) else before


def _find(folder: Path, split: int, check_sizes: bool) -> Matched:
    """The clips of the training and test parts that are there; raises what is wrong."""
    pattern = f"_test_split{split}.txt"
    lists = first_folder(folder, LISTS)
    need_lists(folder, lists, (f"*{pattern}",), LAYOUT)
    problems = Problems(folder)
    listed, unused = list[Listed](), list[str]()
    for file in sorted(lists.glob(f"*{pattern}")):
        label = file.name.removesuffix(pattern)
        with problems.collect():
            rows = read_list(file, ("clip", "part"), problems, spaced=True)
            listed += [Listed(label, stem_of(name), part == TEST) for name, part in rows if part in (TRAIN, TEST)]
            unused += [stem_of(name) for name, part in rows if part == UNUSED]
            odd = [f"{name} {part}" for name, part in rows if part not in (UNUSED, TRAIN, TEST)]
            if odd:
                problems.add(f"{len(odd)} parts in {file.name} are not 0, 1 or 2: {shorten(odd)}; download it again")
    problems.raise_any()
    twice = [name for name, count in Counter((clip.label, fold(clip.name)) for clip in listed).items() if count > 1]
    if twice:
        problems.add(f"{len(twice)} clips stand twice in the lists: {shorten(' '.join(name) for name in twice)}")
    where = f"the lists …{pattern}"
    found = Clips(folder, first_folder(folder, FOLDERS), lists, problems).match(listed, where, unused)
    if check_sizes:
        need_listed(found, problems)
        _check_sizes(found, len(listed) + len(unused), problems)
    problems.raise_any()
    return found


def _check_sizes(found: Matched, listed: int, problems: Problems) -> None:
    if len(problems):
        return
    counts = Counter((clip.label, clip.tested) for clip in found.clips)
    sizes = {label: (counts[label, False], counts[label, True]) for label in found.classes}
    odd = [f"{label} ({train} and {test})" for label, (train, test) in sizes.items() if (train, test) != SIZES]
    if odd:
        problems.add(
            f"{len(odd)} classes have not {SIZES[0]} training and {SIZES[1]} test clips: {shorten(odd)}; get the whole"
            " set, or type data.check_sizes=false"
        )
    elif len(found.classes) == CLASSES and listed != CLIPS:
        problems.add(
            f"its lists name {listed:,} clips; those of the release name {CLIPS:,}; get the whole set, or type"
            " data.check_sizes=false"
        )
