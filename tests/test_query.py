"""A finished run is asked: what is imported, what is answered, what is refused."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console, RenderableType

from retrieval_bench import cli
from retrieval_bench.data.base import Dataset
from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.experiment import Experiment
from retrieval_bench.query import Question, answer
from retrieval_bench.record import RunRecord

pytestmark = pytest.mark.xdist_group("query")  # what they look at is made once
RUN = ["data=digits", "data.n_test=60", "encoder=timm", "encoder.model=test_efficientnet", "encoder.weights=none"]
RUN += [
    "encoder.input_size=32",
    "embed.engine=openvino",
    "search=[exact,hnsw]",
    "search.hnsw.efforts=[16]",
    "transform=[centring]",
    "metric=[]",
    "logger=[]",
    "k=[5]",
]
RUN += ["measure.max_queries=20", "measure.passes=1"]
# What the answer of a kept graph must not load.
SLOW = {"torch", "torchvision", "timm", "pytorch_lightning", "matplotlib", "wandb"}
ASK = """
import sys
from retrieval_bench.commands import main
print(main(sys.argv[1:]), *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def record(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return cli.run([*RUN, f"paths.cache={cache}", f"paths.runs={tmp_path_factory.mktemp('runs')}"])


@pytest.fixture(scope="module")
def keys(record: RunRecord) -> list[str]:
    """Of the gallery; its first three pictures lie in the run folder as 0.png, 1.png, 2.png."""
    data = cli.reopen(record).data
    assert isinstance(data, Dataset)
    items = data.gallery()
    for row in range(3):
        Image.fromarray(items.read(row)["image"]).save(record.folder / f"{row}.png")
    return list(items.keys)


@pytest.fixture(autouse=True)
def at_home(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(cache))


def asked(record: RunRecord, sheet: Path, *files: Path) -> Iterator[RenderableType]:
    return answer(record, lambda: cli.reopen(record), Question(files, None, None, None, 5, sheet))


def text(parts: list[RenderableType]) -> str:
    console = Console(width=100)
    with console.capture() as captured:
        console.print(*parts)
    return captured.get()


def test_an_answer_loads_neither_torch_nor_what_draws(record: RunRecord, keys: list[str], tmp_path: Path) -> None:
    argv = ["query", str(record.folder), str(record.folder / "1.png"), "-k", "3", "--sheet", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", ASK, *argv], capture_output=True, text=True, check=True)
    code, *loaded = done.stderr.split()
    assert code == "0"
    assert "openvino" in loaded
    assert not SLOW & set(loaded)
    first = next(line for line in done.stdout.splitlines() if line.split()[:1] == ["1"])
    assert first.split()[1] == "1.0000" and keys[1] in first, "a picture of the gallery is nearest to itself"
    assert np.asarray(Image.open(tmp_path / "1_neighbours.png")).std() > 0


@pytest.mark.slow
def test_without_the_cache_the_answer_is_the_same(record: RunRecord, keys: list[str], tmp_path: Path) -> None:
    file = record.folder / "2.png"
    kept = text(list(asked(record, tmp_path, file)))
    assert keys[2] in kept
    shutil.rmtree(Path(cli.reopen(record).cache) / "engines")
    assert text(list(asked(record, tmp_path, file))) == kept


def test_broken_pictures_are_told_in_a_line_each_and_the_others_answered(
    record: RunRecord, keys: list[str], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "half.png").write_bytes((record.folder / "0.png").read_bytes()[:60])
    bad = [tmp_path / name for name in ("folder", "note.txt", "half.png", "missing.jpg")]
    answers = asked(record, tmp_path, bad[0], record.folder / "0.png", *bad[1:], record.folder / "1.png")
    given = []
    with pytest.raises(CorruptInput) as told:
        given.extend(iter(answers))  # extend keeps what came before the error
    lines = str(told.value).splitlines()
    assert [Path(line.partition(": ")[0]) for line in lines] == bad
    reasons = ("cannot be opened: Is a dir", "not an image", "truncated", "cannot be opened: No such")
    assert all(reason in line for reason, line in zip(reasons, lines, strict=True))
    assert keys[0] in text(given) and keys[1] in text(given)


def test_a_video_is_told_that_pictures_are_searched(record: RunRecord, tmp_path: Path) -> None:
    film = tmp_path / "film.MP4"
    film.write_bytes(b"\0\0\0\x20ftypisom")
    with pytest.raises(CorruptInput) as told:
        list(asked(record, tmp_path, film, tmp_path / "missing.mp4"))
    of_film, of_missing = str(told.value).splitlines()
    assert of_film.startswith(f"{film}: not an image in a known format")
    assert of_film.endswith(
        "By its name it is a video, and this run searches pictures: give a picture, one frame of it for instance, or"
        " ask a run over videos (data=ucf101, data=video_folder, …)"
    )
    assert of_missing == f"{tmp_path / 'missing.mp4'}: cannot be opened: No such file or directory"


def test_items_that_are_gone_are_told_in_their_place(record: RunRecord, keys: list[str], tmp_path: Path) -> None:
    whole = text(list(asked(record, tmp_path, record.folder / "0.png")))
    fewer = cli.reopen(replace(record, config=record.config | {"data": record.config["data"] | {"n_test": 20}}))
    assert isinstance(fewer.data, Dataset)
    gone = set(keys) - set(fewer.data.gallery().keys)
    question = Question([record.folder / "0.png"], None, None, None, 20, tmp_path)
    told = text(list(answer(record, lambda: fewer, question)))
    assert told.count("(no longer among the data)") > 0
    assert not any(key in told for key in gone)
    assert f"nearest of {len(keys)} " in told, "the index has all of them still"
    assert (told.count("is not what the run was made of"), whole.count("is not what")) == (1, 0)
    assert next(key for key in keys if key in whole) not in gone, "what is left keeps its name"


@pytest.mark.parametrize(("k", "effort", "searched"), [(5, None, 16), (5, 3, 5), (30, None, 30), (30, 40, 40)])
def test_the_title_tells_the_effort_that_was_searched_with(
    record: RunRecord, keys: list[str], tmp_path: Path, k: int, effort: int | None, searched: int
) -> None:
    question = Question([record.folder / "0.png"], "hnsw", None, effort, k, tmp_path)
    told = text(list(answer(record, lambda: cli.reopen(record), question)))
    assert f"nearest of {len(keys)} through hnsw, ef {searched} (random" in " ".join(told.split())


def test_pictures_named_alike_have_a_sheet_each(record: RunRecord, keys: list[str], tmp_path: Path) -> None:
    other = tmp_path / "0.png"
    shutil.copy(record.folder / "1.png", other)
    list(asked(record, tmp_path / "sheets", record.folder / "0.png", other))
    assert {file.name for file in (tmp_path / "sheets").iterdir()} == {"0_neighbours.png", "0_neighbours_2.png"}


def test_what_the_record_can_tell_is_told_before_the_data_are_opened(record: RunRecord, tmp_path: Path) -> None:
    def reopen() -> Experiment:
        raise AssertionError("the data were opened")

    def refused(of: RunRecord, question: Question) -> str:
        with pytest.raises(BadConfig) as told:
            next(answer(of, reopen, question))
        return str(told.value)

    question = Question([tmp_path / "x.png"], None, None, None, 5, tmp_path)
    given = replace(record, stages={"given": {"dim": 4}}, protocol={**record.protocol, "data": "vectors"})
    assert "given vectors (data=vectors)" in refused(given, question)
    assert "no stage 'pretraind'; did you mean random? Allowed: random" in refused(
        record, replace(question, stage="pretraind")
    )
    assert "-k 0: a whole number from 1" in refused(record, replace(question, k=0))


def test_the_record_names_its_graph(record: RunRecord, cache: Path) -> None:
    facts = json.loads((record.folder / "record.json").read_text())["stages"]["random"]["engine"]
    assert (cache / "engines" / facts["graph"] / "model.xml").is_file()
