"""The command line as a user types it: mistakes are one message and exit code 2, never a traceback."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from retrieval_bench import commands
from retrieval_bench.commands import main

SMALL = ["data=digits", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none", "embed.engine=torch"]
TINY = [*SMALL, "data.n_test=100", "measure.max_queries=20", "logger=[]", "search=[exact]"]
COPY = "{_target_: shutil.copyfile, src: victim.txt, dst: stolen.txt}"


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is written into the checkout or the user's cache, and real data are not found."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    (folder / "victim.txt").write_text("secret")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RETRIEVAL_BENCH_DATA", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return folder


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What a refused command prints; whitespace folded, since the terminal wraps lines."""
    assert main(list(argv)) == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=glyph"], "there is no data=glyph; did you mean glyphs?"),
        (["encoder=efficientnet_lite9"], "did you mean efficientnet_lite0?"),
        (["search=[exact,hnws]"], "there is no search=hnws; did you mean hnsw or hnswlib?"),
        (["simlarity=dot"], "did you mean similarity"),
        (["form=runs/adhoc/1a2b"], "did you mean from"),
        (["similarity=cosin"], "similarity=cosin does not exist; did you mean cosine?"),
        (["stage=[pretraind]"], "did you mean pretrained"),
        (["measure.pases=3"], "measure has no 'pases'; did you mean passes"),
        (["search.ivf.nlst=3"], "search.ivf has no 'nlst'; did you mean nlist?"),
        (["+search.ivf.nlst=3"], "search.ivf has no parameter 'nlst'; did you mean nlist?"),
        (["k=[10,ten]"], "whole numbers from 1 are needed"),
        (["k=[]"], "whole numbers from 1 are needed"),
        (["seed=x"], "a whole number is needed"),
        (["measure.passes=many"], "measure.passes='many': a whole number is needed"),
        (["data=cars196"], "data.root"),
        (["data=vectors", "data.gallery=missing.npy"], "missing.npy"),
        (["data=digits", "encoder=none"], "needs an encoder"),
        (["search=[]"], "no index to measure"),
        (
            ["+search={a..b: {_target_: retrieval_bench.search.exact.Exact, _partial_: true}}"],
            "its name becomes a file's",
        ),
        (["allow=[os.system]", "+search.x={_target_: subprocess.run}"], "not one of retrieval_bench's"),
        (["k=[10"], "quote lists for the shell"),
        (["search.exact._partial_=false"], "search.exact._partial_=False: true is needed"),
        (["+data._partial_=true"], "data._partial_=True: false is needed"),
        (["+search.x={a: 1}"], "search.x has no _target_"),
        (["allow=my_index.MyIndex"], "one list is needed"),
        (["k=0"], "whole numbers from 1 are needed, for instance k=[10,100]"),
        (["stage=[]"], "type stage=[pretrained] or stage=[random]"),
        (["k=1,2"], "k=1,2 is a sweep: write k=[1,2] for one run with all of them, or add -m"),
        (["data=digits,glyphs"], "data=digits,glyphs is a sweep: add -m"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_name_the_remedy(overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in said(capsys, "run", *overrides)


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["experiment=evil", "experiment=harmless,evil"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"callbacks: {{x: {COPY}}}", "shutil.copyfile within hydra, which is not a Hydra plugin"),
        ("callbacks: ${evil}", "shutil.copyfile within hydra"),
        ("searchpath: [file:///etc]", "hydra.searchpath"),
        ("job_logging: {version: 1, root: {level: DEBUG}}", "sets hydra.job_logging"),
        ("job: {env_set: {PATH: evil}}", "sets hydra.job.env_set"),
        ("run: {dir: elsewhere}", "sets hydra.run"),
        ("sweep: {dir: elsewhere}", "sets hydra.sweep"),
        ("launcher: {_target_: shutil.copyfile}", "shutil.copyfile within hydra"),
        ("launcher: {_target_: hydra._internal.core_plugins.basic_launcher.logging.os.system}", "not a Hydra plugin"),
        (f"sweeper: {{params: {COPY}}}", "shutil.copyfile within hydra"),
        ("sweeper: {params: '${evil}'}", "shutil.copyfile within hydra"),
        ("sweeper: {_target_: omegaconf.OmegaConf.save}", "not a Hydra plugin"),
        ("sweeper: {params: {hydra.job_logging.root.level: DEBUG}}", "sets hydra.sweeper.params.hydra.job_logging"),
        ("sweeper: {params: {+mine: deeper}}", "sets hydra.job.env_set"),
    ],
)
def test_a_config_file_may_not_reach_for_hydra(
    choice: str, line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mode = ["-m"] if "," in choice or "deeper" in line else []  # only a sweep composes these
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "harmless.yaml").write_text("# @package _global_\nname: harmless\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "deeper.yaml").write_text("# @package _global_\nhydra: {job: {env_set: {A: b}}}\n")
    evil = f"# @package _global_\nevil: {COPY}\nhydra:\n  {line}\n"
    (tmp_path / "experiment" / "evil.yaml").write_text(evil)
    assert message in said(capsys, "run", *mode, choice, "--config-dir", str(tmp_path), *TINY)
    assert [file.name for file in Path().iterdir()] == ["victim.txt"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", [[], ["-m"]], ids=["run", "multirun"])
def test_permission_is_typed_and_nothing_else(
    mode: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experiment").mkdir()
    evil = f"# @package _global_\nallow: [shutil.copyfile]\nsearch: {{x: {COPY}}}\n"
    (tmp_path / "experiment" / "evil.yaml").write_text(evil)
    argv = ["run", *mode, "experiment=evil", "--config-dir", str(tmp_path), *TINY]
    assert "command line only" in said(capsys, *argv)
    assert "not one of retrieval_bench's" in said(capsys, *argv, "allow=[os.system]")
    assert not Path("stolen.txt").exists()


@pytest.mark.slow
def test_a_sweep_of_two_seeds_runs_both() -> None:
    assert main(["run", "-m", *TINY, "seed=0,1"]) == 0
    records = [json.loads(file.read_text()) for file in Path("runs/adhoc").glob("*/record.json")]
    assert sorted(record["config"]["seed"] for record in records) == [0, 1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pool=average,averag"], "there is no pool=averag; did you mean average?"),
        (["search.ivf.nlst=3,4"], "search.ivf has no 'nlst'; did you mean nlist?"),
        (["similarity=cosin,cosi"], "similarity=cosin does not exist; did you mean cosine?"),
        (["k=[0],[-1]"], "whole numbers from 1 are needed"),
        (["allow=[a.B],[c.D]"], "one list is needed"),
        (["seed=0,1", "hydra/launcher=nowhere"], "hydra/launcher=nowhere"),
    ],
)
def test_mistakes_in_a_sweep_are_one_message(
    overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "run", "-m", *SMALL, "search=[ivf]", "logger=[]", *overrides)
    assert message in text and "Traceback" not in text


OWN = """
from retrieval_bench.search.exact import Exact


class MyIndex(Exact):
    pass


class Broken(Exact):
    def build(self, vectors, similarity, seed):
        raise RuntimeError("my own mistake")
"""


def own_backend(folder: Path, name: str) -> list[str]:
    """A backend beside the current folder's, told by --config-dir; its overrides."""
    (folder / "conf" / "search").mkdir(parents=True)
    (folder / f"{name}.py").write_text(OWN)
    return ["--config-dir", str(folder / "conf"), f"allow=[{name}.MyIndex,{name}.Broken]"]


@pytest.mark.slow
def test_an_own_backend_is_swept_strictly_and_asked(apart: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "cli_own_backend"
    argv = own_backend(apart, name)
    for index, target in (("mine", "MyIndex"), ("broken", "Broken")):
        text = f"# @package search.{index}\n_target_: {name}.{target}\n_partial_: true\n"
        (apart / "conf" / "search" / f"{index}.yaml").write_text(text)
    argv = ["run", "-m", *TINY[:-1], "search=[mine],[mine,broken]", "strict=true", *argv]
    assert main(argv) == 1, "strict's exit code counts in a sweep, too"
    (run, *_) = [f.parent for f in Path("runs/adhoc").glob("*/points.parquet")]
    assert set(pd.read_parquet(run / "points.parquet")["index"]) >= {"mine"}

    from PIL import Image

    Image.new("RGB", (32, 32)).save("x.png")
    refused = said(capsys, "query", str(run), "x.png")
    assert f"{name}.MyIndex, which is not one of retrieval_bench's" in refused
    allow = ["--allow", f"{name}.MyIndex", "--allow", f"{name}.Broken"]
    assert main(["query", str(run), "x.png", "--index", "mine", *allow]) == 0


@pytest.mark.slow
def test_a_foreign_record_runs_nothing(apart: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *TINY]) == 0
    (file,) = Path("runs/adhoc").glob("*/record.json")
    record = json.loads(file.read_text())
    record["config"]["allow"] = ["shutil.copyfile"]
    record["config"]["search"]["x"] = {"_target_": "shutil.copyfile", "src": "victim.txt", "dst": "stolen.txt"}
    file.write_text(json.dumps(record))
    assert "not one of retrieval_bench's" in said(capsys, "query", str(file.parent), "x.png")
    assert not (apart / "stolen.txt").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST])
