"""A backend of a user's own: one file and one yaml outside the package, with the package installed from its wheel."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
BROKEN = """
from my_index import MyIndex


class MyBroken(MyIndex):
    def build(self, vectors, similarity, seed):
        raise RuntimeError("my own mistake")
"""


def told_by_the_readme(language: str, about: str) -> str:
    """The README's only fenced block of a language that mentions something."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    (block,) = (block for block in blocks if about in block)
    return block


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, unpacked where nothing of the checkout is."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def retrieval_bench(wheel: Path, folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(wheel), "RETRIEVAL_BENCH_CACHE": str(folder / "cache"), "COLUMNS": "100"}
    code = "import sys; from retrieval_bench.commands import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *argv]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_runs_from_the_wheel_in_an_empty_directory(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "my_index.py").write_text(told_by_the_readme("python", "class MyIndex"))
    (tmp_path / "my_broken.py").write_text(BROKEN)
    text = told_by_the_readme("yaml", "_target_: my_index.MyIndex")
    (tmp_path / "my_conf" / "search").mkdir(parents=True)
    (tmp_path / "my_conf" / "search" / "my_index.yaml").write_text(text)
    broken = text.replace("my_index", "my_broken").replace("MyIndex", "MyBroken")
    (tmp_path / "my_conf" / "search" / "my_broken.yaml").write_text(broken)
    overrides = [
        *("data=digits", "data.n_test=100", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none"),
        *("embed.engine=torch", "measure.max_queries=20", "logger=[]", "search=[exact,my_index,my_broken]"),
    ]
    refused = retrieval_bench(wheel, tmp_path, "run", "--config-dir", "my_conf", *overrides)
    assert refused.returncode == 2
    assert re.search(r"type allow=\[my_(index\.MyIndex|broken\.MyBroken)", " ".join(refused.stderr.split()))
    assert "Traceback" not in refused.stderr

    allowed = [*overrides, "allow=[my_index.MyIndex,my_broken.MyBroken]"]
    done = retrieval_bench(wheel, tmp_path, "run", "--config-dir", "my_conf", *allowed)
    assert done.returncode == 0, done.stderr
    assert "my_index" in done.stdout and "my own mistake" in " ".join(done.stdout.split())
    (file,) = tmp_path.glob("runs/adhoc/*/points.parquet")
    points = pd.read_parquet(file).query("half == 'all'").set_index("index")
    steps = points.loc["my_index"].set_index("effort")
    assert steps.loc[1, "ann_recall"] == 1.0 and steps.loc[4, "ann_recall"] < 0.5
    assert points.loc["my_broken", "status"] == "failed"

    strict = retrieval_bench(wheel, tmp_path, "run", "--config-dir", "my_conf", *allowed, "strict=true")
    assert strict.returncode == 1
