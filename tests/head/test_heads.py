"""Heads: shapes, sizes that cannot be, and that the seed decides their weights."""

import pytest
import torch

from retrieval_bench.errors import BadConfig
from retrieval_bench.head.identity import Identity
from retrieval_bench.head.linear import Linear
from retrieval_bench.head.mlp import MLP


@pytest.mark.parametrize(("head", "out"), [(Identity(24), 24), (Linear(24, 8), 8), (MLP(24, 16, 8), 8)])
def test_vectors_become_embeddings_and_gradients_come_back(head, out) -> None:
    vectors = torch.randn(5, 24, requires_grad=True)
    found = head(vectors)
    assert found.shape == (5, out) and head.out == out
    found.square().sum().backward()
    assert vectors.grad is not None and vectors.grad.abs().sum() > 0


def test_a_normalising_head_does_not_see_the_length() -> None:
    head, vectors = Linear(24, 8, normalise=True), torch.randn(5, 24)
    torch.testing.assert_close(head(vectors), head(7 * vectors + 3), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("make", [lambda: Linear(4, 0), lambda: MLP(4, 0, 3), lambda: MLP(4, 3, 3, 1.0)])
def test_sizes_that_cannot_be(make) -> None:
    with pytest.raises(BadConfig, match=r"head\.out="):
        make()
