"""A folder of your own images; folder names are the classes."""

from __future__ import annotations

from typing import Any

from retrieval_bench.data._checks import need_root, need_share, need_whole
from retrieval_bench.data._file_dataset import FileDataset
from retrieval_bench.data._kinds import IMAGE
from retrieval_bench.data._layouts import find

LAYOUT = (
    "which holds <class>/<image> (classes are split by a seed), or train/<class>/<image> and test/<class>/<image>,"
    " or query/<class>/<image> and gallery/<class>/<image>, or just images"
)


class ImageFolder(FileDataset):
    """Images under folders; what lies deeper in a class folder belongs to the class.

    Four layouts, the first that fits: `query` and `gallery` folders; `train` and `test` folders (both may have
    `validation`, the first also `train`); class folders, which are split class-disjointly by a seeded hash of their
    names; no folders at all (no labels, so no label metrics; every image is in the gallery and in training).
    Without `query` and `gallery` each test image is searched among the others.

    Args:
        root: the folder.
        test_fraction: share of the classes to test, 0 … 1, at least one; 1: all. For class folders only.
        validation_fraction: share of the training classes to validate on, 0 … 1; where there is no `validation` folder.
        seed: of both splits.
        image_size: side in pixels if all images are squares of this size and should not be resized by the encoder.

    Raises:
        DataNotFound: no such folder, no images, or class folders without an image (named).
        CorruptInput: images both beside and inside class folders, folders that cannot be opened, or several problems.
        BadConfig: a fraction outside 0 … 1, or an image_size that is no size.
    """

    name = "image_folder"

    def __init__(
        self,
        root: str | None = None,
        test_fraction: float = 0.5,
        validation_fraction: float = 0.15,
        seed: int = 0,
        image_size: int | None = None,
    ) -> None:
        need_share("test_fraction", test_fraction)
        need_share("validation_fraction", validation_fraction)
        need_whole("image_size", image_size, 1, 10_000, "they are resized as the encoder needs it")
        found = find(need_root(root, LAYOUT), IMAGE, LAYOUT, (test_fraction, validation_fraction), seed)
        self.left_out, self.hidden_files = found.left_out, found.hidden
        super().__init__(found.table(), found.split, image_size=image_size)

    @property
    def protocol(self) -> dict[str, Any]:
        """Also: how many files were left out because they are no images."""
        return super().protocol | {"other_files": len(self.left_out)}
