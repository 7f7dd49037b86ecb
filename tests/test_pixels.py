import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from retrieval_bench._item_batches import Embed, Reading
from retrieval_bench._pixels import Pixels, pixels
from retrieval_bench._stored import Images, Loader
from retrieval_bench.data.base import Items
from retrieval_bench.encoder.base import Preprocessing, prepare
from retrieval_bench.errors import CorruptInput, OutOfSpace, TooManyUnreadable
from retrieval_bench.sampler import PKSampler

SIZE, N = 16, 40
MEAN = (0.5, 0.5, 0.5)
NATIVE = Preprocessing(SIZE, None, "bilinear", MEAN, MEAN)
SETTINGS = Embed(batch_size=4, workers=2)


def image_of(row: int, side: int = SIZE) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (side, side + row % 3, 3), dtype=np.uint8)


class Source:
    """Items that count how often each is read."""

    def __init__(self, n: int = N, bad: tuple[int, ...] = (), fingerprint: str = "data", side: int = SIZE) -> None:
        self.reads: list[int] = []
        self._bad, self._side = bad, side
        self.items = Items([f"{i}.png" for i in range(n)], self.read, fingerprint, np.arange(n) % 4)

    def read(self, row: int) -> dict[str, np.ndarray]:
        self.reads.append(row)
        if row in self._bad:
            raise CorruptInput(f"{row} is damaged")
        return {"image": image_of(row, self._side)}


def run(source: Source, cache: Path, how: Preprocessing = NATIVE, settings: Embed = SETTINGS) -> Pixels:
    return pixels(Reading(source.items, "image", how, settings), cache, lambda done, total: None)


def expected(rows: list[int] | range, how: Preprocessing = NATIVE, side: int = SIZE) -> np.ndarray:
    return np.stack([prepare(image_of(row, side), how) for row in rows])


