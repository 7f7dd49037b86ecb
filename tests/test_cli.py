"""The command line as a user types it: mistakes are one message and exit code 2, never a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from retrieval_bench.commands import main

SMALL = ["data=digits", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none", "embed.engine=torch"]


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What a refused command prints; whitespace folded, since the terminal wraps lines."""
    assert main(list(argv)) == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=glyph"], "there is no data=glyph; did you mean glyphs?"),
        (["encoder=efficientnet_lite9"], "did you mean efficientnet_lite0?"),
        (["search=[exact,hnws]"], "there is no search=hnws; did you mean hnsw?"),
        (["simlarity=dot"], "did you mean similarity"),
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
        (["allow=[os.system]", "+search.x={_target_: subprocess.run}"], "not one of retrieval_bench's"),
        (["k=[10"], "quote lists for the shell"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_name_the_remedy(overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in said(capsys, "run", *overrides)


def test_a_config_file_may_not_reach_for_hydra(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "evil.yaml"
    for line in (
        "callbacks: {x: {_target_: os.system, command: 'true'}}",
        "searchpath: [file:///etc]",
        "job_logging: {version: 1, root: {level: DEBUG}}",
    ):
        file.write_text(f"# @package _global_\nhydra:\n  {line}\n")
        text = said(capsys, "run", "experiment=evil", "--config-dir", str(tmp_path))
        assert line.partition(":")[0] in text, line
    file.write_text("# @package _global_\nallow: [os.system]\n")
    assert "command line only" in said(capsys, "run", "experiment=evil", "--config-dir", str(tmp_path), *SMALL)
    file.write_text("# @package _global_\nhydra:\n  launcher: {_target_: os.system}\n")
    assert "not a Hydra plugin" in said(capsys, "run", "experiment=evil", "--config-dir", str(tmp_path))


def test_a_missing_config_dir_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--config-dir nowhere is not a folder" in said(capsys, "run", "--config-dir", "nowhere")


def test_no_run_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no finished run" in said(capsys, "query", str(tmp_path), "a.jpg")
    assert "holds no finished run" in said(capsys, "compare", str(tmp_path), str(tmp_path))


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