def test_what_the_file_system_refuses_is_one_message(
    number: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(args: object) -> int:
        raise OSError(number, os.strerror(number), "some/file")

    monkeypatch.setattr(commands, "_doctor", refuse)
    assert f"{os.strerror(number)}: some/file" in said(capsys, "doctor")


def test_a_page_that_may_not_lie_there_names_the_option_of_its_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(args: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "no/permission/x.html")

    monkeypatch.setattr(commands, "_report", refuse)
    told = said(capsys, "report", "run", "--out", "no/permission/x.html")
    assert "choose another place with --out FILE" in told and "paths.runs" not in told


def test_a_place_where_no_folder_can_be_is_one_message(
    apart: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def mkdir(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if apart / "proc" in path.parents:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        make(path, mode, parents, exist_ok)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    refused = said(capsys, "run", *TINY, f"paths.runs={apart / 'proc'}")
    assert f"no folder can be made at {apart / 'proc'}" in refused and "paths.runs=FOLDER" in refused
    assert "paths.cache=FOLDER" in said(capsys, "run", *TINY, f"paths.cache={apart / 'proc' / 'cache'}")


def test_an_interruption_is_told_without_importing_anything(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(args: object) -> int:
        monkeypatch.setitem(sys.modules, "rich.console", None)
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_doctor", interrupt)
    assert main(["doctor"]) == 130
    assert "what was finished is kept" in capsys.readouterr().err


def test_other_faults_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(args: object) -> int:
        raise OSError(errno.EIO, "a fault")

    monkeypatch.setattr(commands, "_doctor", fail)
    with pytest.raises(OSError, match="a fault"):
        main(["doctor"])


def test_a_missing_config_dir_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--config-dir nowhere is not a folder" in said(capsys, "run", "--config-dir", "nowhere")


def test_no_run_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no finished run" in said(capsys, "query", str(tmp_path), "a.jpg")
    assert "no finished run" in said(capsys, "compare", str(tmp_path), str(tmp_path))


@pytest.mark.parametrize("argv", [["--help"], ["run", "--help"], ["run", "data=glyph"]])
def test_help_and_mistakes_do_not_wait_for_torch(argv: list[str]) -> None:
    code = (
        "import sys; from retrieval_bench.commands import main\n"
        f"try: main({argv!r})\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'timm', 'pytorch_lightning', 'faiss', 'pandas', 'matplotlib', 'wandb'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_shows_the_composed_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--cfg", "k=[3]", "data=digits"]) == 0
    text = capsys.readouterr().out
    assert "k:\n- 3\n" in text and "_target_: retrieval_bench.data.digits.Digits" in text
