"""Sweeps: a failed job is a row and the others go on; what is finished is not done again; mistakes are told at once."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path
from time import monotonic, sleep

import pandas as pd
import pytest
from rich.console import Console

from retrieval_bench.cli import CONF, _checked_jobs, _requested
from retrieval_bench.commands import main
from retrieval_bench.errors import BadConfig
from retrieval_bench.report.sweep import render_sweep
from retrieval_bench.sweep import BEGUN, FAILED, OK, Outcome, Sweep, run_job, settled

TINY = ["data=digits", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none", "embed.engine=torch"]
TINY += ["data.n_test=100", "measure.max_queries=20", "measure.passes=1", "logger=[]", "search=[exact]"]


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RETRIEVAL_BENCH_DATA", raising=False)


def jobs() -> list[dict[str, str]]:
    (file,) = Path("runs/sweeps").glob("*/jobs.csv")
    with file.open() as handle:
        return list(csv.DictReader(handle))


@pytest.mark.slow
def test_a_job_that_fails_is_a_row_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "-m", *TINY, "k=[2],[500]", "seed=0"]  # 100 items: 500 neighbours are not there
    assert main(command) == 1
    told = capsys.readouterr()
    out = " ".join(told.out.split())  # the terminal wraps lines
    assert "2 jobs" in told.err and "1 failed" in out and "k=500 is larger than the gallery" in out
    assert [(row["status"], "k=500" in row["error"]) for row in jobs()] == [(OK, False), (FAILED, True)]
    written = {file: file.stat().st_mtime_ns for file in Path("runs/adhoc").rglob("*.parquet")}
    assert main(command) == 1
    assert "2 jobs, 1 of them finished before" in capsys.readouterr().err
    assert written and {file: file.stat().st_mtime_ns for file in Path("runs/adhoc").rglob("*.parquet")} == written


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=range(0,0)"], "no combination"),
        (["seed=0,1", "+serch=1,2"], "there is no 'serch' in a configuration"),
        (["search.hnsw.mm=1,2"], "mm"),
        (["sed=0,1"], "did you mean seed"),
        (["seed=0,1", "+search.exact.speed=3"], "search.exact has no parameter 'speed'"),
        (["k=[2],[two]"], "whole numbers from 1 are needed"),
        (["hydra/launcher=slurm", "seed=0,1"], "pip install hydra-submitit-launcher"),
    ],
)
def test_mistakes_are_told_before_the_first_job(
    overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "-m", *TINY, *overrides]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("runs/adhoc").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(file.stem for file in (CONF / "sweep").glob("*.yaml")))
def test_every_sweep_binds(name: str) -> None:
    head = (CONF / "sweep" / f"{name}.yaml").read_text()
    assert "# Question:" in head and "# Command:" in head
    with _requested([f"sweep={name}"], None) as request:
        first, jobs = _checked_jobs(request, ())
    assert first["name"] == name and (len(jobs) > 1 or name == "cheapest_index")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["joblib", "local_processes", "slurm", "ray_cluster"])
def test_every_launcher_composes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval_bench.guard._need_plugin", lambda target: None)  # most are not installed
    with _requested([f"hydra/launcher={name}", "seed=0,1"], None) as request:
        assert len(_checked_jobs(request, ())[1]) == 2


def test_any_exception_of_a_job_is_its_error_with_the_traceback_kept(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "sweep")

    def broken() -> None:
        raise ZeroDivisionError("a fault of a part")

    found = run_job(sweep, Outcome(3, ["seed=1"]), broken)
    assert found.status == FAILED and found.error is not None and "ZeroDivisionError: a fault of a part" in found.error
    assert sweep.known(["seed=1"]) == found
    (text,) = (tmp_path / "sweep" / "jobs").glob("*.txt")
    assert "in broken" in text.read_text()


def test_a_killed_job_and_one_that_never_began_are_told(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "sweep")
    sweep.write(Outcome(0, ["seed=0"], status=BEGUN))
    found = settled(sweep, [["seed=0"], ["seed=1"]])
    assert [(one.status, one.error) for one in found] == [
        (FAILED, "its process ended before it was done"),
        (FAILED, "it was not begun"),
    ]


def test_a_finished_job_stays_finished_while_it_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, seen = Sweep(tmp_path / "sweep"), list[Outcome | None]()
    rows = [{"index": "exact", "latency_p50_ms": 0.1}]
    before = Outcome(0, ["seed=0"], OK, run="runs/adhoc/a", rows=rows, seconds=3000.0)
    sweep.write(before)

    def look(*_: object) -> None:
        seen.append(sweep.known(["seed=0"]))

    def finished(begun: Outcome, *_: object) -> Outcome:
        return replace(begun, status=OK, run="runs/adhoc/a", rows=rows)

    monkeypatch.setattr("retrieval_bench.sweep._run", look)
    monkeypatch.setattr("retrieval_bench.sweep._finished", finished)
    assert run_job(sweep, Outcome(0, ["seed=0"]), lambda: None) == before, "looking at it is not what it took"
    assert seen == [before], "another copy of the sweep that ends now tells it as finished"
    rows = [{"index": "exact", "latency_p50_ms": 0.2}]
    measured = run_job(sweep, Outcome(0, ["seed=0"]), lambda: None)
    assert measured.seconds is not None and measured.seconds < 3000, "measured anew, it took what it took now"


def test_a_secret_in_an_error_is_not_kept(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "sweep")
    for number, kind in enumerate((ZeroDivisionError, BadConfig)):

        def broken(kind: type[Exception] = kind) -> None:
            raise kind("no answer from https://me:5ecr3t@host/api")

        found = run_job(sweep, Outcome(number, [f"seed={number}"]), broken)
        assert found.error is not None and "https://***@host/api" in found.error
    kept = [file.read_text() for file in (tmp_path / "sweep" / "jobs").iterdir()]
    assert len(kept) == 3 and not any("me:5ecr3t" in text for text in kept)


def test_a_run_that_was_deleted_has_no_line_by_class(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "record.json").write_text("{")
    jobs = [Outcome(i, [f"seed={i}"], OK, run=str(tmp_path / name)) for i, name in enumerate(("gone", "damaged"))]
    console = Console(width=200, record=True, file=StringIO())
    console.print(render_sweep(jobs, tmp_path / "jobs.csv"))
    assert "2 jobs, 0 failed, 2 run folders" in console.export_text()


COUNTING = """
import retrieval_bench._encode as e
_old = e._encode
def _encode(store, engine, job):
    print("ENCODES", store.folder.name, flush=True)
    return _old(store, engine, job)
