"""A yaml is a constructor call, and every shipped configuration binds."""

import importlib
import inspect
import tomllib
from pathlib import Path

import pytest
import yaml

from retrieval_bench.binding import RESERVED, Binder
from retrieval_bench.cli import CONF, composed
from retrieval_bench.doctor import EXTRAS, backend_state, extra_state, needed
from retrieval_bench.errors import BadConfig

# one yaml = one file = one constructor
OWN = (
    "data",
    "search",
    "metric",
    "transform",
    "pool",
    "measure",
    "embed",
    "sampler",
    "augment",
    "clip",
    "flow",
    "moment",
)
COMPLETED = {  # what the caller adds
    "metric": {"judgement", "k"},
    "sampler": {"labels", "seed", "rank", "world"},
}
MANY = {"search", "metric", "transform", "logger", "callback"}
DEFAULTS = yaml.safe_load((CONF / "config.yaml").read_text())["defaults"]
FILES = sorted(p for p in CONF.glob("*/*.yaml"))  # below conf/hydra lie those of Hydra's plugins


def load(file: Path) -> dict:
    return yaml.safe_load(file.read_text())


def target(path: str):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("file", [f for f in FILES if f.parent.name in OWN], ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_yaml_equals_signature(file: Path) -> None:
    node = {k: v for k, v in load(file).items() if k != "defaults"}
    signature = inspect.signature(target(node["_target_"]))
    expected = set(signature.parameters) - COMPLETED.get(file.parent.name, set())
    assert set(node) - RESERVED == expected
    if file.parent.name in {"data", "search", "metric", "transform"}:
        assert node["_target_"].split(".")[:3] == ["retrieval_bench", file.parent.name, file.stem]


@pytest.mark.parametrize(
    "file", [f for f in FILES if f.parent.name not in OWN], ids=lambda f: f"{f.parent.name}/{f.stem}"
)
def test_shared_targets_know_every_parameter(file: Path) -> None:
    node = {k: v for k, v in load(file).items() if k != "defaults"}
    if "_target_" in node and file.stem != "wandb":  # WandbLogger hands the rest to wandb.init; test_track.py runs it
        assert set(node) - RESERVED <= set(inspect.signature(target(node["_target_"])).parameters)


@pytest.mark.parametrize("file", [f for f in FILES if f.parent.name in MANY], ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_choose_many_names_its_package(file: Path) -> None:
    assert file.read_text().splitlines()[0] == f"# @package {file.parent.name}.{file.stem}"
    if file.parent.name == "search":
        assert load(file)["_partial_"] is True, "a backend is constructed inside its worker only"


@pytest.mark.parametrize("name", sorted(f.stem for f in (CONF / "experiment").glob("*.yaml")))
def test_every_experiment_binds(name: str) -> None:
    overrides = [
        line.split(":", 1)[1].strip()
        for line in (CONF / "experiment" / f"{name}.yaml").read_text().splitlines()
        if line.startswith("# Needs:")
    ]
    config = composed([f"experiment={name}", *[o for line in overrides for o in line.split()]])
    Binder(CONF).check(config)
    assert all((CONF / "experiment" / f"{part}.yaml").is_file() for part in config["experiments"])
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    assert "# Question:" in text and "# Command:" in text and "# Expected:" in text


@pytest.mark.slow
@pytest.mark.parametrize("group", sorted({f.parent.name for f in FILES}))
def test_every_option_binds(group: str) -> None:
    for file in sorted((CONF / group).glob("*.yaml")):
        value = f"[{file.stem}]" if group in MANY else file.stem
        if value == "[null]":
            value = "['null']"
        try:
            added = "" if any(group in line for line in DEFAULTS) else "+"  # a group that no run takes yet
            config = composed([f"{added}{group}={value}"])
        except BadConfig as error:
            assert "missing values" in str(error), error  # a mandatory root, say
            continue
        Binder(CONF).check(config)


def test_the_data_set_that_brings_vectors_switches_the_encoder_off() -> None:
    assert composed(["data=vectors", "data.gallery=a.npy"])["encoder"] is None


def test_a_hidden_target_is_refused() -> None:
    with pytest.raises(BadConfig, match=r"not one of retrieval_bench's.*allow=\[os.system\]"):
        Binder(CONF).check({"search": {"x": {"_target_": "os.system", "command": "true"}}})
    with pytest.raises(BadConfig, match=r"torch\.hub\.load"):
        Binder(CONF).check({"data": {"deep": [{"_target_": "torch.hub.load"}]}})


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            {"_target_": "retrieval_bench.search.hnsw.HNSW", "emm": 3},
            "search.hnsw has no parameter 'emm'; did you mean m",
        ),
        ({"_target_": "retrieval_bench.search.hnsw.HNSW", "m": "many"}, "a whole number is needed"),
        ({"_target_": "retrieval_bench.search.hnsw.HNSW", "m": True}, "a whole number is needed"),
        ({"_target_": "retrieval_bench.search.hnsw.HNSW", "_args_": [3]}, "no parameter '_args_'"),
        ({"_target_": "retrieval_bench.search.hnsw.HNWS"}, "Did you mean retrieval_bench.search.hnsw.HNSW"),
    ],
)
def test_misspelt_nodes_name_the_nearest(node: dict, message: str) -> None:
    with pytest.raises(BadConfig) as caught:
        Binder(CONF).check({"search": {"hnsw": node}})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "retrieval_bench.search.hnsw.HNSW"}, "search.x._partial_=False: true is needed"),
        ({"_target_": "retrieval_bench.search.hnsw.HNSW", "_partial_": "yes"}, "search.x._partial_=yes: true is"),
        ({"_target_": "collections.Counter"}, "search.x._partial_=False: true is needed"),
    ],
)
def test_an_index_is_built_in_its_worker_only(node: dict, message: str) -> None:
    with pytest.raises(BadConfig) as caught:
        Binder(CONF, ["collections.Counter"]).check({"search": {"x": node}})
    assert message in str(caught.value)


