import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from retrieval_bench.report.contact_sheet import COLOURS, INK, Verdict
from retrieval_bench.report.strips import (
    FRAME,
    HEAD,
    HEIGHT,
    MARGIN,
    STAMP,
    FoundMoment,
    Strip,
    render_moments,
    shown,
    strip_sheet,
)

GREEN = (0, 200, 0)


def frames(n: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    return np.broadcast_to(np.array(GREEN, np.uint8), (n, height, width, 3)).copy()


def pixels(query: Strip, *answers: Strip) -> NDArray[np.uint8]:
    return np.asarray(strip_sheet(query, answers))


def area(sheet: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    return int((sheet == np.array(colour)).all(axis=2).sum())


def test_long_videos_show_the_middles_of_eight_parts() -> None:
    assert shown(5).tolist() == [0, 1, 2, 3, 4]
    assert shown(8).tolist() == list(range(8))
    assert shown(80).tolist() == [5, 15, 25, 35, 45, 55, 65, 75]


@pytest.mark.parametrize(("shape", "tile"), [((48, 64), (96, 128)), ((300, 100), (96, 32)), ((10, 100), (19, 192))])
def test_frames_keep_their_shape(shape: tuple[int, int], tile: tuple[int, int]) -> None:
    sheet = pixels(Strip("query", "", frames(1, *shape)))
    rows, columns = np.nonzero((sheet == np.array(GREEN)).all(axis=2))
    assert (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1) == tile


def test_times_stand_below_the_frames_where_they_are_known() -> None:
    without = pixels(Strip("query", "", frames(3)))
    with_times = pixels(Strip("query", "", frames(3), np.array([0.0, 1.0, 2.0])))
    assert with_times.shape[0] == without.shape[0] + STAMP
    below = MARGIN + HEAD + HEIGHT + 2 * FRAME
    assert (with_times[below : below + STAMP] < 200).any(), "something is written there"
    assert (without[below : below + MARGIN] == 255).all()


def test_answers_are_coloured_only_where_they_are_judged() -> None:
    strips = [Strip(str(verdict), "", frames(2), verdict=verdict) for verdict in Verdict]
    for strip in strips:
        sheet = pixels(Strip("query", "", frames(2)), strip)
        assert area(sheet, COLOURS[strip.verdict]) > 1000
        others = {*COLOURS.values()} - {COLOURS[strip.verdict]}
        assert all(area(sheet, other) < 100 for other in others)
        assert area(sheet, INK) > 1000, "the query's own frame"


def test_a_video_that_cannot_be_read_any_more_is_an_empty_strip() -> None:
    sheet = pixels(Strip("query", "", frames(1)), Strip("1", "gone", None))
    assert area(sheet, GREEN) == area(pixels(Strip("query", "", frames(1))), GREEN)


def test_long_and_foreign_names_do_not_change_the_size() -> None:
    usual = pixels(Strip("query", "q", frames(2)), Strip("1", "a", frames(2))).shape
    assert pixels(Strip("query", "ω" * 500, frames(2)), Strip("1", "ACURA\n" * 90, frames(2))).shape == usual


def test_moments_are_told_in_minutes_and_seconds() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(render_moments("mine.mp4", [FoundMoment("a [1]", 59.96, 75.3, 0.5), FoundMoment("b", 0, 2, -1)]))
    lines = captured.get().splitlines()
    assert [line.split() for line in lines[3:]] == [
        ["1", "0.5000", "1:00.0", "1:15.3", "a", "[1]"],
        ["2", "-1.0000", "0:00.0", "0:02.0", "b"],
    ]
