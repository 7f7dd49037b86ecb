"""Reading the lists that releases bring."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval_bench.data._checks import Problems
from retrieval_bench.data._listed import check_disjoint, keyed, need_inside, read_list, unlisted, whole_numbers
from retrieval_bench.errors import CorruptInput, DataNotFound


@pytest.fixture
def problems() -> Problems:
    return Problems()


def told(problems: Problems) -> str:
    with pytest.raises(CorruptInput) as caught:
        problems.raise_any()
    return str(caught.value)


def test_count_header_and_rows(tmp_path: Path, problems: Problems) -> None:
    file = tmp_path / "list.txt"
    file.write_text("2\r\nname  id\r\n\r\na\t1 \r\n b   2")
    assert read_list(file, ("name", "id"), problems, counted=True, named=True) == [("a", "1"), ("b", "2")]
    assert len(problems) == 0


def test_blanks_in_the_first_cell(tmp_path: Path, problems: Problems) -> None:
    file = tmp_path / "list.txt"
    file.write_text("a film #1 (x).avi 1 \r\n b.avi\t2\n")
    assert read_list(file, ("clip", "part"), problems, spaced=True) == [("a film #1 (x).avi", "1"), ("b.avi", "2")]
    file.write_text("lonely.avi\n")
    assert read_list(file, ("clip", "part"), problems, spaced=True) == []
    assert "1 lines of list.txt have not the 2 cells" in told(problems)


@pytest.mark.parametrize("text", ["", "\n\n", "2\n", "2\nname id\n"])
def test_nothing_in_it(tmp_path: Path, problems: Problems, text: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    assert read_list(tmp_path / "list.txt", ("name", "id"), problems, counted=True, named=True) == []
    assert "list.txt has no rows" in told(problems)


def test_odd_lines_are_counted_and_the_first_shown(tmp_path: Path, problems: Problems) -> None:
    (tmp_path / "list.txt").write_text("a 1\n" + "".join(f"x{i}\n" for i in range(7)) + "b 2\n")
    assert read_list(tmp_path / "list.txt", ("name", "id"), problems) == [("a", "1"), ("b", "2")]
    assert told(problems).startswith(
        "7 lines of list.txt have not the 2 cells name, id: line 2 (x0), line 3 (x1), line 4 (x2), line 5 (x3), line 6"
        " (x4), …;"
    )


def test_no_file_to_open(tmp_path: Path, problems: Problems) -> None:
    with pytest.raises(CorruptInput, match="cannot be opened: Is a directory"):
        read_list(tmp_path, ("name",), problems)
    with pytest.raises(DataNotFound, match=r"lacks a, b/c; type data\.root=FOLDER, so"):
        need_inside(tmp_path, ["a", ".", "b/c"], "so")


def test_first_cells_stand_once(tmp_path: Path, problems: Problems) -> None:
    (tmp_path / "list.txt").write_text("a 1\nb 2\na 3\n")
    assert keyed(tmp_path / "list.txt", ("name", "id"), problems).keys() == {"a", "b"}
    assert told(problems) == "1 of name stand twice in list.txt: a; keep one row of each"


def test_numbers(problems: Problems) -> None:
    assert whole_numbers(["0", "007", "22634"], "ids", problems) == [0, 7, 22634]
    assert len(problems) == 0
    assert whole_numbers(["1", "-1", "1.0", "²", "1_0", "9" * 19, "-1"], "ids", problems) == [1, 0, 0, 0, 0, 0, 0]
    assert told(problems) == f"6 of ids are no whole numbers: -1, 1.0, 1_0, {'9' * 19}, ²"


def test_disjoint(problems: Problems) -> None:
    check_disjoint("abc", "def", problems)
    assert len(problems) == 0
    check_disjoint("abc", "cbx", problems)
    assert told(problems) == "2 classes are in the training and in the test part: b, c"


def test_unlisted_files_and_hidden_names(tmp_path: Path) -> None:
    for name in ("in/a.jpg", "in/deep/b.jpg", "in/deep/c.txt", "in/.git/x", "in/deep/.hidden", "beside.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert unlisted(tmp_path, ["in"], ["in/a.jpg"], "the list") == (
        [("in/deep/b.jpg", "not in the list"), ("in/deep/c.txt", "not in the list")],
        2,
    )
