"""`from=RUN`: a run that starts from another one's embeddings and configuration."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval_bench import run
from retrieval_bench.cli import composed, experiment
from retrieval_bench.commands import main
from retrieval_bench.errors import BadConfig, CorruptInput, DamagedRecord
from retrieval_bench.origin import moved
from retrieval_bench.pipeline import run_experiment
from retrieval_bench.record import RunRecord
from retrieval_bench.request import Request
from retrieval_bench.sweep import begin_sweep, current_sweep

pytestmark = pytest.mark.xdist_group("origin")  # what they look at is made once
SMALL = [
    *("data=digits", "data.n_test=60", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none"),
    *("embed.engine=torch", "measure.max_queries=10", "measure.passes=2", "measure.batch_threads=1", "logger=[]"),
]
HNSW = ["+search@search.hnsw_m8=hnsw", "search.hnsw_m8.m=8", "search.hnsw_m8.efforts=[16]"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RETRIEVAL_BENCH_CACHE", str(folder / "cache"))
        return run([*SMALL, "search=[exact]", *HNSW, f"paths.runs={folder / 'runs'}"])


@pytest.fixture
def origin(made: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run below the current folder, with a cache of its own that holds the embeddings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    shutil.copytree(made.folder.parents[2] / "cache", tmp_path / "cache")
    return Path(shutil.copytree(made.folder, Path("runs/adhoc") / made.run_id))


def no_encoding(*args: object) -> None:
    raise AssertionError("encoded")


@pytest.mark.slow
def test_takes_the_embeddings_and_the_configuration(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from retrieval_bench import _encode

    monkeypatch.setattr(_encode, "_encode", no_encoding)
    record = run([f"from={origin}", "search=[hnsw_m8]", "k=[5]", "similarity=dot", "logger=[]"])
    assert record.folder != origin
    assert {row["index"] for row in record.rows} == {"null", "hnsw_m8"}
    assert record.config["search"]["hnsw_m8"]["m"] == 8, "a name of the run's means the run's parameters"
    old = RunRecord.load(origin)
    assert record.config["data"] == old.config["data"] and record.config["measure"] == old.config["measure"]
    assert (record.config["k"], record.config["similarity"]) == ([5], "dot")
    assert record.data_fingerprint == old.data_fingerprint


def test_without_overrides_it_is_that_run(origin: Path) -> None:
    before = RunRecord.load(origin)
    assert run([f"from={origin}", "logger=[]"]) == before


@pytest.mark.slow
def test_lost_embeddings_are_made_again_and_that_is_said(origin: Path) -> None:
    shutil.rmtree("cache/embeddings")
    said: list[str] = []
    run_experiment(experiment([f"from={origin}", "search=[exact]", "k=[4]", "logger=[]"]), say=said.append)
    assert [line for line in said if "no longer" in line] == [
        f"the embeddings of {origin} are no longer in {Path('cache').resolve()}: making them again"
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data=cars196", r"data= decides the embeddings.*leave one of them out"),
        ("encoder.model=resnet18", r"encoder\.model= decides the embeddings"),
        ("pool=gem", "pool= decides the embeddings"),
        ("+data.n_test=3", r"data\.n_test= decides the embeddings"),
        ("embed.precision=bfloat16", r"embed\.precision= decides the embeddings"),
        ("stage=[random]", r"has embeddings of stage=\['pretrained'\] only"),
        ("experiment=quickstart", "both set a whole configuration"),
        ("search=[hnsw_m9]", "did you mean hnsw_m8"),
        ("measure.pases=3", "did you mean passes"),
        ("transfrm=[centring]", r"did you mean transform .* encoder, experiment, .* transform$"),
        ("from=other", "takes one run"),
    ],
)
def test_what_does_not_go_with_it(origin: Path, override: str, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        experiment([f"from={origin}", override])


def test_what_decides_no_vector_is_free(origin: Path) -> None:
    assert composed([f"from={origin}", "embed.batch_size=8"])["embed"]["batch_size"] == 8


def test_no_run_there(origin: Path) -> None:
    with pytest.raises(BadConfig, match=f"near it, the likest first: {origin}"):
        experiment([f"from={str(origin)[:-2]}"])
    with pytest.raises(BadConfig, match=f"below it: {origin}"):
        experiment(["from=runs"])
    with pytest.raises(BadConfig, match="from= names no run"):
        experiment(["from="])
    (origin / "record.json").rename(origin / "gone")
    with pytest.raises(BadConfig, match="begun and not finished"):
        experiment([f"from={origin}"])


def changed(origin: Path, change: dict[str, Any]) -> None:
    file = origin / "record.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))


def test_records_that_cannot_be_used(origin: Path) -> None:
    whole = (origin / "record.json").read_text()
    changed(origin, {"schema": 0})
    with pytest.raises(CorruptInput, match="schema 0, this version 1"):
        experiment([f"from={origin}"])
    (origin / "record.json").write_text(whole[:500])
    with pytest.raises(DamagedRecord, match="makes the record anew"):
        experiment([f"from={origin}"])
    (origin / "record.json").write_text(whole)
    changed(origin, {"data_fingerprint": "another"})
    with pytest.raises(BadConfig, match="was measured on any more"):
        run([f"from={origin}", "logger=[]"])


def test_another_persons_run_constructs_nothing_foreign(origin: Path) -> None:
    config = json.loads((origin / "record.json").read_text())["config"]
    evil = {"_target_": "shutil.copyfile", "_partial_": True, "src": "a", "dst": "b"}
    changed(origin, {"config": config | {"search": {"x": evil}, "allow": ["shutil.copyfile"]}})
    with pytest.raises(BadConfig, match="not one of retrieval_bench's"):
        experiment([f"from={origin}"])
    for part in ({"search": {"../../x": evil}}, {"search": {"x": {"defaults": ["/data: glyphs"]}}}, {"metric": 3},
                 {"measure": config["measure"] | {"defaults": []}}, {"measure": {}}):  # fmt: skip
        changed(origin, {"config": config | part})
        with pytest.raises(CorruptInput, match="is not what a run writes"):
            experiment([f"from={origin}"])
    changed(origin, {"config": config | {"name": "${oc.env:HOME}"}})
    with pytest.raises(CorruptInput, match="is not what a run writes"):
        experiment([f"from={origin}"])


@pytest.mark.slow
def test_a_sweep_starts_from_it(origin: Path) -> None:
    assert main(["run", "-m", f"from={origin}", "search=[exact]", "logger=[]", "k=[2],[3]"]) == 0
    assert sorted(RunRecord.load(f.parent).config["k"] for f in Path("runs/adhoc").glob("*/record.json")) == [
        [2], [3], [10],
    ]  # fmt: skip
    assert main(["run", "-m", f"from={origin}", "encoder=timm,none"]) == 2


@pytest.mark.slow
def test_data_that_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    Path("old").mkdir()
    noise = np.random.default_rng(0)
    for n in range(8):
        Image.fromarray(noise.integers(0, 255, (32, 32, 3), np.uint8)).save(f"old/{n}.png")
    typed = [part for part in SMALL if not part.startswith("data")]
    made = run([*typed, "data=image_folder", "data.root=old", "search=[exact]", "metric=[]", "k=[3]"])
    Path("old").rename("new")
    start, ask = [f"from={made.folder}", "logger=[]"], ["query", str(made.folder), "new/3.png", "-k", "2"]
    assert main(["run", *start]) == 2
    assert "type data.root=FOLDER" in capsys.readouterr().err
    assert run([*start, "data.root=new"]) == made, "they are the same data, so it is the same run"
    assert run([*start, "data.root=new", "k=[2]"]).config["data"]["root"].endswith("/new")
    assert main(ask) == 2
    assert "type --root FOLDER" in " ".join(capsys.readouterr().err.split())
    assert main([*ask, "--root", "new"]) == 0
    assert "3.png" in capsys.readouterr().out and Path("3_neighbours.png").exists()
    Path("new/0.png").unlink()
    with pytest.raises(BadConfig, match="was measured on any more"):
        run([*start, "data.root=new"])


def test_files_of_data_that_moved(tmp_path: Path) -> None:
    (tmp_path / "items.csv").touch()
    gone = tmp_path / "gone"
    for root in (None, str(gone)):
        found = moved({"k": [1], "data": {"root": root, "table": str(gone / "items.csv"), "n": 3}}, tmp_path)
        assert found == {"k": [1], "data": {"root": str(tmp_path), "table": str(tmp_path / "items.csv"), "n": 3}}
    with pytest.raises(BadConfig, match="are read from no folder"):
        moved({"data": {"n_test": 3}}, tmp_path)


def test_sweeps_from_other_runs_or_configurations_are_other_sweeps(tmp_path: Path) -> None:
    def asked(run: str | None, config_dir: Path | None) -> str:
        origin: Any = None if run is None else SimpleNamespace(record=SimpleNamespace(run_id=run))
        return begin_sweep(tmp_path, ["k=[2],[5]", *Request([], config_dir, origin, []).beside]).folder.name

    folders = [asked(None, None), asked("a", None), asked("b", None), asked("a", tmp_path), asked("a", tmp_path / "x")]
    assert len(set(folders)) == 5 and asked("a", tmp_path) == folders[3]
    assert current_sweep().folder.name == folders[3]