def test_data_are_built_at_once() -> None:
    for target in ("retrieval_bench.data.digits.Digits", "collections.Counter"):
        with pytest.raises(BadConfig, match=r"data\._partial_=True: false is needed"):
            Binder(CONF, ["collections.Counter"]).check({"data": {"_target_": target, "_partial_": True}})


def test_what_each_data_set_needs() -> None:
    assert {file.stem: needed(file) for file in (CONF / "data").glob("*.yaml") if needed(file)} == {
        "image_folder": "data.root=…",
        "image_table": "data.table=…",
        "video_folder": "data.root=…",
        "video_table": "data.table=…",
        "vectors": "data.gallery=…",
        "cars196": "data.root=… or RETRIEVAL_BENCH_DATA",
        "omniglot": "data.root=… or RETRIEVAL_BENCH_DATA",
        "cub200": "data.root=… or RETRIEVAL_BENCH_DATA",
        "sop": "data.root=… or RETRIEVAL_BENCH_DATA",
        "inshop": "data.root=… or RETRIEVAL_BENCH_DATA",
        "cifar100": "data.root=… or RETRIEVAL_BENCH_DATA",
        "ucf101": "data.root=… or RETRIEVAL_BENCH_DATA",
        "hmdb51": "data.root=… or RETRIEVAL_BENCH_DATA",
    }


def test_doctor_knows_every_extra() -> None:
    project = tomllib.loads((CONF.parent / "pyproject.toml").read_text())["project"]
    extras = {name: wants for name, wants in project["optional-dependencies"].items() if name != "dev"}
    assert {name: len(modules) for name, modules in EXTRAS.items()} == {n: len(wants) for n, wants in extras.items()}
    assert extra_state("openvino", ["json"]).plain == "installed"
    missing = extra_state("openvino", ["json", "no_such_module"]).plain
    assert missing == "no_such_module missing; type: pip install 'retrieval-bench[openvino]'"


def test_a_broken_backend_is_a_red_line(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("_target_: retrieval_bench.search.exact.Exact\nno_such_parameter: 1\n")
    state = backend_state(file)
    assert state.style == "red" and state.plain.startswith("broken: TypeError")
    file.write_text("_target_: no_such_module.Index\n")
    assert backend_state(file).plain == "broken: ModuleNotFoundError: No module named 'no_such_module'"
