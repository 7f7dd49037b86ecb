"""No secret comes into a configuration, a message, or anything that a run writes."""

import sysconfig
from pathlib import Path
from typing import Any

import pytest

from retrieval_bench.cli import composed, experiment
from retrieval_bench.errors import BadConfig
from retrieval_bench.secrecy import hidden, refuse_secrets, refuse_typed, without_places

KEY = "5ecr3t" * 6 + "abcd"


@pytest.mark.parametrize(
    "override",
    [
        f"+logger.wandb.settings.api_key={KEY}",
        f"logger.mlflow.tracking_uri=http://me:{KEY}@localhost:5000",
        "logger.wandb.notes=${oc.env:WANDB_API_KEY}",
        f"logger.wandb.notes=key_{KEY}",
    ],
)
def test_an_override_with_a_secret_is_refused_and_not_repeated(override: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with pytest.raises(BadConfig, match=r"which every record would show") as caught:
        experiment(["data=digits", "logger=[wandb,mlflow]", override])
    assert KEY not in str(caught.value)
    assert override.partition("=")[0].lstrip("+") in str(caught.value)


def test_a_sweep_is_refused_before_hydra_writes_its_overrides_down() -> None:
    with pytest.raises(BadConfig, match=r"api_key holds a secret"):
        refuse_typed(["-m", "k=[5]", f"+logger.wandb.settings.api_key={KEY}"])


def test_the_shipped_configuration_and_names_of_variables_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_KEY", "digits")  # too short to be one
    monkeypatch.setenv("SOME_TOKEN", "")
    refuse_secrets({"search": {"milvus": {"token_env": "MILVUS_TOKEN", "tokens": 8, "tokenizer": "kmeans_words"}}})
    assert composed(["data=digits", "logger=[csv,wandb,mlflow,tensorboard]"])["data"]["_target_"].endswith("Digits")
    refuse_typed(["+logger.wandb.settings.api_key=null"])


def test_messages_hide_users_and_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", KEY)
    assert hidden(f"401 for {KEY} at https://me:pw@host/x") == "401 for *** at https://***@host/x"


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"data": {"password": 12345678}}, "data.password"),
        ({"data": {"root": f"https://me:{KEY}@host/x"}}, "data.root"),
        ({"encoder": {"weights": [f"s3://me:{KEY}@host/x"]}}, "encoder.weights"),
    ],
)
def test_numbers_and_addresses_anywhere_are_looked_at(config: dict[str, Any], named: str) -> None:
    with pytest.raises(BadConfig, match=rf"{named} holds a .*which every record would show") as caught:
        refuse_secrets(config)
    assert KEY not in str(caught.value) and "12345678" not in str(caught.value)


def test_what_is_no_secret_passes() -> None:
    refuse_secrets({"data": {"root": "https://host:80/a@b", "key": None, "has_key": True, "from": "ssh://git@host/x"}})


def test_paths_of_a_machine_are_left_out_of_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    library, run = sysconfig.get_path("purelib"), tmp_path / "runs" / "a"
    given = (
        f'File "{library}/faiss/x.py", line 3 | {run}/index | {tmp_path}/b | {tmp_path}2/c | {tmp_path.parent}/d | /e'
    )
    told = f'File "site-packages/faiss/x.py", line 3 | RUN/index | ./b | ~/{tmp_path.name}2/c | ~/d | /e'
    assert without_places(given, run) == told
