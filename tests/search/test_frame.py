import numpy as np
import pytest

from retrieval_bench.search._frame import bring, centred, orthogonal, principal, project, projected, with_directions
from retrieval_bench.types import Similarity


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("similarity", list(Similarity))
@pytest.mark.parametrize("dim", [1, 3, 8, 33])
def test_the_compiled_projection_of_a_query_is_that_of_blocks(similarity: Similarity, dim: int, turned: bool):
    rng = np.random.default_rng(dim)
    gallery, queries = rng.standard_normal((50, dim)) + 1, rng.standard_normal((5, dim)).astype(np.float32)
    frame = centred(gallery, similarity, rng)
    full = len(frame.mean)
    own, sketch, turn = orthogonal(full, 20, rng), orthogonal(full, 6, rng), orthogonal(6, 64, rng)
    frame = with_directions(frame, own, sketch, turn if turned else None)
    rows = bring(queries, frame, True)
    for query, row, left, right in zip(queries, rows, *projected(rows, frame), strict=True):
        both = np.concatenate([left, right])
        np.testing.assert_allclose(
            both, np.concatenate([row @ own, row @ sketch @ turn if turned else row @ sketch]), atol=1e-5
        )
        np.testing.assert_allclose(project(frame, query), both, atol=1e-5)
    assert frame.matrix.shape[1] == 32 and not frame.matrix[:, 26:].any()


def test_a_larger_product_is_a_nearer_lifted_vector():
    rng = np.random.default_rng(0)
    gallery, queries = rng.standard_normal((200, 6)) * rng.uniform(0.2, 5, (200, 1)), rng.standard_normal((10, 6)) * 7
    frame = centred(gallery, Similarity.DOT, rng)
    rows, asked = bring(gallery, frame, False), bring(queries, frame, True)
    distances = np.linalg.norm(asked[:, None] - rows, axis=2)
    np.testing.assert_array_equal(distances.argmin(1), (queries @ gallery.T).argmax(1))
    np.testing.assert_allclose(rows.mean(0), 0, atol=1e-5)


def test_a_zero_query_has_projections():
    rng = np.random.default_rng(0)
    own, sketch = orthogonal(5, 3, rng), orthogonal(5, 64, rng)
    frame = with_directions(centred(rng.standard_normal((9, 4)), Similarity.DOT, rng), own, sketch)
    expected = -frame.mean @ np.concatenate([own, sketch], axis=1)
    np.testing.assert_allclose(project(frame, np.zeros(4, np.float32)), expected, atol=1e-6)


@pytest.mark.parametrize("dim", [4, 20, 300])
def test_principal_directions(dim: int):
    rng = np.random.default_rng(1)
    rows = (rng.standard_normal((500, dim)) * 0.7 ** np.arange(dim)).astype(np.float32)
    rows -= rows.mean(0)
    found = principal(rows, 3, rng)
    exact = np.linalg.svd(rows.astype(np.float64), full_matrices=False)[2][:3]
    np.testing.assert_allclose(np.abs((exact @ found).diagonal()), 1, atol=1e-3)
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-5)


def test_orthogonal_in_groups():
    groups = orthogonal(5, 12, np.random.default_rng(0)).T
    for group in (groups[:5], groups[5:10], groups[10:]):
        np.testing.assert_allclose(group @ group.T, np.eye(len(group)), atol=1e-6)


def test_equal_vectors_are_centred_to_nothing():
    rows = np.tile(np.random.default_rng(0).standard_normal(7).astype(np.float32), (100, 1))
    frame = centred(rows, Similarity.EUCLIDEAN, np.random.default_rng(0))
    assert not bring(rows, frame, False).any(), "noise would spread equal vectors over buckets"