def test_every_image_prepared_and_in_order(tmp_path: Path) -> None:
    seen = list[tuple[int, int]]()
    how = Preprocessing(SIZE, 20, "bicubic", MEAN, MEAN)
    reading = Reading(Source(side=31).items, "image", how, SETTINGS)
    got = pixels(reading, tmp_path, lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(got.images, expected(range(N), how, 31))
    assert got.images.dtype == np.uint8 and not got.images.flags.writeable
    np.testing.assert_array_equal(got.kept, np.arange(N))
    assert (got.decoded, got.unreadable, len(got)) == (N, [], N)
    assert seen == [(done, N) for done in range(0, N + 1, 4)]
    np.testing.assert_array_equal(got.batch([7, 0, 7]), got.images[[7, 0, 7]])
    got.batch([1])[:] = 0  # a copy
    np.testing.assert_array_equal(got.images[1], expected([1], how, 31)[0])


def test_the_second_time_nothing_is_read(tmp_path: Path) -> None:
    first, again = run(Source(), tmp_path), Source()
    second = run(again, tmp_path)
    assert (first.decoded, second.decoded, again.reads) == (N, 0, [])
    np.testing.assert_array_equal(second.images, first.images)


def test_what_decides_pixels_decides_the_cache(tmp_path: Path) -> None:
    assert run(Source(), tmp_path).decoded == N
    for how in (
        Preprocessing(SIZE - 1, None, "bilinear", MEAN, MEAN),
        Preprocessing(SIZE, SIZE, "bilinear", MEAN, MEAN),
        Preprocessing(SIZE, None, "nearest", MEAN, MEAN),
    ):
        assert run(Source(), tmp_path, how).decoded == N
    assert run(Source(fingerprint="one byte changed"), tmp_path).decoded == N
    other = Preprocessing(SIZE, None, "bilinear", (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    assert run(Source(), tmp_path, other, Embed(batch_size=7)).decoded == 0, "neither norm nor batches change a pixel"


def test_unreadable_items_are_named_and_left_out(tmp_path: Path) -> None:
    bad = (0, 5, 6, N - 1)
    settings = Embed(batch_size=4, max_unreadable=len(bad) / N)
    good = [i for i in range(N) if i not in bad]
    for _ in range(2):  # decoded, then cached
        got = run(Source(bad=bad), tmp_path, settings=settings)
        assert got.unreadable == [(f"{i}.png", f"{i} is damaged") for i in bad]
        np.testing.assert_array_equal(got.kept, good)
        np.testing.assert_array_equal(got.images, expected(good))
    with pytest.raises(TooManyUnreadable, match=r"at least 4 of 40 .*max_unreadable=0.01.*0.png: 0 is damaged"):
        run(Source(bad=bad), tmp_path)


def test_too_many_unreadable_stops_early(tmp_path: Path) -> None:
    source = Source(n=400, bad=tuple(range(400)))
    with pytest.raises(TooManyUnreadable, match="at least 8 of 400"):
        run(source, tmp_path)
    assert max(source.reads) < 100


def test_nothing_readable_and_nothing_at_all(tmp_path: Path) -> None:
    got = run(Source(n=3, bad=(0, 1, 2)), tmp_path, settings=Embed(max_unreadable=1.0))
    assert got.images.shape == (0, SIZE, SIZE, 3) and len(got.unreadable) == 3 and len(got.kept) == 0
    assert len(run(Source(n=0, fingerprint="empty"), tmp_path)) == 0


def test_a_full_disk_keeps_finished_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = [], os.fsync

    def fsync(file: int) -> None:
        calls.append(file)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutOfSpace, match="finished blocks are kept"):
        run(Source(), tmp_path)
    monkeypatch.undo()
    source = Source()
    got = run(source, tmp_path)
    assert got.decoded == N - 32 and min(source.reads) == 32  # eight batches of four were finished
    np.testing.assert_array_equal(got.images, expected(range(N)))


def test_a_disk_that_is_too_small_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    source = Source()
    with pytest.raises(OutOfSpace, match=r"of pixels do not fit .* paths\.cache"):
        run(source, tmp_path)
    assert source.reads == []


CHILD = """
import sys, time
import numpy as np
from pathlib import Path
from retrieval_bench._item_batches import Embed, Reading
from retrieval_bench._pixels import pixels
from retrieval_bench.data.base import Items
from retrieval_bench.encoder.base import Preprocessing

def read(row):
    time.sleep(float(sys.argv[2]))
    return {"image": np.full((16, 16, 3), row, np.uint8)}

how = Preprocessing(16, None, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
items = Items([f"{i}.png" for i in range(64)], read, "child")
got = pixels(Reading(items, "image", how, Embed(batch_size=1, workers=2)), Path(sys.argv[1]), lambda d, n: None)
print(got.decoded)
"""


def child(cache: Path, pause: float) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, str(cache), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not what():
        assert process.poll() is None, "the child ended too early"
        time.sleep(0.02)


def done_by(cache: Path) -> int:
    states = list(cache.glob("pixels/*/state.json"))
    return json.loads(states[0].read_text())["done"] if states else 0


class Flat(Source):
    def read(self, row: int) -> dict[str, np.ndarray]:
        self.reads.append(row)
        return {"image": np.full((SIZE, SIZE, 3), row, np.uint8)}


def flat() -> Flat:
    return Flat(n=64, fingerprint="child")


def test_a_killed_process_loses_its_last_block_alone(tmp_path: Path) -> None:
    with child(tmp_path, 0.05) as process:
        wait_for(lambda: done_by(tmp_path) >= 16, process)
        process.send_signal(signal.SIGKILL)
    done = done_by(tmp_path)
    assert 16 <= done < 64 and done % 8 == 0
    (file,) = tmp_path.glob("pixels/*/pixels.npy")
    with file.open("ab") as torn:
        torn.write(b"half a block")  # what a kill in the middle of a write leaves
    source = flat()
    got = run(source, tmp_path, settings=Embed(batch_size=1))
    assert got.decoded == 64 - done and sorted(source.reads) == list(range(done, 64))
    assert (got.images == np.arange(64)[:, None, None, None]).all()


def test_two_processes_decode_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with child(tmp_path, 0.03) as process:
        wait_for(lambda: any(tmp_path.glob("pixels/*/pixels.npy")), process)
        source = flat()
        with caplog.at_level(logging.WARNING):
            got = run(source, tmp_path)
        assert (got.decoded, source.reads, len(got)) == (0, [], 64)
        assert process.stdout is not None and process.stdout.read().strip() == "64"
    assert "another process makes the same pixels" in caplog.text


def loader(found: Pixels) -> Loader:
    labels = Source().items.labels
    assert labels is not None
    return Loader(Images(found), PKSampler(4, 2, None, labels=labels[found.kept], seed=0))


def test_the_loader_gives_the_samplers_batches(tmp_path: Path) -> None:
    found = run(Source(bad=(3,)), tmp_path, settings=Embed(batch_size=4, max_unreadable=0.1))
    given = loader(found)
    assert len(given) == 39 // 8
    for (inputs, rows), wanted in zip(given, loader(found).sampler, strict=True):
        images = inputs["image"]
        assert rows.tolist() == wanted
        assert images.dtype == torch.uint8 and images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(images.permute(0, 2, 3, 1), torch.from_numpy(expected(found.kept[wanted].tolist())))


def test_the_loader_goes_on_where_it_was(tmp_path: Path) -> None:
    found = run(Source(), tmp_path)
    stopped, resumed = loader(found), loader(found)
    batches = iter(stopped)
    next(batches)
    next(batches)
    resumed.load_state_dict(stopped.state_dict())
    assert [rows.tolist() for _, rows in resumed] == [rows.tolist() for _, rows in batches]


@pytest.mark.filterwarnings("ignore::Warning")  # Lightning's own, about machines and missing validation
@pytest.mark.parametrize("stop", [2, 5, 7])  # in the first epoch, at its end, in the second
def test_lightning_sets_epochs_and_resumes(stop: int, tmp_path: Path) -> None:
    """Three epochs in one go, and in two with a checkpoint between."""
    import pytorch_lightning as pl

    class Recorder(pl.LightningModule):
        def __init__(self, until: int | None = None) -> None:
            super().__init__()
            self.weight, self.rows, self._until = torch.nn.Parameter(torch.ones(())), [], until

        def training_step(self, batch: tuple[dict[str, torch.Tensor], torch.Tensor]) -> torch.Tensor:
            self.rows.append(batch[1].tolist())
            return self.weight * batch[0]["image"].float().mean()

        def on_train_batch_end(self, *_: object) -> None:
            if len(self.rows) == self._until:
                self.trainer.save_checkpoint(tmp_path / "last.ckpt")
                self.trainer.should_stop = True
                raise KeyboardInterrupt

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    def trainer() -> pl.Trainer:
        return pl.Trainer(
            accelerator="cpu",
            max_epochs=3,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )

    found = run(Source(), tmp_path)
    assert len(loader(found)) == 5
    whole, first, second = Recorder(), Recorder(until=stop), Recorder()
    trainer().fit(whole, loader(found))
    plan = loader(found).sampler
    assert whole.rows == [rows for epoch in range(3) for rows in plan.plan(epoch).tolist()]
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer().fit(first, loader(found))
    trainer().fit(second, loader(found), ckpt_path=tmp_path / "last.ckpt")
    assert first.rows + second.rows == whole.rows
    assert torch.equal(second.weight, whole.weight)
