"""What is timed runs alone: processes of one machine take turns, and a killed one holds nobody up."""

import subprocess
import sys
from pathlib import Path

import pytest

from retrieval_bench.turns import FOLDER, measuring, working

HOLD = """
import sys, time
from retrieval_bench import turns
with getattr(turns, sys.argv[1])(print):
    print("in", flush=True)
    time.sleep(600)
"""


def holder(kind: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "in\n"
    process.stdout.close()
    return process


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "turns"))


@pytest.mark.parametrize(
    ("theirs", "ours", "waits"),
    [("working", working, False), ("working", measuring, True), ("measuring", working, True)],
)
def test_only_what_computes_is_shared(theirs: str, ours, waits: bool) -> None:
    process, said = holder(theirs), list[str]()

    def kill_them(text: str) -> None:
        said.append(text)
        process.kill()  # not at its end: the system frees what it held

    with ours(kill_them):
        assert bool(said) == waits and (process.wait(10) != 0 if waits else process.poll() is None)
    process.kill()
    process.wait()


def test_working_within_working_needs_no_turn_and_measuring_within_is_a_mistake() -> None:
    refused = pytest.raises(RuntimeError, match="measuring within working")
    with working(print), working(print), refused, measuring(print):
        pass
    with measuring(print):
        pass
