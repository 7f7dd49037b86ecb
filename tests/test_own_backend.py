"""A backend of a user's own: one file and one yaml outside the package, with the package installed from its wheel."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
BACKEND = '''
from pathlib import Path

import numpy as np

from retrieval_bench.search.base import Index
from retrieval_bench.types import Similarity


class MyIndex(Index):
    """Exact search over every n-th vector."""

    similarities = frozenset({Similarity.COSINE, Similarity.DOT})
    knob = "step"

    def __init__(self, broken=False, efforts=(1,)):
        self.broken, self.efforts = broken, efforts

    def build(self, vectors, similarity, seed):
        if self.broken:
            raise RuntimeError("my own mistake")
        self.vectors = np.asarray(vectors, np.float32)

    def search(self, queries, k, effort):
        scores = np.full((len(queries), len(self.vectors)), -np.inf, np.float32)
        scores[:, ::effort] = queries @ self.vectors[::effort].T
        rows = np.argsort(-scores, axis=1)[:, :k]
        found = np.take_along_axis(scores, rows, axis=1)
        return np.where(np.isinf(found), -1, rows), found

    def save(self, path):
        np.save(Path(path) / "vectors.npy", self.vectors)

    def load(self, path):
        self.vectors = np.load(Path(path) / "vectors.npy")
'''
YAML = """# @package search.{name}
_target_: my_index.MyIndex
_partial_: true
broken: {broken}
efforts: [1, 4]
"""


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


def test_runs_from_the_wheel_in_an_empty_directory(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "my_index.py").write_text(BACKEND)
    (tmp_path / "my_conf" / "search").mkdir(parents=True)
    for name in ("my_index", "my_broken"):
        text = YAML.format(name=name, broken=str(name == "my_broken").lower())
        (tmp_path / "my_conf" / "search" / f"{name}.yaml").write_text(text)
    overrides = [
        *("data=digits", "data.n_test=100", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none"),
        *("embed.engine=torch", "measure.max_queries=20", "logger=[]", "search=[exact,my_index,my_broken]"),
    ]
    refused = retrieval_bench(wheel, tmp_path, "run", "--config-dir", "my_conf", *overrides)
    assert refused.returncode == 2
    assert "type allow=[my_index.MyIndex]" in " ".join(refused.stderr.split()) and "Traceback" not in refused.stderr

    allowed = [*overrides, "allow=[my_index.MyIndex]"]
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
