import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from retrieval_bench.report.contact_sheet import COLOURS, TILE, Neighbour, Verdict, contact_sheet, render_neighbours

GREEN = (0, 200, 0)


def plain(height: int, width: int, colour: tuple[int, int, int] = GREEN) -> NDArray[np.uint8]:
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


def neighbours(n: int, verdict: Verdict = Verdict.UNKNOWN, label: str = "") -> list[Neighbour]:
    return [Neighbour(f"folder/{i}.jpg", 0.9 - i / 100, label, verdict, plain(20, 30)) for i in range(n)]


def area(sheet: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    return int((sheet == np.array(colour)).all(axis=2).sum())


@pytest.mark.parametrize("shape", [(300, 200), (20, 40), (1, 1), (1, 900)])
def test_a_picture_keeps_its_shape(shape: tuple[int, int]) -> None:
    sheet = np.asarray(contact_sheet(plain(*shape), "mine.jpg", []))
    rows, columns = np.nonzero((sheet == np.array(GREEN)).all(axis=2))
    scale = TILE / max(shape)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == tuple(max(1, round(side * scale)) for side in shape)


def test_ten_neighbours_stand_in_two_rows_beside_the_query() -> None:
    one, five, ten = (contact_sheet(plain(9, 9), "q", neighbours(n)).size for n in (1, 5, 10))
    assert five[0] == ten[0] > one[0]
    assert ten[1] > 2 * TILE > five[1] > TILE


def test_frames_tell_right_from_wrong() -> None:
    mixed = [*neighbours(2, Verdict.RIGHT), *neighbours(1, Verdict.WRONG), *neighbours(1)]
    sheet = np.asarray(contact_sheet(plain(9, 9), "q", mixed))
    right, wrong, unknown = (
        area(sheet, COLOURS[verdict]) for verdict in (Verdict.RIGHT, Verdict.WRONG, Verdict.UNKNOWN)
    )
    assert right == 2 * wrong > 0
    assert unknown == pytest.approx(wrong, abs=30)  # greys of the letters may coincide


def test_a_picture_that_cannot_be_read_any_more_is_a_grey_tile() -> None:
    sheet = np.asarray(contact_sheet(plain(9, 9, (1, 2, 3)), "q", [Neighbour("gone.jpg", 0.5)]))
    assert area(sheet, GREEN) == 0


def test_long_and_foreign_captions_do_not_change_the_size() -> None:
    usual = contact_sheet(plain(9, 9), "q", neighbours(3)).size
    assert contact_sheet(plain(9, 9), "ω" * 500, neighbours(3, label="ACURA " * 40)).size == usual


def table(found: list[Neighbour]) -> str:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(render_neighbours("mine.jpg", found))
    return captured.get()


def test_the_table_tells_rank_score_label_verdict_and_key() -> None:
    text = table(neighbours(3, Verdict.WRONG, "cat [1]"))
    assert "2  0.8900  cat [1]  wrong    folder/1.jpg" in text


def test_columns_that_say_nothing_are_left_out() -> None:
    text = table(neighbours(2))
    assert "label" not in text
    assert "verdict" not in text
    assert "1  0.9000  folder/0.jpg" in text
