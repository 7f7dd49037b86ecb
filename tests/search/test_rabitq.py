import numpy as np
import pytest

from retrieval_bench.errors import BadConfig
from retrieval_bench.search.rabitq import RaBitQ
from retrieval_bench.types import Similarity


def vectors(n: int, dim: int = 16) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((n, dim)).astype(np.float32)


def test_the_seed_decides_the_rotation() -> None:
    def rotation(seed: int) -> np.ndarray:
        index = RaBitQ()
        index.build(vectors(200), Similarity.EUCLIDEAN, seed)
        return index._index.chain.at(0).apply(np.eye(16, dtype=np.float32))

    np.testing.assert_array_equal(rotation(1), rotation(1))
    assert (rotation(1) != rotation(2)).any()
    np.testing.assert_allclose(rotation(1) @ rotation(1).T, np.eye(16), atol=1e-5)


def test_candidates_are_looked_up_after_the_rotation() -> None:
    index = RaBitQ(nlist=20)
    index.build(vectors(1000), Similarity.EUCLIDEAN, 0)
    queries = vectors(1050)[1000:]
    rotated = index._index.chain.at(0).apply(queries)
    centroids = index._lists.quantizer.reconstruct_n(0, 20)
    sizes = np.array([index._lists.invlists.list_size(i) for i in range(20)])
    nearest = np.argsort(((rotated[:, None] - centroids[None]) ** 2).sum(2), axis=1)
    for nprobe in (1, 3, 64):
        index.search(queries, 5, nprobe)
        np.testing.assert_array_equal(index.candidates(), sizes[nearest[:, :nprobe]].sum(axis=1))


def test_more_bits_and_more_candidates_find_more() -> None:
    gallery, queries = vectors(3000, 32), vectors(3050, 32)[3000:]
    truth = np.argsort(((queries[:, None] - gallery[None]) ** 2).sum(2), axis=1)[:, :10]

    def found(bits: int, factor: int) -> float:
        index = RaBitQ(nlist=4, bits=bits, factor=factor)
        index.build(gallery, Similarity.EUCLIDEAN, 0)
        return float((index.search(queries, 10, 4)[0][:, :, None] == truth[:, None]).any(2).mean())

    assert found(1, 1) < found(4, 1) < 1 and found(1, 1) < found(1, 300) == 1.0


def test_bits_that_faiss_would_not_take() -> None:
    for bits in (0, 10):
        with pytest.raises(BadConfig, match=f"bits={bits}: 1 to 9 bits"):
            RaBitQ(bits=bits)
