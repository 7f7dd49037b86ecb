"""What is refused, and how it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval_bench.data._checks import (
    Problems,
    need_choice,
    need_path,
    need_root,
    need_share,
    need_whole,
    shorten,
)
from retrieval_bench.data._files import Part
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound


def test_one_problem_keeps_its_kind_and_one_line() -> None:
    problems = Problems("t.csv")
    problems.raise_any()
    problems.add("no rows; write some", DataNotFound)
    with pytest.raises(DataNotFound) as caught:
        problems.raise_any()
    assert str(caught.value) == "t.csv: no rows; write some"


def test_several_problems_are_one_error_with_a_line_each() -> None:
    problems = Problems("t.csv")
    problems.add("one", DataNotFound)
    problems.add("two", DataNotFound)
    with pytest.raises(DataNotFound):
        problems.raise_any()
    problems.add("three")
    with pytest.raises(CorruptInput) as caught:
        problems.raise_any()
    assert str(caught.value) == "t.csv: 3 things are wrong:\n  - one\n  - two\n  - three"


def test_long_lists_are_cut_and_odd_names_stay_on_one_line() -> None:
    assert shorten(range(5)) == "0, 1, 2, 3, 4"
    assert shorten(range(6)) == "0, 1, 2, 3, 4, …"
    assert shorten(["a\nb", "Zürich", "x\udcff"]) == "'a\\nb', Zürich, 'x\\udcff'"


def test_root_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "second").mkdir()
    monkeypatch.chdir(tmp_path)
    assert need_root("second", "LAYOUT") == Path("second")
    with pytest.raises(DataNotFound, match=r"data\.root=nowhere is not a folder .*type data\.root=FOLDER, LAYOUT"):
        need_root("nowhere", "LAYOUT")
    with pytest.raises(DataNotFound, match=r"data\.root is not set; type data\.root=FOLDER, LAYOUT"):
        need_root(None, "LAYOUT", ("second",))
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(tmp_path))
    assert need_root(None, "LAYOUT", ("first", "second")) == tmp_path / "second"
    with pytest.raises(DataNotFound, match="none of first, third"):
        need_root(None, "LAYOUT", ("first", "third"))


def test_roots_of_other_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "2024").mkdir()
    (tmp_path / "ring").symlink_to("ring")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataNotFound, match=r"data\.root=file is a file, not a folder"):
        need_root("file", "LAYOUT")
    with pytest.raises(DataNotFound, match=r"data\.root=ring is not a folder"):
        need_root("ring", "LAYOUT")
    with pytest.raises(DataNotFound, match=r"data\.root is not set"):
        need_root("", "LAYOUT")
    assert need_root(2024, "LAYOUT") == Path("2024")  # type: ignore[arg-type]  # as Hydra hands it over
    assert need_root("~/2024", "LAYOUT") == tmp_path / "2024"


@pytest.mark.parametrize("value", [True, 1.5, ["a"], {}])
def test_paths(value: object) -> None:
    with pytest.raises(BadConfig, match=r"data\.table=.* is not a path; type data\.table=PATH"):
        need_path("table", value)


@pytest.mark.parametrize("value", ["abc", 1.5, True, 0, 9, [3], None])
def test_whole_numbers(value: object) -> None:
    with pytest.raises(BadConfig) as caught:
        need_whole("n_test", value, 1, 8)
    assert str(caught.value) == f"data.n_test={value}: type a whole number from 1 to 8"
    need_whole("n_test", 8, 1, 8)
    need_whole("n_test", None, 1, 8, "all")
    with pytest.raises(BadConfig, match=r"from 1 to 8, or null: all$"):
        need_whole("n_test", "abc", 1, 8, "all")


@pytest.mark.parametrize("value", ["tests", ["test"], None, 3])
def test_choices(value: object) -> None:
    need_choice("part", "test", Part)
    with pytest.raises(BadConfig, match=r"data\.part=.*: type one of train, validation, test, query, gallery$"):
        need_choice("part", value, Part)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_shares(value: float) -> None:
    with pytest.raises(BadConfig, match=r"data\.test_fraction=.*from 0 to 1"):
        need_share("test_fraction", value)
