from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval_bench.embed import transformed
from retrieval_bench.errors import BadConfig
from retrieval_bench.transform.base import Transform
from retrieval_bench.transform.centring import Centring
from retrieval_bench.transform.pca_whitening import PcaWhitening
from retrieval_bench.transform.truncation import Truncation
from retrieval_bench.types import Embeddings


def embeddings(n: int, seed: int, dim: int = 6) -> Embeddings:
    rng = np.random.default_rng(seed)
    return Embeddings(
        np.arange(n) + 5,
        rng.normal(size=(n, dim)).astype(np.float32),
        np.arange(n) % 4,
        np.arange(n) % 3,
        fingerprint=str(seed),
    )


class Untouched(Transform):
    """Fails when it is fitted: stands for 'nothing was computed'."""

    def __init__(self, like: Transform) -> None:
        self._like = like

    def fit(self, vectors: np.ndarray, seed: int) -> None:
        raise AssertionError("fitted again")

    def apply(self, block: np.ndarray) -> np.ndarray:
        raise AssertionError("applied again")

    def dim_out(self, dim: int) -> int:
        return self._like.dim_out(dim)

    def describe(self) -> dict:
        return self._like.describe()


def test_each_is_fitted_on_what_the_ones_before_leave(tmp_path: Path) -> None:
    train, gallery = embeddings(300, 1), embeddings(50, 2)
    got = transformed(gallery, [Truncation(4), PcaWhitening()], train, tmp_path, 0)
    alone = PcaWhitening()
    alone.fit(train.vectors[:, :4], 0)
    np.testing.assert_allclose(got.vectors, alone.apply(gallery.vectors[:, :4]), rtol=1e-6)
    assert isinstance(got.vectors, np.memmap)
    np.testing.assert_array_equal(got.ids, gallery.ids)
    np.testing.assert_array_equal(got.labels, gallery.labels)
    np.testing.assert_array_equal(got.groups, gallery.groups)


def test_blocks_are_gone_once_anything_is_transformed(tmp_path: Path) -> None:
    train, gallery = embeddings(300, 1), replace(embeddings(50, 2), blocks={"rgb": (0, 4), "flow": (4, 6)})
    assert transformed(gallery, [PcaWhitening()], train, tmp_path, 0).blocks is None, "its columns are of both"
    assert transformed(gallery, [], train, tmp_path, 0).blocks == gallery.blocks


def test_kept_and_not_computed_again(tmp_path: Path) -> None:
    train, gallery = embeddings(300, 1), embeddings(50, 2)
    first = transformed(gallery, [Centring()], train, tmp_path, 0)
    again = transformed(gallery, [Untouched(Centring())], train, tmp_path, 0)
    np.testing.assert_array_equal(again.vectors, first.vectors)
    assert again.fingerprint == first.fingerprint != gallery.fingerprint
    others = [
        transformed(embeddings(50, 3), [Centring()], train, tmp_path, 0),
        transformed(gallery, [Centring()], embeddings(300, 4), tmp_path, 0),
        transformed(gallery, [Centring(), Centring()], train, tmp_path, 0),
    ]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_nothing_to_do_gives_the_same_object(tmp_path: Path) -> None:
    gallery = embeddings(5, 2)
    assert transformed(gallery, [], gallery, tmp_path, 0) is gallery
    assert not any(tmp_path.iterdir())


def test_a_transform_that_does_not_fit_leaves_nothing_finished(tmp_path: Path) -> None:
    gallery = embeddings(5, 2)
    for _ in range(2):
        with pytest.raises(BadConfig, match="have 6 columns"):
            transformed(gallery, [Truncation(7)], gallery, tmp_path, 0)