e._encode = _encode
"""


@pytest.fixture
def parallel(tmp_path: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Starts a sweep of four jobs, two at a time, that tells what it encodes; all its processes are one group."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    (tmp_path / "counting").mkdir()
    (tmp_path / "counting" / "sitecustomize.py").write_text(COUNTING)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "counting"), *sys.path])}
    command = [sys.executable, "-m", "retrieval_bench.commands", "run", "-m", *TINY[:-1], "search=[exact],[hnsw]"]
    command += ["stage=[pretrained]", "similarity=cosine,dot", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    begun = []

    def start() -> "subprocess.Popen[str]":
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        begun.append(subprocess.Popen(command, text=True, env=env, start_new_session=True, **pipes))
        return begun[-1]

    yield start
    for process in begun:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def finished() -> list[Path]:
    return sorted(Path("runs/adhoc").glob("*/record.json"))


def indexes() -> list[set[str]]:
    records = [json.loads(file.read_text()) for file in finished()]
    return [{row["index"] for row in record["rows"]} for record in records]


@pytest.mark.slow
def test_parallel_jobs_encode_once(parallel: Callable[[], "subprocess.Popen[str]"]) -> None:
    process = parallel()
    said, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, said
    assert said.count("ENCODES") == 1, "four jobs at once, one encoder and one data set"
    assert indexes() == [{"null", "exact", "hnsw"}] * 2, "jobs of one run wait for one another, and both are kept"


@pytest.mark.slow
def test_parallel_jobs_survive_a_kill(parallel: Callable[[], "subprocess.Popen[str]"]) -> None:
    process = parallel()
    deadline = monotonic() + 600
    while not finished() and process.poll() is None and monotonic() < deadline:
        sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not list(Path("runs/sweeps").glob("*/jobs.csv")), "it was killed before it wrote its table"
    (kept, *_) = finished()
    measured = pd.read_parquet(kept.parent / "queries.parquet")
    process = parallel()
    said, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, said
    assert "ENCODES" not in said, "what was encoded before the kill is not encoded again"
    assert {row["status"] for row in jobs()} == {"ok"}
    assert indexes() == [{"null", "exact", "hnsw"}] * 2
    again = pd.read_parquet(kept.parent / "queries.parquet")
    lines = [set(map(tuple, table[measured.columns].astype(str).to_numpy())) for table in (measured, again)]
    assert lines[0] <= lines[1], "what was timed before the kill is not timed again"
