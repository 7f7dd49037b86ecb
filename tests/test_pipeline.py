"""Whole runs on small data: what a run writes, what a second one leaves alone, and what a killed one keeps."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrieval_bench import compare, load_runs, run
from retrieval_bench.errors import BadConfig, CorruptInput, RunInUse
from retrieval_bench.record import RunRecord, only_one

pytestmark = pytest.mark.xdist_group("pipeline")  # what they look at is made once
SMALL = [
    *("data=digits", "data.n_test=100", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none"),
    *("embed.engine=torch", "measure.max_queries=20", "measure.batch_threads=1", "logger=[]"),
]
IVF, HNSW = "search.ivf.efforts=[1,4]", "search.hnsw.efforts=[16,32]"
TIMES = r"latency_|qps_|build_s$|peak_rss|encode_ms"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """One small run that several tests look at."""
    folder = tmp_path_factory.mktemp("done")
    return run([*SMALL, IVF, HNSW, f"paths.runs={folder / 'runs'}", f"paths.cache={folder / 'cache'}"])


def numbers(points: pd.DataFrame) -> pd.DataFrame:
    """Points without times, in a fixed order."""
    kept = points.drop(columns=list(points.filter(regex=TIMES).columns))
    return kept.sort_values(["stage", "index", "build_seed", "effort", "k", "half"]).reset_index(drop=True)


def test_files_and_columns(done: RunRecord) -> None:
    names = {p.name for p in done.folder.iterdir()}
    assert {
        "config.yaml",
        "record.json",
        "points.parquet",
        "queries.parquet",
        "neighbours.parquet",
        "pareto.png",
    } <= names
    points = pd.read_parquet(done.folder / "points.parquet")
    wanted = """run_id stage data encoder dim n_gallery n_queries similarity index index_params knob effort build_seed k
        threads ann_recall distance_ratio hit_rate@1 exact_hit_rate@1 ann_loss_hit_rate@1 exact_map_at_r latency_p50_ms
        latency_p95_ms latency_p99_ms latency_mean_ms latency_floor_ms encode_ms qps_single qps_batch build_s
        index_bytes peak_rss_bytes candidate_fraction empty_rate half status error
        ann_recall_lo ann_recall_hi latency_p50_ms_lo"""
    assert set(wanted.split()) <= set(points.columns)
    assert set(points["half"]) == {"all", "tune", "report"}
    rows = points[points["half"] == "all"]
    assert list(rows["index"]) == ["null", "exact", "ivf", "ivf", "hnsw", "hnsw"]
    exact = rows[rows["index"] == "exact"].iloc[0]
    assert exact["ann_recall"] == 1.0 and exact["ann_loss_hit_rate@1"] == 0.0 and exact["distance_ratio"] == 1.0
    assert exact["n_gallery"] == exact["n_queries"] == 100
    queries = pd.read_parquet(done.folder / "queries.parquet")
    assert set(queries["pass"]) == {-1, 0, 1, 2, 3, 4}
    assert len(queries[(queries["index"] == "exact") & (queries["pass"] == -1)]) == 100
    lists = pd.read_parquet(done.folder / "neighbours.parquet")
    own = [row.query_id in row.ids for row in lists.itertuples()]
    assert not any(own), "a query stands among its own answers"


def test_no_path_of_this_machine_is_stored(done: RunRecord) -> None:
    top = str(done.folder.parents[2])
    for name in ("record.json", "config.yaml"):
        assert top not in (done.folder / name).read_text()


def test_record_round_trip(done: RunRecord) -> None:
    assert RunRecord.load(done.folder) == done
    assert RunRecord.from_json(json.loads(json.dumps(done.to_json()))) == done
    assert load_runs(done.folder.parent)["run_id"].unique().tolist() == [done.run_id]


def test_the_label_metrics_are_those_of_a_plain_script(done: RunRecord) -> None:
    cache = Path(done.folder.parents[2]) / "cache" / "embeddings"
    (file,) = cache.glob("*/vectors.npy")
    vectors = np.load(file).astype(np.float64)
    from retrieval_bench.data.digits import Digits

    items = Digits(image_size=32, n_test=100).gallery()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -np.inf)
    same = items.labels[np.argmax(scores, axis=1)] == items.labels
    row = next(r for r in done.rows if r["index"] == "exact" and r["half"] == "all")
    assert row["exact_hit_rate@1"] == pytest.approx(same.mean(), abs=1e-12)
    assert row["hit_rate@1"] == row["exact_hit_rate@1"]


@pytest.mark.slow
def test_a_second_run_computes_nothing_and_a_new_index_only_itself(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run([*SMALL, "search=[exact,ivf]", IVF])
    before = {p: p.stat().st_mtime_ns for p in first.folder.rglob("*") if p.is_file() and p.name != ".lock"}
    assert run([*SMALL, "search=[exact,ivf]", IVF]) == first
    assert {p: p.stat().st_mtime_ns for p in before} == before

    started: list[str] = []
    from retrieval_bench import _job

    original = _job.Job.spawn
    monkeypatch.setattr(_job.Job, "spawn", lambda self, limits: (started.append(self.name), original(self, limits))[1])
    second = run(
        [*SMALL, "search=[exact,ivf]", IVF, "+search@search.ivf2=ivf", "search.ivf2.nlist=5", "search.ivf2.efforts=[2]"]
    )
    assert started == ["ivf2"]
    assert second.folder == first.folder
    assert set(second.points["index"]) == {"null", "exact", "ivf", "ivf2"}
    more = run([*SMALL, "search=[ivf]", "search.ivf.efforts=[2]"]).points
    assert set(more[more["index"] == "ivf"]["effort"]) == {1, 2, 4}, "efforts measured before keep their rows"
    again = run([*SMALL, "search=[exact]"])
    assert set(again.points["index"]) == {"null", "exact", "ivf", "ivf2"}, "a smaller command loses nothing"


@pytest.mark.slow
def test_force_measures_again(place: Path) -> None:
    first = run([*SMALL, "search=[exact]"])
    second = run([*SMALL, "search=[exact]", "force=true"])
    assert second.folder == first.folder
    pd.testing.assert_frame_equal(numbers(first.points), numbers(second.points))
    assert [r["latency_mean_ms"] for r in first.rows] != [r["latency_mean_ms"] for r in second.rows]


@pytest.mark.slow
def test_two_runs_in_one_folder(place: Path) -> None:
    record = run([*SMALL, "search=[exact]"])
    with only_one(record.folder), pytest.raises(RunInUse, match="another process is working in"):
        run([*SMALL, "search=[exact]", "force=true"])


@pytest.mark.slow
def test_k_larger_than_the_gallery(place: Path) -> None:
    with pytest.raises(BadConfig, match=r"k=100 is larger than the gallery \(99 items to find\); type k=\[10\]"):
        run([*SMALL, "k=[100]"])
    assert run([*SMALL, "k=[99]", "search=[exact]"]).points["ann_recall"].dropna().eq(1.0).all()


def vectors(place: Path, values: np.ndarray, *more: str) -> list[str]:
    np.save(place / "v.npy", values)
    return [
        "data=vectors",
        "data.gallery=v.npy",
        "search=[exact]",
        "logger=[]",
        "measure.max_queries=5",
        "k=[1]",
        *more,
    ]


@pytest.mark.slow
def test_vectors_that_cannot_be_searched(place: Path) -> None:
    good = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    bad = good.copy()
    bad[3, 1] = np.nan
    with pytest.raises(CorruptInput, match=r"NaN or infinite values \(in float32\) in the vectors of rows \[3\]"):
        run(vectors(place, bad))
    bad[3] = 0
    with pytest.raises(CorruptInput, match="zero vectors have no direction"):
        run(vectors(place, bad))
    record = run(vectors(place, bad, "similarity=euclidean"))
    assert record.points["stage"].unique().tolist() == ["given"]
    with pytest.raises(BadConfig, match="nothing is left to find"):
        run(vectors(place, good[:1]))
    np.save(place / "v.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CorruptInput, match="pickle"):
        run(["data=vectors", "data.gallery=v.npy"])


@pytest.mark.slow
def test_a_gallery_of_one(place: Path) -> None:
    np.save(place / "q.npy", np.ones((3, 4), np.float32))
    record = run(vectors(place, np.ones((1, 4), np.float32), "data.queries=q.npy"))
    assert record.points[record.points["index"] == "exact"]["ann_recall"].tolist() == [1.0] * 3


@pytest.mark.slow
def test_compare_pairs_two_encoders_and_refuses_other_protocols(place: Path) -> None:
    a = run([*SMALL, "search=[exact]"])
    b = run([*SMALL, "search=[exact]", "encoder.model=test_efficientnet"])
    table = compare(a.folder, b.folder)
    assert "hit_rate@1" in set(table["metric"])
    assert any("model" in key for key in table.attrs["differs"])
    from retrieval_bench.errors import UnlikeProtocols

    c = run([*SMALL, "search=[exact]", "k=[5]"])
    with pytest.raises(UnlikeProtocols, match="k"):
        compare(a.folder, c.folder)


PROGRAM = """
import sys, time
from retrieval_bench import cli, pipeline
marker = sys.argv[1]
def progress(task, done, total):
    if marker in task and (total <= 1 or done):
        print("here", flush=True)
        time.sleep(60)
