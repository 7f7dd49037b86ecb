import io
from base64 import b64decode
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval_bench._thumbnails import BUDGET, SIDE, STRIP, Thumbnails
from retrieval_bench.data.base import Items
from retrieval_bench.errors import CorruptInput
from retrieval_bench.examples import EACH, _chosen, _Lists, point_name, shown_beside


class Data:
    """As much of a data set as pictures need."""

    def __init__(self, *inputs: str) -> None:
        self.inputs = inputs


def row(index: str, recall: float | None, ms: float, **changes: Any) -> dict[str, Any]:
    told = {"index": index, "status": "ok", "half": "all", "exact": False, "functional": False, "knob": "ef"}
    return told | {"ann_recall": recall, "latency_p50_ms": ms, "effort": 16} | changes


def test_the_fastest_that_finds_half_stands_beside_exact_search() -> None:
    rows = [
        row("exact", 1.0, 0.001, exact=True), row("null", None, 0.0001), row("gone", None, 0.0, status="failed"),
        row("lite", 0.9, 0.001, functional=True), row("bad", 0.1, 0.002), row("slow", 0.99, 2.0), row("good", 0.6, 0.5),
        row("good", 0.9, 0.01, half="tune"),
    ]  # fmt: skip
    found = shown_beside(rows)
    assert found is rows[6] and point_name(found) == "good ef 16"
    assert shown_beside(rows[:5]) is rows[4], "better than none"
    assert shown_beside(rows[:4]) is None and point_name(None) is None


def lists(hits: list[list[int]]) -> _Lists:
    found = np.array(hits, np.bool_)
    return _Lists(np.zeros(found.shape, np.int64), np.zeros(found.shape), found)


def test_best_and_worst_are_of_other_classes_and_what_an_index_loses_is_told() -> None:
    values = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.1, 0.0, 0.2, np.nan])
    labels = np.array([1, 1, 2, 3, 4, 5, 6, 7, 8])
    exact = lists([[1, 1]] * 5 + [[0, 0]] * 4)
    index = lists([[1, 1]] * 4 + [[0, 1]] + [[0, 0]] * 4)
    chosen = _chosen(values, {"exact": exact, "index": index}, labels)
    assert [r for kind, r in chosen if kind == "best"] == [0, 2, 3], "1 is of the class of 0"
    assert [r for kind, r in chosen if kind == "worst"] == [6, 5, 7], "8 has nothing relevant"
    assert [r for kind, r in chosen if kind == "lost"] == [4]
    assert EACH == 3


def items(shape: tuple[int, ...], n: int = 3) -> Items:
    def read(at: int) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
        if at == 2:
            raise CorruptInput("cut off")
        return {"image" if len(shape) == 3 else "rgb": np.random.default_rng(at).integers(0, 255, shape, np.uint8)}

    return Items([f"{i}.jpg" for i in range(n)], read, "f", labels=np.arange(n), label_names={0: "zero"})


def opened(written: str) -> Image.Image:
    return Image.open(io.BytesIO(b64decode(written)))


def test_pictures_keep_their_shape_and_what_cannot_be_read_has_none() -> None:
    known = items((50, 200, 3))
    pictures = Thumbnails(Data("image"))  # type: ignore[arg-type]
    first, second, gone = (pictures.told(known, int(item)) for item in known.ids)
    assert (first["key"], first["label"], second["label"]) == ("0.jpg", "zero", "1")
    assert opened(pictures.kept[first["picture"]]).size == (SIDE, SIDE // 4)
    assert gone["picture"] is None and len(pictures.kept) == 2


def test_a_video_is_a_strip_of_frames() -> None:
    known = items((9, 32, 48, 3))
    pictures = Thumbnails(Data("rgb"))  # type: ignore[arg-type]
    told = pictures.told(known, int(known.ids[0]))
    assert opened(pictures.kept[told["picture"]]).size == (5 * 96 + 4 * 2, STRIP)


def test_pictures_stay_within_their_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BUDGET < 1_000_000
    monkeypatch.setattr("retrieval_bench._thumbnails.BUDGET", 6000)
    known = items((92, 92, 3), n=2)
    pictures = Thumbnails(Data("image"))  # type: ignore[arg-type]
    told = [pictures.told(known, int(item))["picture"] is not None for item in known.ids]
    assert sum(len(written) for written in pictures.kept.values()) <= 6000
    assert told[1] is False
