import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval_bench.data.base import Items
from retrieval_bench.embed import Embed, Embedded, embed, encode_one, kept_vectors, query_engine
from retrieval_bench.encoder.base import Encoder, Engine, EngineError, EngineName, Preprocessing, disagreement, prepare
from retrieval_bench.encoder.image import ImageEncoder
from retrieval_bench.encoder.pooling import Average
from retrieval_bench.errors import BadConfig, CorruptInput, OutOfSpace, TooManyUnreadable

SIZE, N = 32, 40
TORCH = Embed(engine=EngineName.TORCH, batch_size=4, workers=2)


def image_of(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


class Source:
    """Items that count how often each is read."""

    def __init__(self, n: int = N, bad: tuple[int, ...] = (), fingerprint: str = "data") -> None:
        self.reads: list[int] = []
        self._bad = bad
        self.items = Items([f"{i}.png" for i in range(n)], self.read, fingerprint, np.arange(n) % 3, np.arange(n) % 7)

    def read(self, row: int) -> dict[str, np.ndarray]:
        self.reads.append(row)
        if row in self._bad:
            raise CorruptInput(f"{row} is damaged")
        return {"image": image_of(row)}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads of tiny operations wait for one another longer than they compute, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    return ImageEncoder("test_resnet", "none", Average())


def run(source: Source, encoder: Encoder, cache: Path, settings: Embed = TORCH) -> Embedded:
    return embed(source.items, encoder, SIZE, settings, cache, lambda done, total: None)


def expected(encoder: Encoder, rows: range | list[int]) -> np.ndarray:
    how = encoder.preprocessing(SIZE)
    pixels = (np.stack([prepare(image_of(r), how) for r in rows]) / 255 - how.mean) / np.array(how.std)
    with torch.inference_mode():
        vectors: Tensor = encoder.eval()({"image": torch.tensor(pixels, dtype=torch.float32).permute(0, 3, 1, 2)})
    return vectors.numpy()


def test_vectors_ids_labels_in_order(encoder: ImageEncoder, tmp_path: Path) -> None:
    source, seen = Source(), list[tuple[int, int]]()
    got = embed(source.items, encoder, SIZE, TORCH, tmp_path, lambda done, total: seen.append((done, total)))
    np.testing.assert_allclose(got.embeddings.vectors, expected(encoder, range(N)), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(got.embeddings.ids, source.items.ids)
    np.testing.assert_array_equal(got.embeddings.labels, np.arange(N) % 3)
    np.testing.assert_array_equal(got.embeddings.groups, np.arange(N) % 7)
    assert isinstance(got.embeddings.vectors, np.memmap) and got.embeddings.vectors.dtype == np.float32
    assert (got.encoded, got.unreadable) == (N, []) and got.encode_ms > 0
    assert got.engine["engine"] == "torch" and got.engine["disagreement"] is None
    assert seen == [(done, N) for done in range(0, N + 1, 4)]


def test_the_second_run_reads_and_encodes_nothing(encoder: ImageEncoder, tmp_path: Path) -> None:
    first, again = run(Source(), encoder, tmp_path), Source()
    second = run(again, encoder, tmp_path)
    assert (second.encoded, again.reads) == (0, [])
    np.testing.assert_array_equal(second.embeddings.vectors, first.embeddings.vectors)
    assert (second.engine, second.encode_ms) == (first.engine, first.encode_ms)
    assert second.embeddings.fingerprint == first.embeddings.fingerprint


def test_what_decides_vectors_decides_the_cache(encoder: ImageEncoder, tmp_path: Path) -> None:
    prints = [run(Source(), encoder, tmp_path).embeddings.fingerprint]

    def is_new(got: Embedded) -> bool:
        prints.append(got.embeddings.fingerprint)
        return got.encoded == N and len(set(prints)) == len(prints)

    assert is_new(run(Source(fingerprint="one byte changed"), encoder, tmp_path))
    assert is_new(run(Source(), ImageEncoder("test_resnet", "none", None), tmp_path))  # pooling
    assert is_new(run(Source(), ImageEncoder("test_resnet", "none", Average(), mean=[0, 0, 0]), tmp_path))
    assert is_new(run(Source(), encoder, tmp_path, Embed(EngineName.TORCH, precision="bfloat16")))
    changed = ImageEncoder("test_resnet", "none", Average())
    with torch.no_grad():
        changed.backbone.bn1.running_mean[0] += 1e-6
    assert is_new(run(Source(), changed, tmp_path))
    assert not is_new(run(Source(), encoder, tmp_path, Embed(EngineName.TORCH, batch_size=7)))


def test_auto_takes_openvino_and_records_how_well_it_agrees(encoder: ImageEncoder, tmp_path: Path) -> None:
    got = run(Source(), encoder, tmp_path, Embed(batch_size=4))
    assert got.engine["engine"] == "openvino"
    assert 0 <= got.engine["disagreement"] < 1e-5
    np.testing.assert_allclose(got.embeddings.vectors, expected(encoder, range(N)), rtol=1e-2, atol=1e-3)
    single = encode_one(engine_of(encoder, got, tmp_path, SIZE), image_of(5))
    np.testing.assert_allclose(single, got.embeddings.vectors[5], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("fault", ["wrong", "failing"])
def test_auto_falls_back_to_torch_says_so_and_remembers(
    fault: str, encoder: ImageEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def construct(*_: object) -> None:
        raise EngineError("OpenVINO cannot convert it: no such operation")

    name = "retrieval_bench.encoder._openvino.OpenVino"
    if fault == "failing":
        monkeypatch.setattr(f"{name}.__init__", construct)
    else:
        monkeypatch.setattr(f"{name}.run", lambda self, batches: (np.ones((len(b), 96), np.float32) for b in batches))
    first = run(Source(), encoder, tmp_path, Embed(batch_size=4))
    assert first.engine["engine"] == "torch" and first.encoded == N
    assert ("disagrees" if fault == "wrong" else "cannot convert") in caplog.text
    monkeypatch.setattr(f"{name}.__init__", None)  # a second look at OpenVINO would fail
    second = run(Source(), encoder, tmp_path, Embed(batch_size=4))
    assert (second.engine["engine"], second.encoded) == ("torch", 0)


def test_a_wanted_engine_that_fails_names_the_other(
    encoder: ImageEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def construct(*_: object) -> None:
        raise EngineError("OpenVINO cannot convert it")

    monkeypatch.setattr("retrieval_bench.encoder._openvino.OpenVino.__init__", construct)
    with pytest.raises(BadConfig, match=r"cannot convert it; type embed.engine=torch"):
        run(Source(), encoder, tmp_path, Embed(EngineName.OPENVINO))


def test_unreadable_items_are_named_and_left_out(encoder: ImageEncoder, tmp_path: Path) -> None:
    bad = (0, 5, N - 1)
    settings = Embed(EngineName.TORCH, batch_size=4, max_unreadable=3 / N)
    good = [i for i in range(N) if i not in bad]
    for _ in range(2):  # encoded, then cached
        got = run(Source(bad=bad), encoder, tmp_path, settings)
        assert got.unreadable == [(f"{i}.png", f"{i} is damaged") for i in bad]
        np.testing.assert_array_equal(got.embeddings.ids, Source().items.ids[good])
        np.testing.assert_array_equal(got.embeddings.labels, np.array(good) % 3)
        np.testing.assert_allclose(got.embeddings.vectors, expected(encoder, good), rtol=1e-3, atol=1e-4)
    with pytest.raises(TooManyUnreadable, match=r"at least 3 of 40 .*max_unreadable=0.01.*0.png: 0 is damaged"):
        run(Source(bad=bad), encoder, tmp_path)


def test_too_many_unreadable_stops_early(encoder: ImageEncoder, tmp_path: Path) -> None:
    source = Source(n=400, bad=tuple(range(400)))
    with pytest.raises(TooManyUnreadable, match="at least 8 of 400") as stopped:
        run(source, encoder, tmp_path)
    assert stopped.value.items == [(f"{i}.png", f"{i} is damaged") for i in range(8)]
    assert max(source.reads) < 100


def test_nothing_readable_and_nothing_at_all(encoder: ImageEncoder, tmp_path: Path) -> None:
    settings = Embed(EngineName.TORCH, max_unreadable=1.0)
    got = run(Source(n=3, bad=(0, 1, 2)), encoder, tmp_path, settings)
    assert got.embeddings.vectors.shape == (0, encoder.dim) and len(got.unreadable) == 3
    assert np.isnan(got.encode_ms)
    assert len(run(Source(n=0, fingerprint="empty"), encoder, tmp_path, settings).embeddings) == 0


def test_nan_is_found_when_written(tmp_path: Path) -> None:
    broken = ImageEncoder("test_resnet", "none", Average())
    with torch.no_grad():
        broken.backbone.bn1.running_mean[:] = float("nan")
    with pytest.raises(CorruptInput, match=r"NaN or infinite values in the batch that starts with 0.png"):
        run(Source(), broken, tmp_path)
    with pytest.raises(CorruptInput, match="NaN"):
        run(Source(), broken, tmp_path, Embed())


def test_a_full_disk_keeps_finished_blocks(
    encoder: ImageEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up while the second block is written."""
    calls, real = [], os.fsync

    def fsync(file: int) -> None:
        calls.append(file)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutOfSpace, match="finished blocks are kept"):
        run(Source(), encoder, tmp_path)
    monkeypatch.undo()
    source = Source()
    got = run(source, encoder, tmp_path)
    assert got.encoded == N - 32 and min(source.reads) == 32  # eight batches of four were finished
    np.testing.assert_array_equal(got.embeddings.vectors, run(Source(), encoder, tmp_path / "b").embeddings.vectors)


def test_a_disk_that_is_too_small_is_refused_before_any_work(
    encoder: ImageEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutOfSpace, match=r"paths\.cache"):
        run(Source(), encoder, tmp_path)


CHILD = """
import sys, time
import numpy as np
from pathlib import Path
from retrieval_bench.data.base import Items
from retrieval_bench.embed import Embed, embed
from retrieval_bench.encoder.image import ImageEncoder
from retrieval_bench.encoder.pooling import Average

def read(row):
    time.sleep(float(sys.argv[2]))
    return {"image": np.random.default_rng(row).integers(0, 256, (32, 32, 3), dtype=np.uint8)}

items = Items([f"{i}.png" for i in range(64)], read, "data")
settings = Embed("torch", batch_size=1, workers=2)
got = embed(items, ImageEncoder("test_resnet", "none", Average()), 32, settings, Path(sys.argv[1]), lambda d, n: None)
print(got.encoded)
"""


def child(cache: Path, pause: float) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, str(cache), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not what():
        assert process.poll() is None, "the child ended too early"
        time.sleep(0.02)


def rows_done(cache: Path) -> int:
    states = list(cache.glob("embeddings/*/state.json"))
    return json.loads(states[0].read_text())["done"] if states else 0


@pytest.mark.slow
def test_a_killed_run_goes_on_behind_its_last_block(encoder: ImageEncoder, tmp_path: Path) -> None:
    with child(tmp_path, 0.05) as process:
        wait_for(lambda: rows_done(tmp_path) >= 16, process)
        process.send_signal(signal.SIGKILL)
    done = rows_done(tmp_path)
    assert 16 <= done < 64 and done % 8 == 0
    (file,) = tmp_path.glob("embeddings/*/vectors.npy")
    with file.open("ab") as torn:
        torn.write(b"half a block")  # what a kill in the middle of a write leaves
    source, settings = Source(n=64), Embed(EngineName.TORCH, batch_size=1)
    got = run(source, encoder, tmp_path, settings)
    assert got.encoded == 64 - done and sorted(source.reads) == list(range(done, 64))
    whole = run(Source(n=64), encoder, tmp_path / "whole", settings)
    np.testing.assert_array_equal(got.embeddings.vectors, whole.embeddings.vectors)
    assert got.embeddings.fingerprint == whole.embeddings.fingerprint


@pytest.mark.slow
def test_two_processes_encode_once(encoder: ImageEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with child(tmp_path, 0.03) as process:
        wait_for(lambda: any(tmp_path.glob("embeddings/*/vectors.npy")), process)
        source = Source(n=64)
        with caplog.at_level(logging.WARNING):
            got = run(source, encoder, tmp_path)
        assert (got.encoded, source.reads, len(got.embeddings)) == (0, [], 64)
        assert process.stdout is not None and process.stdout.read().strip() == "64"
    assert "another process" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"engine": "onnx"},
        {"device": "tpu"},
        {"precision": "int8"},
        {"batch_size": 0},
        {"workers": 0},
        {"max_unreadable": 2},
    ],
)
def test_wrong_settings_name_the_right_ones(wrong: dict) -> None:
    with pytest.raises(BadConfig, match=f"embed.{next(iter(wrong))}"):
        Embed(**wrong)


def test_encode_one_prepares_as_embed_does(encoder: ImageEncoder, tmp_path: Path) -> None:
    got = run(Source(), encoder, tmp_path)
    how = encoder.preprocessing(None)
    assert how == Preprocessing(160, 168, "bilinear", how.mean, how.std)
    native = encode_one(engine_of(encoder, got, tmp_path, SIZE), image_of(3))
    np.testing.assert_allclose(native, got.embeddings.vectors[3], rtol=1e-3, atol=1e-4)
    other = encode_one(engine_of(encoder, got, tmp_path, None), np.zeros((20, 50, 3), np.uint8))
    assert other.shape == (encoder.dim,)


def engine_of(encoder: ImageEncoder, got: Embedded, cache: Path, native_size: int | None) -> Engine:
    return query_engine(lambda: encoder, got.engine, encoder.preprocessing(native_size).describe(), cache)


def test_finished_vectors_are_found_without_the_encoder(encoder: ImageEncoder, tmp_path: Path) -> None:
    got = run(Source(), encoder, tmp_path, TORCH)
    kept = kept_vectors(Source().items, got.engine, tmp_path)
    assert kept is not None
    np.testing.assert_array_equal(kept, got.embeddings.vectors)
    assert kept_vectors(Source(fingerprint="other data").items, got.engine, tmp_path) is None
    assert kept_vectors(Source().items, {**got.engine, "graph": "../x"}, tmp_path) is None
    (state,) = tmp_path.glob("embeddings/*/state.json")
    state.write_text(json.dumps({**json.loads(state.read_text()), "finished": False}))
    assert kept_vectors(Source().items, got.engine, tmp_path) is None


def test_a_kept_graph_answers_without_the_encoder(encoder: ImageEncoder, tmp_path: Path) -> None:
    got = run(Source(), encoder, tmp_path, Embed(EngineName.OPENVINO))
    how, made = encoder.preprocessing(SIZE).describe(), []

    def make() -> ImageEncoder:
        made.append(encoder)
        return encoder

    def vector(facts: dict) -> np.ndarray:
        return encode_one(query_engine(make, facts, how, tmp_path), image_of(3))[None]

    kept = vector(got.engine)
    assert made == []
    assert disagreement(kept, got.embeddings.vectors[3:4]) < 1e-6
    # a foreign record may name any folder, an older one none
    for facts in ({**got.engine, "graph": f"../engines/{got.engine['graph']}"}, {**got.engine, "graph": None}):
        assert disagreement(vector(facts), kept) < 1e-6
    assert len(made) == 2
    shutil.rmtree(tmp_path / "engines")  # costs time, and nothing else
    assert disagreement(vector(got.engine), kept) < 1e-6
    assert len(made) == 3
    vector(got.engine)
    assert len(made) == 3, "the graph was kept again under the same key"