pipeline.run_experiment(cli.experiment(sys.argv[2:]), progress)
"""


@pytest.mark.parametrize(
    "marker",
    [
        pytest.param("encode items", marks=pytest.mark.slow),
        pytest.param("hnsw: building", marks=pytest.mark.slow),
        pytest.param("pass 3", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_resumes_to_the_same_record(marker: str, place: Path) -> None:
    overrides = [*SMALL, IVF, HNSW, "embed.batch_size=8"]
    (place / "program.py").write_text(PROGRAM)
    apart = [*overrides, "paths.runs=whole", "paths.cache=cache_whole"]
    # In a process of its own too: what other tests did to torch in this one can change the last bit of an embedding.
    subprocess.run([sys.executable, "program.py", "never", *apart], check=True)
    whole = run(apart)
    process = subprocess.Popen(
        [sys.executable, "program.py", marker, *overrides], stdout=subprocess.PIPE, text=True, env=os.environ.copy()
    )
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    resumed = run(overrides)
    assert resumed.run_id == whole.run_id
    pd.testing.assert_frame_equal(numbers(resumed.points), numbers(whole.points))
    left, right = (pd.read_parquet(r.folder / "neighbours.parquet") for r in (resumed, whole))
    pd.testing.assert_frame_equal(left, right)


@pytest.mark.slow
def test_a_full_disk_is_told_and_loses_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from errno import ENOSPC

    from retrieval_bench.errors import OutOfSpace

    original = Path.replace

    def full(self: Path, target: Path) -> Path:
        if Path(target).name == "points.parquet":
            raise OSError(ENOSPC, "No space left on device")
        return original(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OutOfSpace, match="free some space and type the same command again"):
            run([*SMALL, "search=[exact]"])
    (folder,) = (place / "runs" / "adhoc").iterdir()
    assert not list(folder.rglob("*.part"))
    before = time.time_ns()
    record = run([*SMALL, "search=[exact]"])
    kept = [p for p in (folder / "results").rglob("neighbours-*") if p.stat().st_mtime_ns < before]
    assert kept and record.folder.name == folder.name
    shutil.rmtree(place / "runs")


@pytest.mark.slow
def test_a_lost_figure_and_damaged_notes_are_made_again(place: Path) -> None:
    folder = run([*SMALL, "search=[exact]"]).folder
    told = (folder / "told.json").read_text()
    for damaged in ("{", "[]", told):
        (folder / "told.json").write_text(damaged)
        (folder / "pareto.png").unlink()
        run([*SMALL, "search=[exact]"])
        assert (folder / "pareto.png").exists() and (folder / "told.json").read_text() == told


@pytest.mark.slow
def test_force_keeps_the_other_indexes(place: Path) -> None:
    first = run([*SMALL, "search=[exact,ivf]", IVF])
    kept = [row for row in first.rows if row["index"] == "ivf"]
    second = run([*SMALL, "search=[exact]", "force=true"])
    assert [row for row in second.rows if row["index"] == "ivf"] == kept
    assert run([*SMALL, "search=[exact,ivf]", IVF]) == second, "nothing is missing"


@pytest.mark.slow
def test_rows_judge_each_half_and_depth_by_itself(place: Path) -> None:
    record = run([*SMALL, "search=[exact]", "k=[3,99]", "cuts=[1,3]"])
    rows = record.points[record.points["index"] == "exact"].set_index(["k", "half"])
    for name in ("map_at_r", "r_precision"):  # 20 images a digit: R = 19
        assert rows[name][3].isna().all() and rows[name][99].notna().all()
        assert (rows[f"exact_{name}"][3] == rows[f"exact_{name}"][99]).all()
    queries = pd.read_parquet(record.folder / "queries.parquet")
    every = queries[(queries["pass"] == -1) & (queries["k"] == 99)].set_index("query_id")
    from retrieval_bench.stats import halves

    tune = halves(every.index.to_numpy(), 0)
    assert 0 < tune.sum() < 100
    for half, mask in (("all", slice(None)), ("tune", tune), ("report", ~tune)):
        assert rows.loc[(99, half), "map_at_r"] == pytest.approx(every["map_at_r"][mask].mean(), abs=1e-12)
    assert (rows["candidate_fraction"] == 1.0).all() and (rows["empty_rate"] == 0.0).all()
