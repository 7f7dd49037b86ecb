import errno
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from retrieval_bench.data import _rendered
from retrieval_bench.data._rendered import Recipe, remembered, rendered
from retrieval_bench.errors import BadConfig, OutOfSpace

N = 1100  # more than two chunks

PROGRAM = """
import sys, time, numpy as np
from retrieval_bench.data._rendered import Recipe, rendered
cache, log, pause, n = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
def draw(row):
    with open(log, "a") as file:
        file.write(f"{row}\\n")
    time.sleep(pause)
    return np.full((4, 4, 3), row % 256, np.uint8)
print(rendered(cache, Recipe("part", {}, [str(i) for i in range(n)], 4, draw)).fingerprint)
"""


def draw(row):
    return np.random.default_rng(row).integers(0, 256, (4, 4, 3), np.uint8)


def recipe(name="part", n=N, draw=draw, decides=None):
    return Recipe(name, decides or {}, [str(i) for i in range(n)], 4, draw)


def start(cache, log, pause, n):
    arguments = [sys.executable, "-c", PROGRAM, str(cache), str(log), str(pause), str(n)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_images_come_back_in_order_and_are_copies(tmp_path):
    part = rendered(tmp_path, recipe())
    np.testing.assert_array_equal(part.pixels, [draw(row) for row in range(N)])
    image = part.read(3)["image"]
    image[:] = 0
    np.testing.assert_array_equal(part.read(3)["image"], draw(3))


def test_bytes_do_not_depend_on_the_number_of_threads(tmp_path):
    one, three = rendered(tmp_path / "1", recipe(), threads=1), rendered(tmp_path / "3", recipe(), threads=3)
    np.testing.assert_array_equal(one.pixels, three.pixels)
    assert one.fingerprint == three.fingerprint


def test_the_fingerprint_follows_content_not_recipe(tmp_path):
    plain = rendered(tmp_path, recipe()).fingerprint
    assert rendered(tmp_path, recipe(decides={"version": 2})).fingerprint == plain
    assert (
        rendered(tmp_path, recipe(decides={"seed": 1}, draw=lambda row: draw(row + (row == 900)))).fingerprint != plain
    )


def test_a_second_call_draws_nothing(tmp_path):
    first = rendered(tmp_path, recipe())

    def never(row):
        raise AssertionError("drawn again")

    assert rendered(tmp_path, recipe(draw=never)).fingerprint == first.fingerprint


def test_a_shortened_file_is_drawn_again(tmp_path):
    first = rendered(tmp_path, recipe())
    (path,) = tmp_path.glob("rendered/*/pixels.npy")
    path.write_bytes(path.read_bytes()[:-1])
    np.testing.assert_array_equal(rendered(tmp_path, recipe()).pixels, [draw(row) for row in range(N)])
    assert rendered(tmp_path, recipe()).fingerprint == first.fingerprint


def test_two_processes_draw_once(tmp_path):
    log = tmp_path / "log"
    both = [start(tmp_path, log, 0.005, 100) for _ in range(2)]
    prints = {process.communicate(timeout=60)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(prints) == 1
    assert sorted(int(line) for line in log.read_text().split()) == list(range(100))


def test_a_killed_process_leaves_nothing_half_done(tmp_path):
    log = tmp_path / "log"
    process = start(tmp_path, log, 0.02, N)
    while not log.exists() or len(log.read_text().split()) < 5:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list(tmp_path.glob("rendered/*/about.json"))
    after = start(tmp_path, log, 0, N)
    fingerprint = after.communicate(timeout=60)[0]
    clean = start(tmp_path / "clean", tmp_path / "other", 0, N)
    assert clean.communicate(timeout=60)[0] == fingerprint != ""
    assert not list(tmp_path.glob("rendered/*.part"))


def test_an_error_while_drawing_leaves_nothing(tmp_path):
    def broken(row):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rendered(tmp_path, recipe(draw=broken))
    assert [path.suffix for path in tmp_path.glob("rendered/*")] == [".lock"]


def test_a_full_disk_says_where_to_go(tmp_path, monkeypatch):
    def full(file, recipe, threads):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(_rendered, "_write", full)
    with pytest.raises(OutOfSpace, match=r"paths\.cache=FOLDER"):
        rendered(tmp_path, recipe())
    assert not list(tmp_path.glob("rendered/*.part"))


def test_a_cache_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadConfig, match=r"paths\.cache=FOLDER"):
        rendered(tmp_path / "file", recipe())


def test_values_are_remembered_per_what_decides_them(tmp_path):
    assert remembered(tmp_path, "value", {"a": 1}, lambda: [[1, 2]]) == [[1, 2]]
    assert remembered(tmp_path, "value", {"a": 1}, lambda: [[3]]) == [[1, 2]]
    assert remembered(tmp_path, "value", {"a": 2}, lambda: [[3]]) == [[3]]
