"""Fitted transforms over cached embeddings, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from logging import getLogger
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._row_store import RowStore
from retrieval_bench.hashing import json_digest
from retrieval_bench.transform.base import Transform
from retrieval_bench.turns import working
from retrieval_bench.types import BLOCK_ROWS, Embeddings

_log = getLogger(__name__)


def transformed(
    embeddings: Embeddings, transforms: Sequence[Transform], train: Embeddings, cache: Path, seed: int
) -> Embeddings:
    """Embeddings after transforms, each fitted on the training embeddings as the ones before it leave them.

    Nothing is encoded. The answer is kept in the cache under the fingerprints of both embeddings and the transforms.

    Raises:
        BadConfig: a transform does not fit the training vectors. OutOfSpace: the disk is full.
    """
    if not transforms:
        return embeddings
    said = [transform.describe() for transform in transforms]
    key = json_digest([embeddings.fingerprint, train.fingerprint, len(embeddings), said, seed])
    store = RowStore(cache / "transformed" / key, "vectors", np.float32)
    with store.locked(_log.warning):
        if not store.state["finished"]:
            with working(_log.warning):
                fit_all(transforms, train.vectors, seed)
                dim = embeddings.dim
                for transform in transforms:
                    dim = transform.dim_out(dim)
                with store.appending(len(embeddings), (dim,)) as append:
                    for start in range(store.state["rows"], len(embeddings), BLOCK_ROWS):
                        append(_through(transforms, embeddings.vectors[start : start + BLOCK_ROWS]))
        return replace(embeddings, vectors=store.read(), blocks=None, fingerprint=key)


def fit_all(transforms: Sequence[Transform], train_vectors: NDArray[np.generic], seed: int) -> None:
    """Fit each transform on the training vectors [n, dim] as the ones before it leave them, in float32 and in blocks.

    Raises:
        BadConfig: a transform does not fit the training vectors.
    """
    vectors = train_vectors
    for i, transform in enumerate(transforms):
        transform.fit(vectors, seed)
        if i + 1 < len(transforms):
            starts = range(0, len(vectors), BLOCK_ROWS)
            vectors = np.concatenate([_through([transform], vectors[s : s + BLOCK_ROWS]) for s in starts])


def _through(transforms: Sequence[Transform], block: NDArray[np.generic]) -> NDArray[np.float32]:
    vectors = np.asarray(block, np.float32)
    for transform in transforms:
        vectors = transform.apply(vectors)
    return vectors
