"""Clips found by name, and whole sources kept for validation. Most is shown by the data sets that use it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval_bench.data._checks import Problems
from retrieval_bench.data._clips import Clips, Listed, Matched, first_folder, fold, need_lists, sources_apart, stem
from retrieval_bench.errors import DataNotFound

Write = Callable[..., Path]


def match(root: Path, *names: tuple[str, str]) -> Matched:
    problems = Problems(root)
    found = Clips(root, root, root / "lists", problems).match([Listed(*name, False) for name in names], "the list")
    problems.raise_any()
    return found


def test_names_are_compared_without_suffix_case_and_spelling_of_letters(touch_tree: Write) -> None:
    decomposed = unicodedata.normalize("NFD", "Zürich")
    root = touch_tree([f"a/{decomposed}.mp4", "a/v1.2.AVI"])
    assert match(root, ("A", "zürich"), ("A", "V1.2")).keys == [f"a/{decomposed}.mp4", "a/v1.2.AVI"]
    assert fold(decomposed) == fold("ZÜRICH")
    assert stem("a.b/c.d.avi") == "c.d"


def test_of_files_of_one_name_that_of_the_same_case_is_taken_then_that_of_the_class(touch_tree: Write) -> None:
    root = touch_tree(["a/x.avi", "a/X.avi", "a/y.avi", "b/y.avi"])
    found = match(root, ("a", "x"), ("a", "X"), ("a", "y"), ("b", "y"))
    assert found.keys == ["a/x.avi", "a/X.avi", "a/y.avi", "b/y.avi"]
    assert found.left_out == [] and found.unlisted == []


def test_the_folder_of_the_lists_is_not_a_class(touch_tree: Write) -> None:
    root = touch_tree(["a/x.avi", "lists/l.txt"])
    assert match(root, ("a", "x")).left_out == []
    assert first_folder(root, ["none", "lists", "a"]) == root / "lists"
    assert first_folder(root, ["none"]) == root


def test_missing_lists_are_named(touch_tree: Write) -> None:
    root = touch_tree(["lists/l.txt", "x.zip"])
    need_lists(root, root / "lists", ("l.txt", "*.txt"), "LAYOUT")
    with pytest.raises(
        DataNotFound,
        match=r"lists lacks m\.txt, n\.txt \(x\.zip must be unpacked first\); type data\.root=FOLDER, LAYOUT$",
    ):
        need_lists(root, root / "lists", ("m.txt", "l.txt", "n.txt"), "LAYOUT")


def test_sources_are_kept_whole_and_by_name() -> None:
    trained = [(label, f"{label}{i}") for label in "ab" for i in range(20) for _ in range(3)]
    kept = sources_apart(trained, 0.25, 0)
    assert sorted(name[0] for name in kept) == ["a"] * 5 + ["b"] * 5
    assert sources_apart(trained[::-1], 0.25, 0) == kept != sources_apart(trained, 0.25, 1)
    assert sources_apart([pair for pair in trained if pair[0] == "a"], 0.25, 0) == {
        name for name in kept if name[0] == "a"
    }
    assert sources_apart(trained, 0, 0) == set() == sources_apart([], 0.5, 0)


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(10, 0.01, 2), (10, 1, 9), (3, 0.5, 2), (2, 0.5, 1), (1, 1, 0)]
)
def test_at_least_two_sources_and_never_the_last(count: int, share: float, expected: int) -> None:
    assert len(sources_apart([("a", str(i)) for i in range(count)], share, 0)) == expected
