"""For all tests: processes of a parallel run share the machine, so each computes with one thread."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BACKENDS = Path(__file__).parent / "backends"
Log = Callable[[], list[str]]

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def own_turns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests time nothing that counts, so the processes of a parallel run of the tests do not wait for one another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETRIEVAL_BENCH_TURNS", str(tmp_path_factory.mktemp("turns")))
        yield


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """What the backends noted so far; also makes them importable, in this process only."""
    monkeypatch.syspath_prepend(str(BACKENDS))
    file = tmp_path / "log.txt"
    monkeypatch.setenv("FAULTY_LOG", str(file))
    return lambda: file.read_text().splitlines() if file.exists() else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without the real data, what needs it is skipped, and says so."""
    if not os.environ.get("RETRIEVAL_BENCH_DATA"):
        for item in items:
            if item.get_closest_marker("data"):
                item.add_marker(pytest.mark.skip(reason="RETRIEVAL_BENCH_DATA names no folder of real data"))
