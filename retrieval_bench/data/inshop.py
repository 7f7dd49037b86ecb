"""In-Shop Clothes Retrieval (DeepFashion): 52,712 photographs of 7,982 garments; queries apart from the gallery."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from retrieval_bench.data._checks import Problems, need_root, need_share, shorten
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._files import FileTable, Part, check_files, check_paths, set_apart
from retrieval_bench.data._listed import Row, check_disjoint, need_inside, read_list, unlisted, whole_numbers
from retrieval_bench.errors import DataNotFound

SIZES = (25_882, 3_997, 14_218, 12_612)  # training images and garments, queries, gallery
LIST = "Eval/list_eval_partition.txt"
COLUMNS = ("image_name", "item_id", "evaluation_status")
PARTS = (Part.TRAIN, Part.QUERY, Part.GALLERY)
LAYOUT = (
    f"which holds {LIST} and Img/img/ (unpacked from Img/img.zip; img/ beside Eval/ will do, too). It cannot be"
    " downloaded for you: for non-commercial research ask for the In-shop Clothes Retrieval Benchmark at"
    " mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html, whose agreement you have to accept yourself,"
    " and put its Eval and Img folders into FOLDER"
)
GARMENT = "id_"  # what an item id begins with


class InShop(FileDataset):
    """Clothes of a shop: queries are searched in the gallery, which holds other photographs of the same garments.

    Paper: Liu et al. 2016, with its split: the garments of queries and gallery are never trained on. Labels are the
    numbers of the official item ids. A query is not in the gallery, so nothing is ignored.

    Args:
        root: folder of the data; none takes inshop in the folder named by RETRIEVAL_BENCH_DATA.
        validation_fraction: share of the training garments to validate on, 0 … 1; there each image is searched among
            the others.
        seed: of that choice.
        check_sizes: refuse a copy without 25,882 training images of 3,997 garments, 14,218 queries and 12,612 gallery
            images.

    Raises:
        DataNotFound: no such folder, no list or images inside, or listed files are missing.
        CorruptInput: other sizes than the official ones, or a list that cannot be read.
        BadConfig: a share outside 0 … 1.
    """

    name = "inshop"

    def __init__(
        self, root: str | None = None, validation_fraction: float = 0.15, seed: int = 0, check_sizes: bool = True
    ) -> None:
        need_share("validation_fraction", validation_fraction)
        folder = need_root(root, LAYOUT, ("inshop",))
        need_inside(folder, (LIST,), LAYOUT)
        images = _images(folder)
        problems = Problems(folder)
        with problems.collect():
            rows = read_list(folder / LIST, COLUMNS, problems, counted=True, named=True)
        problems.raise_any()
        paths = [row[0] for row in rows]
        _check(rows, check_sizes, problems)
        labels = whole_numbers([row[1].removeprefix(GARMENT) for row in rows], "the item ids", problems)
        check_paths(paths, problems)
        check_files(images, paths, problems)
        problems.raise_any()
        self.left_out, self.hidden_files = unlisted(images, ["img"], paths, LIST)
        kept = set_apart([row[1] for row in rows if row[2] == Part.TRAIN], validation_fraction, seed)
        parts = [Part.VALIDATION if row[2] == Part.TRAIN and row[1] in kept else Part(row[2]) for row in rows]
        names = {label: row[1] for label, row in zip(labels, rows, strict=True)}
        super().__init__(
            FileTable(images, paths, parts, np.array(labels, np.int64), label_names=names),
            "official train, query and gallery;"
            f" validation: {validation_fraction:g} of the training garments, seed {seed}",
        )


def _images(folder: Path) -> Path:
    """The folder that the listed names count from."""
    for place in (folder / "Img", folder):
        if (place / "img").is_dir():
            return place
    packed = " (Img/img.zip is there: unpack it in Img/)" if (folder / "Img" / "img.zip").is_file() else ""
    raise DataNotFound(f"{folder} lacks Img/img/{packed}; type data.root=FOLDER, {LAYOUT}")


def _check(rows: list[Row], check_sizes: bool, problems: Problems) -> None:
    status = Counter(row[2] for row in rows)
    unknown = sorted(status.keys() - {*PARTS})
    if unknown:
        problems.add(f"evaluation_status holds {shorten(unknown)}; allowed: {', '.join(PARTS)}")
    lost = [part for part in (Part.QUERY, Part.GALLERY) if part not in status]
    if lost:
        problems.add(f"no row has evaluation_status = {' or '.join(lost)}")
    train = {row[1] for row in rows if row[2] == Part.TRAIN}
    found = (status[Part.TRAIN], len(train), status[Part.QUERY], status[Part.GALLERY])
    if check_sizes and found != SIZES:
        said = "{:,} training images of {:,} garments, {:,} queries and {:,} gallery images"
        problems.add(
            f"it has {said.format(*found)}; the release has {said.format(*SIZES)};"
            " get the whole set, or type data.check_sizes=false"
        )
    check_disjoint(train, (row[1] for row in rows if row[2] != Part.TRAIN), problems)
