import numpy as np
import pytest

from retrieval_bench.data import _footage
from retrieval_bench.data._footage import Script, footage
from retrieval_bench.errors import BadConfig

LENGTHS = [3, 5, 2, 7, 4, 1]


def draw(row):
    return np.random.default_rng(row).integers(0, 256, (LENGTHS[row], 4, 4, 3), np.uint8)


def script(draw=draw, decides=None):
    return Script("part", decides or {}, [f"shot {i}" for i in range(len(LENGTHS))], LENGTHS, 4, draw)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_footage, "BLOCK", 7)


def test_shots_come_back_in_order(tmp_path):
    found = footage(tmp_path, script())
    assert found.starts.tolist() == [0, 3, 8, 10, 17, 21, 22]
    for row in range(len(LENGTHS)):
        np.testing.assert_array_equal(found.shot(row), draw(row))
    assert np.shares_memory(found.shot(1), found.frames) and not found.shot(1).flags.writeable


def test_blocks_end_where_a_shot_ends_and_hold_as_many_as_fit():
    starts = np.array([0, 3, 8, 10, 17, 21, 22])
    assert list(_footage._blocks(starts, 0)) == [range(0, 1), range(1, 3), range(3, 4), range(4, 6)]
    assert list(_footage._blocks(np.array([0, 90, 91]), 0)) == [range(0, 1), range(1, 2)], "a shot longer than a block"
    assert list(_footage._blocks(starts, 6)) == []


def test_a_broken_off_drawing_goes_on_to_the_same_bytes(tmp_path):
    whole, drawn = footage(tmp_path / "whole", script()), []

    def broken(row):
        if row == 4:
            raise ZeroDivisionError
        return draw(row)

    def noted(row):
        drawn.append(row)
        return draw(row)

    with pytest.raises(ZeroDivisionError):
        footage(tmp_path / "cut", script(broken), threads=1)
    (file,) = tmp_path.glob("cut/rendered/*/frames.npy")
    with file.open("ab") as half:
        half.write(b"half a block")
    resumed = footage(tmp_path / "cut", script(noted), threads=1)
    assert drawn == [4, 5]
    assert resumed.fingerprint == whole.fingerprint
    (other,) = tmp_path.glob("whole/rendered/*/frames.npy")
    assert file.read_bytes() == other.read_bytes()


def test_a_second_call_draws_nothing_and_a_shortened_file_is_drawn_again(tmp_path):
    def never(row):
        raise AssertionError("drawn again")

    first = footage(tmp_path, script())
    assert footage(tmp_path, script(never)).fingerprint == first.fingerprint
    (path,) = tmp_path.glob("rendered/*/frames.npy")
    path.write_bytes(path.read_bytes()[:-1])
    again = footage(tmp_path, script())
    np.testing.assert_array_equal(again.shot(5), draw(5))
    assert again.fingerprint == first.fingerprint


def test_the_fingerprint_follows_content_and_threads_do_not_matter(tmp_path):
    plain = footage(tmp_path, script(), threads=1).fingerprint
    assert footage(tmp_path, script(decides={"version": 2}), threads=3).fingerprint == plain
    changed = script(lambda row: draw(row) ^ np.uint8(row == 5), {"version": 3})
    assert footage(tmp_path, changed).fingerprint != plain


def test_a_shot_of_another_length_is_an_error_of_ours(tmp_path):
    with pytest.raises(ValueError, match=r"part drew uint8 \(2, 4, 4, 3\) for shot 0"):
        footage(tmp_path, script(lambda row: draw(row)[:2]))


def test_a_cache_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadConfig, match=r"paths\.cache=FOLDER"):
        footage(tmp_path / "file", script())
