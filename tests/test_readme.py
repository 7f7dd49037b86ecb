"""Every command of the README is one that works: composed, and run on something small where nothing must be fetched."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval_bench.commands import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SPANS = re.findall(r"`(retrieval-bench [^`…]+)`", README)
LINES = [line.split("  #")[0].strip() for line in re.findall(r"^    (retrieval-bench .+)$", README, re.M)]
COMMANDS = list(dict.fromkeys([*SPANS, *LINES]))
RUNS = [command for command in COMMANDS if command.startswith("retrieval-bench run")]
SMALL = ["data.n_test=120", "measure.max_queries=20", "measure.passes=5"]
TRAINED = ["stage=[trained]", "trainer.epochs=1", "sampler.classes=2", "sampler.per_class=4"]
# What is only composed here, and where it is run.
ELSEWHERE = {
    "data=cars196": "needs the images",
    "data=cub200": "needs the images",
    "data=ucf101": "needs the videos; tests/data/test_ucf101.py",
    "convnext_tiny": "fetches weights",
    "milvus": "needs a server; tests/search",
    "experiment=": "minutes; their parts are run in tests/test_conf.py and test_sweep.py",
    "sweep=": "minutes; test_sweep.py, test_study.py",
    "--config-dir": "test_own_backend.py",
    "query": "test_query.py, test_query_clips.py, test_query_moments.py",
    "compare": "test_comparison.py, test_comparison_groups.py",
    "data=video_folder": "tests/data/test_video_folder.py",
    "target.break_even": "needs a large gallery; test_measure_modes.py",
    "data prepare": "fetches; tests/data/test__download.py",
}


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MPLBACKEND", "agg")
    folder = tmp_path / "FOLDER"
    for name in ("left", "right"):
        (folder / name).mkdir(parents=True)
        for i in range(20):
            pixels = np.random.default_rng([i, len(name)]).integers(0, 255, (40, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    parts = ["train", "validation", "test", "test"]
    lines = [f"{name}/{i}.png,{name},{parts[i % 4]}" for name in ("left", "right") for i in range(20)]
    (tmp_path / "items.csv").write_text("path,label,split\n" + "\n".join(lines) + "\n")
    vectors = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
    np.save("base.npy", vectors)
    np.save("query.npy", vectors[:30] + 0.01)
    return tmp_path


def words(command: str) -> list[str]:
    return shlex.split(command)[1:]


def test_the_readme_has_commands() -> None:
    assert len(RUNS) > 25


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in RUNS if "from=" not in c and "my_conf" not in c and " -m " not in c])
def test_a_run_of_the_readme_is_composed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word for word in words(command) if word != "--cfg"] + ["--cfg"]) == 0
    assert "search:" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in COMMANDS if not any(key in c for key in ELSEWHERE)])
def test_a_command_of_the_readme_runs(command: str, apart: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = words(command)
    if "RUN" in command or "runs/" in command:  # it asks a finished run
        training = TRAINED if "weights=" in command else []
        assert main(["run", "data=digits", *SMALL, "logger=[]", *training]) == 0
        (record,) = Path("runs/adhoc").glob("*/record.json")
        typed = [word.replace("runs/adhoc/RUN", str(record.parent)) for word in typed]
    if typed[0] == "run" and "--cfg" not in typed:
        typed = [word.replace("dim=128", "dim=32") for word in typed]  # so few items do not vary in more
        typed = [word.replace("glyphs", "digits").replace("digits,digits", "digits") for word in typed]
        if not any(word.startswith(("data=", "from=")) for word in typed):
            typed += ["data=digits"]
        if "data=digits" in typed:
            typed += SMALL
    assert main(typed) == 0
    assert capsys.readouterr().out.strip()
