"""Clips become vectors: by their frames, kept by themselves, and put together over time."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from retrieval_bench._headed import to_train
from retrieval_bench.data.base import Items
from retrieval_bench.embed import Embed, Embedded, embed
from retrieval_bench.encoder._torch import TorchEngine
from retrieval_bench.encoder.base import Encoder, prepare
from retrieval_bench.encoder.image import ImageEncoder
from retrieval_bench.encoder.over import Max, Mean, Recurrent
from retrieval_bench.encoder.pooling import Average
from retrieval_bench.encoder.sequence import Sequence
from retrieval_bench.encoder.two_stream import TwoStream
from retrieval_bench.errors import BadConfig, CorruptInput, TooManyUnreadable
from retrieval_bench.head.identity import Identity
from retrieval_bench.head.linear import Linear

N, SIZE, PAIRS = 7, 32, 2
LENGTHS = [3, 1, 5, 2, 4, 3, 2]


class Source:
    """Clips of different lengths; counts reads."""

    def __init__(self, bad: tuple[int, ...] = ()) -> None:
        self.reads: list[int] = []
        self._bad = bad
        self.items = Items([f"clip {i}" for i in range(N)], self.read, "content", np.arange(N) % 3)

    def read(self, row: int) -> dict[str, np.ndarray]:
        self.reads.append(row)
        if row in self._bad:
            raise CorruptInput("no frames")
        rng = np.random.default_rng(row)
        shapes = {"rgb": (LENGTHS[row], 40, 36, 3), "flow": (LENGTHS[row], 40, 36, 2 * PAIRS)}
        return {name: rng.integers(0, 256, shape, dtype=np.uint8) for name, shape in shapes.items()}


def frames(channels: int = 3) -> ImageEncoder:
    return ImageEncoder("test_resnet", "none", Average(), input_size=SIZE, crop=1.0, channels=channels)


def rgb(over=Mean) -> Sequence:
    return Sequence(frames(), over)


def flow() -> Sequence:
    return Sequence(frames(2 * PAIRS), Mean, "flow")


def run(encoder: Encoder, cache: Path, source: Source | None = None, **settings) -> Embedded:
    given = Embed(**{"batch_size": 16, "workers": 1, "engine": "torch"} | settings)
    return embed((source or Source()).items, encoder, None, given, cache, lambda done, total: None)


def by_hand(encoder: Encoder, row: int) -> np.ndarray:
    """One clip through `forward`, frame by frame prepared."""
    arrays, inputs = Source().read(row), {}
    for name, frame in encoder.frames().items():
        how = frame.preprocessing(None)
        images = torch.from_numpy(np.stack([prepare(image, how) for image in arrays[name]])).permute(0, 3, 1, 2)
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (how.mean, how.std))
        inputs[name] = ((images / 255 - mean) / std)[None]
    with torch.inference_mode():
        return encoder.eval()(inputs)[0].numpy()


@pytest.mark.parametrize(
    "make",
    [
        rgb,
        partial(rgb, Max),
        partial(rgb, partial(Recurrent, hidden=8, residual=False, out=6)),
        flow,
        lambda: TwoStream(rgb(), flow(), 0.3),
    ],
)
@pytest.mark.parametrize("batch", [2, 8, 64])
def test_vectors_are_those_of_each_clip_alone(
    make, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, forward = make(), TorchEngine.run

    def counted(engine: TorchEngine, batches):
        for images in batches:
            assert len(images) <= batch, "a clip may have more frames than go into one forward pass"
            yield from forward(engine, [images])

    monkeypatch.setattr(TorchEngine, "run", counted)
    found = run(encoder, tmp_path, batch_size=batch)
    assert found.embeddings.vectors.shape == (N, encoder.dim) and found.encode_ms > 0
    for row in range(N):
        np.testing.assert_allclose(found.embeddings.vectors[row], by_hand(encoder, row), atol=2e-5)


def test_frames_are_encoded_once_whatever_puts_them_together(tmp_path: Path) -> None:
    first = Source()
    run(rgb(), tmp_path, first)
    assert set(first.reads) == set(range(N))
    again = Source()
    for over in (Max, partial(Recurrent, hidden=4)):
        run(rgb(over), tmp_path, again)
    assert again.reads == []
    run(TwoStream(rgb(), flow()), tmp_path, again)
    assert set(again.reads) == set(range(N)), "flow is new"
    again.reads.clear()
    run(TwoStream(rgb(Max), flow()), tmp_path, again)
    assert again.reads == []


def test_two_streams_are_both_normalised_and_weighted(tmp_path: Path) -> None:
    both = run(TwoStream(rgb(), flow(), 0.3), tmp_path).embeddings
    one, other = run(rgb(), tmp_path).embeddings.vectors, run(flow(), tmp_path).embeddings.vectors
    assert both.blocks == {"rgb": (0, one.shape[1]), "flow": (one.shape[1], one.shape[1] + other.shape[1])}

    def cosines(vectors: np.ndarray) -> np.ndarray:
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit @ unit.T

    np.testing.assert_allclose(cosines(both.vectors), 0.3 * cosines(one) + 0.7 * cosines(other), atol=1e-5)


def test_a_trained_head_mixes_the_blocks_unless_it_does_nothing(tmp_path: Path) -> None:
    streams = TwoStream(rgb(), flow())
    assert to_train(streams, Identity, 0).blocks == streams.blocks
    assert to_train(streams, partial(Linear, out=8), 0).blocks is None
    assert run(to_train(streams, Identity, 0), tmp_path).embeddings.blocks == streams.blocks


def test_a_clip_that_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    with pytest.raises(TooManyUnreadable, match=r"clip 2: no frames"):
        run(rgb(), tmp_path, Source(bad=(2,)))
    found = run(TwoStream(rgb(), flow()), tmp_path, Source(bad=(2, 5)), max_unreadable=0.5)
    assert found.unreadable == [("clip 2", "no frames"), ("clip 5", "no frames")]
    kept = [0, 1, 3, 4, 6]
    assert found.embeddings.ids.tolist() == Source().items.ids[kept].tolist()
    for place, row in enumerate(kept):
        np.testing.assert_allclose(found.embeddings.vectors[place], by_hand(TwoStream(rgb(), flow()), row), atol=2e-5)


def test_other_pairs_of_flow_than_the_encoder_takes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"flow of 4 channels, the encoder takes 10; type encoder\.….channels=4"):
        run(Sequence(frames(10), Mean, "flow"), tmp_path)


def test_both_streams_of_one_input_are_refused() -> None:
    with pytest.raises(BadConfig, match=r"both streams take rgb"):
        TwoStream(rgb(), rgb())
    with pytest.raises(BadConfig, match=r"encoder\.rgb_weight=2: type a share"):
        TwoStream(rgb(), flow(), 2)
