"""The data set that a table of image or video files makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from retrieval_bench.data._files import FileTable, Part
from retrieval_bench.data.base import Dataset, Items
from retrieval_bench.types import GroundTruth


class FileDataset(Dataset):
    """Files in parts, each part made once, when it is asked for. A data set finds its files and hands them over.

    Args:
        table: the files. Where some are `Part.TEST`, each of these is searched among the others.
        split: how the parts were made, for the protocol.
        crop: likewise.
        image_size: side in pixels if all images are squares of this size, else none.
        searched: parts that are the gallery together, where some files are `Part.QUERY`; with `Part.TRAIN` among them
            the gallery is trained on.
    """

    def __init__(
        self,
        table: FileTable,
        split: str,
        crop: str = "none",
        image_size: int | None = None,
        searched: Sequence[Part] = (Part.GALLERY,),
    ) -> None:
        self._table, self._split, self._crop = table, split, crop
        self._searched = tuple(searched)
        self.image_size = image_size
        if table.clip is not None:
            self.inputs, self.clip = table.clip.inputs, table.clip
        self._sizes = {part: count for part, count in Counter(table.parts).items() if count}
        self._made: dict[tuple[Part, ...], Items] = {}

    def train(self) -> Items:
        """Files of the training part; without labels, the gallery."""
        return self.gallery() if self._table.labels is None else self._items(Part.TRAIN)

    def validation(self) -> Items:
        """Files of the validation part."""
        return self._items(Part.VALIDATION)

    def queries(self) -> Items:
        """Files of the query part, else of the test part: then the same object as the gallery."""
        return self._items(Part.TEST if self._one_set else Part.QUERY)

    def gallery(self) -> Items:
        """Files of the gallery part (or the parts that are it together), else of the test part."""
        return self._items(Part.TEST) if self._one_set else self._items(*self._searched)

    def truth(self) -> GroundTruth | None:
        """Equal label = relevant; the query itself (by id) and its group are ignored; none without labels."""
        queries, gallery = self.queries(), self.gallery()
        if queries.labels is None:
            return None
        return GroundTruth(
            queries.ids,
            gallery.ids,
            query_labels=queries.labels,
            gallery_labels=gallery.labels,
            query_groups=queries.groups,
            gallery_groups=gallery.groups,
        )

    @property
    def protocol(self) -> dict[str, Any]:
        """Split, self and group rule, crop (of images) or clip (of videos), sizes."""
        one_set, table = self._one_set, self._table
        word = "image" if table.clip is None else "video"
        sizes = {part.value: self._sizes[part] for part in Part if part in self._sizes}
        if len(self._searched) > 1 and not one_set:
            sizes[Part.GALLERY.value] = sum(self._sizes.get(part, 0) for part in self._searched)
        return {
            "split": self._split,
            "self": f"each test {word} is searched among the others; itself ignored by id" if one_set else "none",
            "group": "none" if table.groups is None else "gallery items of the query's group are ignored",
            **(
                {"crop": self._crop, "image_size": self.image_size}
                if table.clip is None
                else {"clip": table.clip.describe()}
            ),
            "sizes": sizes,
        }

    @property
    def _one_set(self) -> bool:
        return Part.TEST in self._sizes

    def _items(self, *parts: Part) -> Items:
        """The same object for the same files, always."""
        parts = tuple(part for part in parts if part in self._sizes) or parts  # empty parts add nothing
        if parts not in self._made:
            self._made[parts] = self._table.items(self._table.rows(*parts))
        return self._made[parts]
