"""Compiled code is kept on the disk by any number of processes at once."""

import subprocess
import sys
from pathlib import Path

from numba.core.caching import IndexDataCacheFile

KEEP = """
import sys
import retrieval_bench._compiled
from numba.core.caching import IndexDataCacheFile

file = IndexDataCacheFile(sys.argv[1], "f", "stamp")
print("ready", flush=True)
sys.stdin.readline()
for i in range(100):
    file.save((sys.argv[2], i), f"code of {sys.argv[2]} {i}")
"""


def test_processes_that_keep_code_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", KEEP, str(tmp_path / "cache"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    file = IndexDataCacheFile(str(tmp_path / "cache"), "f", "stamp")
    wrong = [(name, i) for name in "ab" for i in range(100) if file.load((name, i)) != f"code of {name} {i}"]
    assert wrong == []
